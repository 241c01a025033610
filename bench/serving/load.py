"""Load on a gRPC server: `python -m bench.serving.load` is the process of a load generator, which prints JSON.

The load is a closed loop: so many callers send their next request when they have their answer. Requests are bytes that
were made before, and answers are not parsed, so that the generator takes little of the cores.
"""

import argparse
import asyncio
import json
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from signet.rpc.limits import CHANNEL_OPTIONS
from signet.terminal.output import open_console, print_line

# A server that does not answer by then has failed.
_READY_SECONDS = 20.0

_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class LoadResult:
    """What the callers measured."""

    answered: int
    seconds: float
    p50_ms: float
    p99_ms: float
    # Calls that failed, by their status.
    errors: dict[str, int]
    # CPU-seconds of the load generator.
    cpu_seconds: float


def write_messages(path: Path, messages: Sequence[bytes]) -> None:
    """Write messages to a file, each after its length."""
    path.write_bytes(b"".join(_LENGTH.pack(len(message)) + message for message in messages))


def read_messages(path: Path) -> list[bytes]:
    """Read a file of `write_messages`."""

    def messages() -> Iterator[bytes]:
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = _LENGTH.unpack_from(data, at)
            yield data[at + _LENGTH.size : at + _LENGTH.size + length]
            at += _LENGTH.size + length

    return list(messages())


def put_load(
    address: str, method: str, requests: Path, callers: int, seconds: float, answers: Path | None = None
) -> LoadResult:
    """Put load on a server, from a process of its own.

    Args:
        address: host:port of the server.
        method: the full name of a method with one request and one answer, "/package.Service/Method".
        requests: a file of `write_messages`; the callers take its requests in turn.
        callers: so many calls are under way at a time.
        seconds: how long.
        answers: a file for the answers. Answer i is that to request i modulo their number.
    """
    command = [sys.executable, "-m", "bench.serving.load", address, method, str(requests), str(callers), str(seconds)]
    command += [str(answers)] if answers else []
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return LoadResult(**json.loads(done.stdout))


class _Callers:
    def __init__(self, call: Any, requests: Sequence[bytes], seconds: float) -> None:
        self._call = call
        self._requests = requests
        self._end = time.perf_counter() + seconds
        self._next = 0
        self.times: list[float] = []
        self.errors: dict[str, int] = {}
        self.answers: dict[int, bytes] = {}

    async def run(self, *, keep: bool) -> None:
        """Call until the time is over."""
        while (started := time.perf_counter()) < self._end:
            number = self._next
            self._next += 1
            try:
                answer = await self._call(self._requests[number % len(self._requests)])
            except grpc.aio.AioRpcError as error:
                code = error.code().name
                self.errors[code] = self.errors.get(code, 0) + 1
                continue
            self.times.append(time.perf_counter() - started)
            if keep:
                self.answers[number] = answer


async def _load(chosen: argparse.Namespace) -> LoadResult:
    requests = read_messages(chosen.requests)
    async with grpc.aio.insecure_channel(chosen.address, options=CHANNEL_OPTIONS) as channel:
        call = channel.unary_unary(chosen.method)
        await _wait_until_ready(call, requests[0])
        callers = _Callers(call, requests, chosen.seconds)
        cpu, began = time.process_time(), time.perf_counter()
        await asyncio.gather(*(callers.run(keep=chosen.answers is not None) for _ in range(chosen.callers)))
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    if chosen.answers is not None:
        write_messages(chosen.answers, [callers.answers.get(number, b"") for number in range(max(callers.answers) + 1)])
    p50, p99 = np.percentile(callers.times, [50, 99]) * 1e3 if callers.times else (0.0, 0.0)
    return LoadResult(len(callers.times), seconds, float(p50), float(p99), callers.errors, cpu)


async def _wait_until_ready(call: Any, request: bytes) -> None:
    """Call until there is an answer. MLServer listens before it has its models."""
    end = time.monotonic() + _READY_SECONDS
    while True:
        try:
            await call(request)
        except grpc.aio.AioRpcError:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.2)
        else:
            return


def main() -> None:
    """Put load on a server, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("method")
    parser.add_argument("requests", type=Path)
    parser.add_argument("callers", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("answers", type=Path, nargs="?")
    print_line(open_console(), json.dumps(vars(asyncio.run(_load(parser.parse_args())))))


if __name__ == "__main__":
    main()
