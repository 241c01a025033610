"""Traces of calls with OpenTelemetry, sent to a collector as OTLP over HTTP.

Without a collector nothing of OpenTelemetry is imported, and `span` costs a look at a variable.
"""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit

from signet.errors import InvalidSetting
from signet.telemetry.request_ids import current_request_id

SETTING = "SIGNET_TRACES_ENDPOINT"

# The path of a collector for traces (OTLP specification, "OTLP/HTTP Request").
_PATH = "/v1/traces"
# At the end of a process, the last spans have so long to reach the collector.
_FLUSH_SECONDS = 2.0

# Statuses that are faults of the server. The others are faults of the request, and no errors of a server's span.
_FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})

Metadata = Iterable[tuple[str, str | bytes]]

_OFF: AbstractContextManager[None] = nullcontext()


class TraceRecorder:
    """Records the spans of calls.

    Args:
        tracer: a tracer of OpenTelemetry.
        provider: what sends the spans, to be closed with this recorder; None if the program closes it.
    """

    def __init__(self, tracer: Any, provider: Any = None) -> None:
        from opentelemetry import trace  # noqa: PLC0415  (only for those who want traces)
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        self._api = trace
        self._propagator = TraceContextTextMapPropagator()
        self._tracer = tracer
        self._provider = provider

    def begin_call(self, method: str, metadata: Metadata | None) -> "CallSpan":
        """Begin the span of a call that a server got, below the span of its caller.

        Args:
            method: such as "signet.v1.Trainer/StartRun".
            metadata: those of the call.
        """
        carrier = {key: value for key, value in metadata or () if isinstance(value, str)}
        kind, parent = self._api.SpanKind.SERVER, self._propagator.extract(carrier)
        return CallSpan(self, self._tracer.start_span(method, parent, kind, _attributes(method, current_request_id())))

    def begin_client_call(self, method: str, request_id: str) -> "CallSpan":
        """Begin the span of a call that this program makes, below the program's present span."""
        kind = self._api.SpanKind.CLIENT
        return CallSpan(self, self._tracer.start_span(method, None, kind, _attributes(method, request_id)))

    @contextmanager
    def child(self, parent: Any, name: str) -> Iterator[None]:
        """A span below another one."""
        span = self._tracer.start_span(name, self._api.set_span_in_context(parent))
        token = _current.set(CallSpan(self, span))
        try:
            yield
        except BaseException as error:
            span.set_status(self._api.StatusCode.ERROR, type(error).__name__)
            raise
        finally:
            _current.reset(token)
            span.end()

    def add_children(self, parent: Any, durations: Mapping[str, float]) -> None:
        """Spans below another one, one after the other, of which the last has just ended."""
        context = self._api.set_span_in_context(parent)
        start = time.time_ns() - sum(map(_nanoseconds, durations.values()))
        for name, seconds in durations.items():
            end = start + _nanoseconds(seconds)
            self._tracer.start_span(name, context, start_time=start).end(end)
            start = end

    def end_call(self, span: Any, code: str) -> None:
        """End the span of a call with the name of its status."""
        span.set_attribute("rpc.grpc.status", code)
        if code in _FAULTS:
            span.set_status(self._api.StatusCode.ERROR, code)
        span.end()

    def inject(self, span: Any) -> tuple[tuple[str, str], ...]:
        """The metadata that name a span as the parent of the spans of another service."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, self._api.set_span_in_context(span))
        return tuple(carrier.items())

    def close(self) -> None:
        """Send the last spans. A collector that does not answer cannot hold up the end of the process."""
        if self._provider is None:
            return
        thread = threading.Thread(target=self._provider.shutdown, daemon=True)
        thread.start()
        thread.join(_FLUSH_SECONDS)


class CallSpan:
    """The span of the present call, or of a part of it."""

    def __init__(self, recorder: TraceRecorder, span: Any) -> None:
        self._recorder = recorder
        self._span = span

    def enter(self) -> None:
        """Make it the span of this task, to its end."""
        _current.set(self)

    def child(self, name: str) -> AbstractContextManager[None]:
        """A span of a part of this one."""
        return self._recorder.child(self._span, name)

    def add_children(self, durations: Mapping[str, float]) -> None:
        """Add the parts of this one that have just ended."""
        self._recorder.add_children(self._span, durations)

    def end(self, code: str) -> None:
        """End it with the name of a status."""
        self._recorder.end_call(self._span, code)

    @property
    def trace_id(self) -> str:
        """The id of the trace: 32 hexadecimal digits."""
        return f"{self._span.get_span_context().trace_id:032x}"

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata for a call of another service."""
        return self._recorder.inject(self._span)


