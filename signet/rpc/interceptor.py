"""What a server does around each call: it parses the request, turns errors into status codes, and counts."""

import asyncio
import collections
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.message import DecodeError
from prometheus_client import CollectorRegistry, Counter, Histogram

from signet.errors import Busy, DeadlineExceeded, InvalidInput, SignetError, Unavailable
from signet.rpc.deadline import end_if_unread, seconds_for_call
from signet.rpc.limits import max_call_seconds, max_calls
from signet.rpc.polling import StatusLog
from signet.rpc.receiving import RequestReceiver
from signet.rpc.requests import check_request, largest_request
from signet.rpc.retry import retry_metadata
from signet.security.access import AccessControl
from signet.telemetry.request_ids import begin_request, current_request_id, request_id_metadata
from signet.telemetry.tracing import TraceRecorder
from signet.terminal.characters import escape_control_characters

_log = logging.getLogger(__name__)

# From a cached answer (1 ms) to the extraction of a long clip (30 s).
_LATENCY_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)

# A status message is sent in a header. Clients refuse headers of more than 8 KB in all, and each byte that is not
# ASCII takes three bytes there.
_MAX_DETAILS_BYTES = 2000

# The name under which calls of unknown methods are counted. A client chooses such names freely, so that they would
# give any number of series.
_UNKNOWN_METHOD = "unknown"
# Between two looks at whether calls arrive. Several are needed: a busy event loop has not yet seen all calls.
_LOOK_SECONDS = 0.02
# The method that lists the methods of a server.
_ANY_METHOD = "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


class CallInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Parses requests, turns errors into status codes, and counts the calls of Signet's methods.

    gRPC itself answers a request that does not parse with UNKNOWN, and writes a traceback to the log.

    Args:
        registry: takes the metrics of the calls.
        services: the full names of the services that the server has; they can be added later.
        access: which calls are allowed; None for all.
        traces: records the spans of calls; None for no traces.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        services: Sequence[str],
        access: AccessControl | None = None,
        traces: TraceRecorder | None = None,
    ) -> None:
        labels = ("method", "code")
        self._calls = Counter("signet_rpc_requests", "gRPC calls by method and status code", labels, registry=registry)
        self._seconds = Histogram(
            "signet_rpc_seconds", "gRPC call latency", ("method",), buckets=_LATENCY_BUCKETS, registry=registry
        )
        self._services = services
        self._access = access or AccessControl(None)
        self.traces = traces
        self._refused = StatusLog(_log)
        self._receiver = RequestReceiver()
        # The handlers of methods, each with the handler around it.
        self._wrapped: dict[str, tuple[Any, Any]] = {}
        # The metrics of methods with a status: looking them up by their labels takes as long as counting.
        self._counters: dict[tuple[str, str], tuple[Counter, Histogram]] = {}
        # The calls that are under way, by the kinds of calls that `max_calls` knows.
        self._running: collections.Counter[str] = collections.Counter()
        self._arrived = 0
        # Set while the server stops; done when the callers know it.
        self._stopped: asyncio.Event | None = None

    async def wait_for_quiet(self, quiet_seconds: float, most_seconds: float) -> bool:
        """Wait until no call has arrived for so long, but not longer than `most_seconds`.

        Returns whether no call has arrived at all, and none is under way.
        """
        ends, first, seen, quiet = time.monotonic() + most_seconds, self._arrived, self._arrived, 0.0
        while quiet < quiet_seconds and time.monotonic() < ends:
            await asyncio.sleep(_LOOK_SECONDS)
            quiet, seen = (quiet + _LOOK_SECONDS if self._arrived == seen else 0.0), self._arrived
        return self._arrived == first and not self._running.total()

    def hold_new_calls(self) -> None:
        """From now on, hold new calls until `refuse_held_calls`, except those of the health service."""
        self._stopped = asyncio.Event()

    def refuse_held_calls(self) -> None:
        """Answer the held calls, and all later ones, with UNAVAILABLE."""
        if self._stopped is not None:
            self._stopped.set()

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        """Wrap the handler of a method."""
        self._arrived += 1
        begin_request(details.invocation_metadata)
        handler = await continuation(details)
        if handler is None:
            # A handler of streams suits a call of any kind.
            return grpc.stream_stream_rpc_method_handler(self._refuse_unknown(details.method))
        # A method has the same handler for each call.
        known = self._wrapped.get(details.method)
        if known is None or known[0] is not handler:
            known = self._wrapped[details.method] = handler, self._wrap(details.method.removeprefix("/"), handler)
        return known[1]

    def _wrap(self, method: str, handler: Any) -> Any:
        """The handler that does all that this interceptor does, around the handler of a method."""
        parse = _Parser(method, handler.request_deserializer, self._refused)
        # A handler of request streams reads its request itself. gRPC would keep the bytes until the call has ended.
        if handler.response_streaming:
            behaviour = handler.stream_stream or handler.unary_stream
            return grpc.stream_stream_rpc_method_handler(
                self._streaming(method, behaviour, parse, one=not handler.request_streaming),
                None,
                handler.response_serializer,
            )
        behaviour = handler.stream_unary or handler.unary_unary
        return grpc.stream_unary_rpc_method_handler(
            self._unary(method, behaviour, parse, one=not handler.request_streaming),
            None,
            handler.response_serializer,
        )

    def _unary(self, method: str, behaviour: Any, parse: "_Parser", *, one: bool) -> Any:
        async def call(_requests: Any, context: Any) -> Any:
            with _Call(self, method, context) as measured:
                try:
                    return await self._answer(method, behaviour, parse, context, one=one)
                except Exception as error:  # noqa: BLE001  (the client must get a status for any error)
                    measured.fail(error, context)
            try:
                # Without `abort`, gRPC would send an empty response before the status, and clients would not retry.
                await context.abort(context.code(), context.details())
            except grpc.aio.AbortError as aborted:
                # The state of the call keeps this error. A frame of the error must not keep the state in turn.
                aborted.__traceback__ = None
                del context, _requests
                raise
            except grpc.aio.InternalError:
                # gRPC itself has ended the call, for example because the message is too large. It would log a traceback
                # of several KB for each such call.
                raise asyncio.CancelledError from None

        return call

    async def _refuse_while_stopping(self, method: str) -> None:
        if self._stopped is not None and method.startswith("signet."):
            await self._stopped.wait()
            raise Unavailable(f"{method}: this server is stopping. Send the call again, or to another server.")

    async def _answer(self, method: str, behaviour: Any, parse: "_Parser", context: Any, *, one: bool) -> Any:
        await self._refuse_while_stopping(method)
        with self._take_call(method, context, streaming=False):
            seconds = _shorter(context.time_remaining(), max_call_seconds(method))
            async with asyncio.timeout(seconds_for_call(seconds)):
                if not one:
                    return await behaviour(self._requests(method, parse, context), context)
                data = await self._receiver.receive(method, context)
                with self._receiver.hold(len(data)):
                    request, data = parse.message(data), None
                    return await behaviour(request, context)

    def _streaming(self, method: str, behaviour: Any, parse: "_Parser", *, one: bool) -> Any:
        async def call(_requests: Any, context: Any) -> AsyncIterator[Any]:
            with _Call(self, method, context) as measured:
                try:
                    await self._refuse_while_stopping(method)
                    with self._take_call(method, context, streaming=True):
                        if one:
                            request = parse.message(await self._receiver.receive(method, context))
                        else:
                            request = self._requests(method, parse, context)
                        responses = behaviour(request, context)
                        del request
                        # gRPC also allows a coroutine that writes its responses itself, as the health service does.
                        if asyncio.iscoroutine(responses):
                            await responses
                            return
                        async for response in responses:
                            with end_if_unread(method):
                                yield response
                except Exception as error:  # noqa: BLE001
                    measured.fail(error, context)

        return call

    async def _requests(self, method: str, parse: "_Parser", context: Any) -> AsyncIterator[Any]:
        """Receive and parse each request of a stream."""
        follows = False
        while True:
            data = await self._receiver.receive(method, context, one_of_many=True, follows=follows)
            if data is grpc.aio.EOF:
                return
            follows = True
            yield parse.message(data)

    @contextmanager
    def _take_call(self, method: str, context: Any, *, streaming: bool) -> Iterator[None]:
        """Check that a call is allowed, and count it while it is under way.

        Raises:
            Unauthenticated: the call has no valid token.
            PermissionDenied: its token does not permit the method.
            Busy: there are too many calls, or too many with this token.
        """
        self._access.check(method, context.invocation_metadata())
        kind, largest = max_calls(method, streaming=streaming)
        if self._running[kind] >= largest:
            raise Busy(f"{method}: the server works on {largest} calls already. Try again in 1 s.", 1.0)
        self._running[kind] += 1
        try:
            yield
        finally:
            self._running[kind] -= 1

    def _refuse_unknown(self, method: str) -> Any:
        async def call(_requests: Any, context: Any) -> None:
            try:
                self._access.check(_ANY_METHOD, context.invocation_metadata())
            except SignetError as error:
                code, message = error.code, str(error)
            else:
                code = grpc.StatusCode.UNIMPLEMENTED.name
                message = f"{method}: this server has no such method. It has {', '.join(self._methods())}."
            self.count(_UNKNOWN_METHOD, code, 0.0)
            context.set_trailing_metadata(request_id_metadata())
            context.set_code(grpc.StatusCode[code])
            context.set_details(_shorten(message))

        return call

    def _methods(self) -> list[str]:
        pool = descriptor_pool.Default()
        services = [pool.FindServiceByName(name) for name in self._services]
        return [f"/{service.full_name}/{method.name}" for service in services for method in service.methods]

    def count(self, method: str, code: str, seconds: float) -> None:
        """Count a call that has ended."""
        if method.startswith(("signet.", _UNKNOWN_METHOD)):
            counters = self._counters.get((method, code))
            if counters is None:
                counters = self._calls.labels(method, code), self._seconds.labels(method)
                self._counters[method, code] = counters
            counters[0].inc()
            counters[1].observe(seconds)


