"""The gRPC server of a service: health, reflection, errors as status codes, metrics, and a graceful stop."""

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from signet.errors import SignetError, Unavailable
from signet.process_memory import limit_arenas
from signet.rpc.descriptors import max_connections, raise_descriptor_limit
from signet.rpc.gpu import GpuCollector, Nvml
from signet.rpc.health_service import HealthServicer
from signet.rpc.interceptor import CallInterceptor
from signet.rpc.limits import MAX_CONNECTIONS, SERVER_OPTIONS
from signet.rpc.metrics_server import MetricsServer
from signet.rpc.settings import ServiceSettings, Settings, read_settings
from signet.security.server import ServerSecurity
from signet.telemetry.tracing import open_tracing
from signet.terminal.logs import log_as_json, set_up_logging

_log = logging.getLogger(__name__)

# A stopping server answers calls until none has arrived for the first time, but not longer than for the second one.
# Then it holds calls in the same way.
_ANSWERED_QUIET_SECONDS, _ANSWERED_SECONDS = 0.1, 1.0
_HELD_QUIET_SECONDS, _HELD_SECONDS = 0.3, 2.0
# Within this time, callers learn that gRPC stops.
_GOODBYE_SECONDS = 0.3


def new_registry(nvml: Nvml | None = None) -> CollectorRegistry:
    """A registry with the metrics of the process and of the GPUs; `nvml` is a connection that exists already."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    registry.register(GpuCollector(nvml or Nvml()))
    return registry


class ServiceServer:
    """A gRPC server with health checks, reflection, metrics and error handling around its servicers.

    The metrics of `registry` are served on /metrics, and /healthz answers whether the server serves. gRPC refuses
    requests of more than `max_request_bytes`; None for the largest clip and the other fields of its message.

    Raises:
        InvalidSetting: the settings of TLS or of tokens cannot be used.
    """

    def __init__(
        self, settings: ServiceSettings, registry: CollectorRegistry, max_request_bytes: int | None = None
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._names: list[str] = []
        options = dict(SERVER_OPTIONS)
        options["grpc.max_allowed_incoming_connections"] = max_connections(raise_descriptor_limit(), MAX_CONNECTIONS)
        if max_request_bytes is not None:
            options["grpc.max_receive_message_length"] = max_request_bytes
        self._security = ServerSecurity(settings)
        self._security.register_metrics(registry)
        self._traces = open_tracing(settings.service, settings.traces_endpoint, settings.traces_share)
        self._calls = CallInterceptor(registry, self._names, self._security.access, self._traces)
        self._server = grpc.aio.server(interceptors=[self._calls], options=list(options.items()))
        self._health = HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self.port = 0
        self.metrics_port = 0
        # Called when the server begins to stop, to end streams that would go on for ever.
        self.before_stop: Callable[[], None] = lambda: None

    def add(self, name: str, register: Callable[[Any, Any], None], servicer: object) -> None:
        """Serve `servicer` as the service with this full name."""
        register(servicer, self._server)
        self._names.append(name)

    async def start(self) -> None:
        """Listen, and report SERVING.

        Raises:
            Unavailable: a port is taken.
        """
        if self._settings.reflection:
            names = [*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME]
            reflection.enable_server_reflection(names, self._server)
        address = f"{self._settings.host}:{self._settings.port}"
        try:
            self.port = self._security.add_port(self._server, address)
        except RuntimeError as error:
            raise Unavailable(
                f"{address}: cannot listen on this address. Is the port taken? Choose another with --port."
            ) from error
        try:
            self._metrics = MetricsServer(
                self._settings.host, self._settings.metrics_port, self._registry, self._ask_health()
            )
        except OSError as error:
            raise Unavailable(
                f"{self._settings.host}:{self._settings.metrics_port}: cannot serve metrics ({error.strerror}). "
                "Choose another with --metrics-port."
            ) from error
        self.metrics_port = self._metrics.port
        await self._server.start()
        for name in ("", *self._names):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        _log.info("listening on %s:%d, metrics on :%d", self._settings.host, self.port, self.metrics_port)

    async def set_model_health(self, name: str, is_serving: bool) -> None:
        """Report the health of a model as that of the service "model:NAME"."""
        status = health_pb2.HealthCheckResponse
        await self._health.set(f"model:{name}", status.SERVING if is_serving else status.NOT_SERVING)

    def _ask_health(self) -> Callable[[], Future[bool]]:
        """A function for other threads: whether the server is serving. The loop of the calls answers."""
        loop = asyncio.get_running_loop()

        async def is_serving() -> bool:
            answer = await self._health.Check(health_pb2.HealthCheckRequest(), None)
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

        return lambda: asyncio.run_coroutine_threadsafe(is_serving(), loop)

    async def stop(self) -> None:
        """Report NOT_SERVING, let running calls finish, and cancel the remaining ones after the drain time.

        When gRPC stops, it resets the calls that it has received and that Python has not begun, and those that arrive
        before their callers know that it stops. Under load there are always some. So the server first answers what
        arrives. Then it holds further calls, so that their callers send no others, and refuses them at the end.
        """
        await self._health.enter_graceful_shutdown()
        self.before_stop()
        ends = time.monotonic() + self._settings.drain_seconds
        drain = self._settings.drain_seconds
        if not await self._calls.wait_for_quiet(_ANSWERED_QUIET_SECONDS, min(_ANSWERED_SECONDS, drain / 4)):
            self._calls.hold_new_calls()
            await self._calls.wait_for_quiet(_HELD_QUIET_SECONDS, min(_HELD_SECONDS, drain / 4))
        stopping = asyncio.create_task(self._server.stop(max(0.0, ends - time.monotonic())))
        await asyncio.wait([stopping], timeout=_GOODBYE_SECONDS)
        self._calls.refuse_held_calls()
        await stopping
        self._metrics.stop()
        if self._traces is not None:
            await asyncio.to_thread(self._traces.close)


async def serve_until_stopped(server: ServiceServer, drain: Callable[[], Awaitable[None]] | None = None) -> None:
    """Start the server, and serve until SIGTERM or SIGINT.

    Then `drain` ends the service's background work (an extraction or a training) so that it can be resumed.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await server.start()
    await stop.wait()
    _log.info("draining")
    if drain is not None:
        await drain()
    await server.stop()
    _log.info("stopped")


def run_service(kind: type[Settings], serve: Callable[[Settings], Coroutine[Any, Any, None]]) -> None:
    """Read the settings of a service and serve. A `SignetError` at start is one log line and exit status 1."""
    limit_arenas()
    set_up_logging("INFO")
    try:
        settings = read_settings(kind)
        logging.getLogger().setLevel(settings.log_level)
        if settings.log_format == "json":
            log_as_json(settings.service)
        asyncio.run(serve(settings))
    except SignetError as error:
        _log.error("%s", error)
        raise SystemExit(1) from error


def service_names(module: Any) -> Sequence[str]:
    """The full names of the services that a generated module defines."""
    return [service.full_name for service in module.DESCRIPTOR.services_by_name.values()]