_current: ContextVar[CallSpan | None] = ContextVar("signet_span", default=None)


def open_tracing(service: str, endpoint: str, share: float) -> TraceRecorder | None:
    """The traces of a service, which are sent in the background; None if no collector is named.

    Args:
        service: the name of the service.
        endpoint: the URL of a collector, such as http://localhost:4318.
        share: the share of calls, 0 to 1, that are traced, if their caller has not decided it.

    Raises:
        InvalidSetting: the URL cannot be used, or OpenTelemetry is not installed.
    """
    if not endpoint:
        return None
    url = _traces_url(endpoint)
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio  # noqa: PLC0415
    except ImportError as error:
        raise InvalidSetting(f"{SETTING}={endpoint}: {_not_installed(error)}") from error
    resource = Resource.create({"service.name": f"signet-{service}"})
    provider = TracerProvider(ParentBasedTraceIdRatio(share), resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(url)))
    return TraceRecorder(provider.get_tracer("signet"), provider)


def open_client_tracing() -> TraceRecorder:
    """The traces of a client. Its spans go where the program sends its own: to the global provider of OpenTelemetry.

    Raises:
        InvalidSetting: OpenTelemetry is not installed.
    """
    try:
        from opentelemetry import trace  # noqa: PLC0415
    except ImportError as error:
        raise InvalidSetting(f"traces=True: {_not_installed(error)}") from error
    return TraceRecorder(trace.get_tracer("signet.client"))


def _not_installed(error: ImportError) -> str:
    return f"OpenTelemetry is not installed ({error}). Run: pip install 'signet[tracing]'"


def _nanoseconds(seconds: float) -> int:
    return round(1e9 * seconds)


def _attributes(method: str, request_id: str) -> dict[str, str]:
    """The attributes of a call's span, as OpenTelemetry names them."""
    service, _, name = method.rpartition("/")
    return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name, "signet.request_id": request_id}


def span(name: str) -> AbstractContextManager[None]:
    """Record a part of the present call; nothing if it is not traced."""
    current = _current.get()
    return _OFF if current is None else current.child(name)


def add_spans(durations: Mapping[str, float]) -> None:
    """Record parts of the present call after they have ended, with their seconds; nothing if the call is not traced.

    They are recorded one after the other, up to now. A part may have run for several calls at a time.
    """
    current = _current.get()
    if current is not None:
        current.add_children(durations)


def trace_metadata() -> tuple[tuple[str, str], ...]:
    """The metadata that continue the present trace in another service; empty if there is none."""
    current = _current.get()
    return () if current is None else current.metadata


def current_trace_id() -> str:
    """The id of the present trace; "" if there is none."""
    current = _current.get()
    return "" if current is None else current.trace_id


def _traces_url(endpoint: str) -> str:
    """The URL that takes traces. A URL without a path is the address of a collector."""
    parts = urlsplit(endpoint)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InvalidSetting(f"{SETTING}={endpoint!r}: not an address. Give a URL, for example http://localhost:4318.")
    return endpoint if parts.path.strip("/") else f"{parts.scheme}://{parts.netloc}{_PATH}"