class _Parser:
    """Parses the requests of a method. `log` gets one line for requests that do not parse."""

    def __init__(self, method: str, parse: Callable[[bytes], Any] | None, log: StatusLog) -> None:
        self._method = method
        self._parse = parse
        self._log = log
        self._largest = largest_request(method)

    def message(self, data: Any) -> Any:
        """Parse and check a request: its bytes, or gRPC's mark for the end of a stream that had none.

        Raises:
            InvalidInput: the bytes are no message of the method's type, a field cannot be used, or there are no bytes.
        """
        if data is grpc.aio.EOF:
            raise InvalidInput(f"{self._method}: the call ended without a request. Send one message.")
        if self._largest is not None and len(data) > self._largest:
            raise InvalidInput(
                f"{self._method}: the request has {len(data)} bytes; at most {self._largest} are allowed."
            )
        if self._parse is None:
            return data
        try:
            request = self._parse(data)
        except DecodeError as error:
            self._log.report(f"{self._method}: refused a request that does not parse")
            raise InvalidInput(
                f"{self._method}: the request ({len(data)} bytes) does not parse. Send the message that "
                "the .proto file of this method names."
            ) from error
        if self._method.startswith("signet."):
            check_request(request)
        return request


class _Call:
    """Measures the status and the duration of a call, and sends its id back to the client."""

    def __init__(self, metrics: CallInterceptor, method: str, context: Any) -> None:
        context.set_trailing_metadata(request_id_metadata())
        self._span = None
        if metrics.traces is not None and method.startswith("signet."):
            self._span = metrics.traces.begin_call(method, context.invocation_metadata())
            self._span.enter()
        self._metrics = metrics
        self._method = method
        self._code = "OK"
        self._counted = False

    def __enter__(self) -> "_Call":
        self._started = time.perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            self._code = "CANCELLED"
        self._count()
        if self._span is not None:
            self._span.end(self._code)

    def _count(self) -> None:
        """Count the call, once."""
        if not self._counted:
            self._counted = True
            self._metrics.count(self._method, self._code, time.perf_counter() - self._started)

    def fail(self, error: Exception, context: Any) -> None:
        """Set the status of an error as the status of the call, which must end now.

        The call and its request leave the memory at once: without this, they stay until Python's collector runs. It
        counts objects, not bytes, and comes late.
        """
        if isinstance(error, SignetError):
            self._code, message = error.code, str(error)
        elif isinstance(error, TimeoutError):
            self._code, message = (
                DeadlineExceeded.code,
                f"{self._method}: not done within the deadline. Allow more time.",
            )
        elif isinstance(error, grpc.aio.AbortError):
            # The servicer has sent a status already.
            _forget_frames(error)
            raise error
        else:
            _log.exception("%s failed", self._method)
            self._code, message = (
                SignetError.code,
                f"{self._method}: unexpected {type(error).__name__}; see the log for request {current_request_id()}.",
            )
        _forget_frames(error)
        if context.done():
            # The caller has gone, or its deadline has passed. gRPC would log an attempt to send a status.
            raise asyncio.CancelledError
        context.set_code(grpc.StatusCode[self._code])
        context.set_details(_shorten(message))
        if isinstance(error, SignetError):
            context.set_trailing_metadata((*request_id_metadata(), *retry_metadata(error)))
        self._count()  # before the caller can know that the call has ended


def _shorter(seconds: float | None, largest: float | None) -> float | None:
    """The shorter one of two times; None for no limit."""
    return min((limit for limit in (seconds, largest) if limit is not None), default=None)


def _forget_frames(error: BaseException | None) -> None:
    """Remove the tracebacks of an error and of its causes. Their frames hold the request."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        if (error := waiting.pop()) is not None and id(error) not in seen:
            seen.add(id(error))
            error.__traceback__ = None
            waiting += [error.__cause__, error.__context__]


def _shorten(message: str) -> str:
    """A status message in one line that fits into a header."""
    if len(message) > 2 * _MAX_DETAILS_BYTES:
        message = f"{message[:_MAX_DETAILS_BYTES]} ... {message[-_MAX_DETAILS_BYTES:]}"
    message = escape_control_characters(message)
    data = message.encode()
    if len(data) <= _MAX_DETAILS_BYTES:
        return message
    half = _MAX_DETAILS_BYTES // 2
    return f"{data[:half].decode(errors='ignore')} ... {data[-half:].decode(errors='ignore')}"
