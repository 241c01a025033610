"""A client of HTTP/2 (RFC 9113) that can stop in the middle of a request, as no gRPC library does."""

import socket
import struct
import threading
import time
from types import TracebackType

_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_ACK, _END_HEADERS = 1, 4
_FRAME_BYTES = 16384
_INITIAL_WINDOW = 65535


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame (RFC 9113, 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def headers(path: str, added: dict[bytes, bytes] | None = None) -> bytes:
    """The headers of a gRPC call, as text without compression (RFC 7541, 6.2.2)."""
    fields = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": path.encode(),
        b":authority": b"x",
        b"te": b"trailers",
        b"content-type": b"application/grpc",
        **(added or {}),
    }
    return b"".join(b"\0" + bytes([len(key)]) + key + bytes([len(text)]) + text for key, text in fields.items())


class HalfClient:
    """A connection that acknowledges settings and pings, obeys flow control, and ends no request by itself.

    Attributes:
        ended: streams that the server has ended, and when (`time.monotonic`).
        closed: whether the server has closed the connection.
        answers: the bytes of all answers' headers and trailers, by stream.
    """

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 10)
        self._socket.settimeout(None)
        self._changed = threading.Condition()
        self._windows = {0: _INITIAL_WINDOW}
        self._initial = _INITIAL_WINDOW
        self.ended: dict[int, float] = {}
        self.answers: dict[int, bytes] = {}
        self.closed = False
        self._next = 1
        self._sending = threading.Lock()
        self._send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(_SETTINGS, 0, 0, b""))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> "HalfClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def call(self, path: str, added: dict[bytes, bytes] | None = None) -> int:
        """Begin a call; the number of its stream."""
        stream, self._next = self._next, self._next + 2
        with self._changed:
            self._windows[stream] = self._initial
        self._send(frame(_HEADERS, _END_HEADERS, stream, headers(path, added)))
        return stream

    def send_part(self, stream: int, declared: int, sent: int, seconds: float = 10.0) -> int:
        """Declare a message of so many bytes, and send a part of it; the number of bytes sent.

        Less is sent if the server ends the stream or gives no window for so many seconds.
        """
        data = b"\0" + struct.pack(">I", declared)
        return self.send(stream, data + bytes(sent), seconds)

    def send(self, stream: int, data: bytes, seconds: float = 10.0) -> int:
        """Send bytes of a stream as far as the server's windows allow; the number of bytes sent."""
        done = 0
        while done < len(data):
            until = time.monotonic() + seconds
            with self._changed:
                while min(self._windows[0], self._windows[stream]) <= 0:
                    left = until - time.monotonic()
                    if left <= 0 or stream in self.ended or self.closed:
                        return done
                    self._changed.wait(left)
                if stream in self.ended or self.closed:
                    return done
                part = data[done : done + min(_FRAME_BYTES, self._windows[0], self._windows[stream])]
                self._windows[0] -= len(part)
                self._windows[stream] -= len(part)
            if not self._send(frame(_DATA, 0, stream, part)):
                return done
            done += len(part)
        return done

    def _send(self, data: bytes) -> bool:
        try:
            with self._sending:
                self._socket.sendall(data)
        except OSError:
            return False
        return True

    def _read(self) -> None:
        with self._socket.makefile("rb") as stream_of_bytes:
            while True:
                try:
                    head = stream_of_bytes.read(9)
                    payload = stream_of_bytes.read(int.from_bytes(head[:3], "big")) if len(head) == 9 else b""
                except (OSError, ValueError):
                    head = b""
                with self._changed:
                    if len(head) < 9:
                        self.closed = True
                    else:
                        self._take(head[3], head[4], int.from_bytes(head[5:9], "big"), payload)
                    self._changed.notify_all()
                if self.closed:
                    return

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _SETTINGS and not flags & _ACK:
            for place in range(0, len(payload), 6):
                key, value = struct.unpack(">HI", payload[place : place + 6])
                if key == 4:
                    for number in self._windows.keys() - {0}:
                        self._windows[number] += value - self._initial
                    self._initial = value
            self._send(frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            self._send(frame(_PING, _ACK, 0, payload))
        elif kind == _WINDOW:
            self._windows[stream] = self._windows.get(stream, 0) + int.from_bytes(payload, "big")
        elif kind == _HEADERS:
            self.answers[stream] = self.answers.get(stream, b"") + payload
            if flags & 1:
                self.ended.setdefault(stream, time.monotonic())
        elif kind == _RESET:
            self.ended.setdefault(stream, time.monotonic())
