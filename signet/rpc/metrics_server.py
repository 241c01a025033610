"""Serves /metrics and /healthz over HTTP, with limits for connections, for their time and for the size of requests.

The server of prometheus_client starts a thread for each connection, and waits for its request for ever.
"""

import asyncio
import logging
import socket
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any
from urllib.parse import unquote

from prometheus_client import CollectorRegistry, make_wsgi_app

from signet.rpc.polling import StatusLog

_log = logging.getLogger(__name__)

# A scraper sends its request at once. The answer takes some milliseconds, and seconds while all cores are busy.
_CONNECTION_SECONDS = 10.0
# A Prometheus and a few people need one each. A further connection takes the place of the oldest connection of the
# address that has the most, so that a scraper is answered while others hold connections.
MAX_CONNECTIONS = 64
_MAX_HEAD_BYTES = 8192
# Probes ask here. A probe of gRPC's own kind in Kubernetes speaks no TLS.
HEALTH_PATH = "/healthz"
# A server whose loop of calls does not answer for so long is not healthy.
_HEALTH_SECONDS = 3.0


class MetricsServer:
    """Serves the metrics of a registry from a thread of its own. Port 0 takes a free one.

    `ask_health` says whether the service is serving; None for a server without /healthz.

    Raises:
        OSError: it cannot listen on the address.
    """

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        ask_health: Callable[[], Future[bool]] | None = None,
    ) -> None:
        self._app: Any = make_wsgi_app(registry)
        self._ask_health = ask_health
        self._failures = StatusLog(_log)
        # The open connections, oldest first, and the addresses of their clients.
        self._open: dict[asyncio.Task[None], str] = {}
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address, family=family, backlog=MAX_CONNECTIONS)
        self.port = int(listener.getsockname()[1])
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        self._thread = threading.Thread(target=self._run, args=(listener,), name="metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, and close all connections."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    def _run(self, listener: socket.socket) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._answer_until_stopped(listener))
        self._loop.close()

    async def _answer_until_stopped(self, listener: socket.socket) -> None:
        server = await asyncio.start_server(self._serve, sock=listener, limit=_MAX_HEAD_BYTES, backlog=MAX_CONNECTIONS)
        await self._stopped.wait()
        server.close()
        for connection in self._open:
            connection.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, and close the connection."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  (asyncio runs this as a task)
        self._open[task] = str((writer.get_extra_info("peername") or ("",))[0])
        if len(self._open) > MAX_CONNECTIONS:
            busiest = Counter(self._open.values()).most_common(1)[0][0]
            oldest = next(other for other, address in self._open.items() if address == busiest)
            del self._open[oldest]
            oldest.cancel()
        try:
            async with asyncio.timeout(_CONNECTION_SECONDS):
                writer.write(await self._answer(reader))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, EOFError, TimeoutError, asyncio.CancelledError):
            # The client has gone, is too slow, or another connection needs the place.
            writer.transport.abort()
        finally:
            self._open.pop(task, None)

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _response("431 Request Header Fields Too Large")
        first, *lines = head.decode("latin-1").split("\r\n")
        match first.split(" "):
            case [method, target, version] if version.startswith("HTTP/1."):
                path, _, query = target.partition("?")
            case _:
                return _response("400 Bad Request")
        if path == HEALTH_PATH and self._ask_health is not None:
            return await _answer_health(self._ask_health())
        headers = {key.strip().lower(): text.strip() for key, _, text in (line.partition(":") for line in lines)}
        environment = {
            "REQUEST_METHOD": method,
            "PATH_INFO": unquote(path),
            "QUERY_STRING": query,
            "HTTP_ACCEPT": headers.get("accept", ""),
            "HTTP_ACCEPT_ENCODING": headers.get("accept-encoding", ""),
        }
        started: list[Any] = []
        try:
            body = b"".join(self._app(environment, lambda *start: started.extend(start)))
        except Exception as error:  # noqa: BLE001  (any collector of a metric may fail)
            self._failures.report(f"cannot answer with metrics: {type(error).__name__}: {error}")
            return _response("500 Internal Server Error")
        self._failures.clear()
        status, sent = started
        return _response(status, sent, body)


async def _answer_health(asked: Future[bool]) -> bytes:
    try:
        serving = await asyncio.wait_for(asyncio.wrap_future(asked), _HEALTH_SECONDS)
    except (TimeoutError, asyncio.CancelledError, RuntimeError):
        serving = False
    if serving:
        return _response("200 OK", body=b"SERVING\n")
    return _response("503 Service Unavailable", body=b"NOT_SERVING\n")


def _response(status: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{key}: {text}" for key, text in headers)]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "Connection: close", "", ""]).encode() + body
