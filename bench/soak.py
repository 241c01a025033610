"""Keeps an evaluator busy for long: `python -m bench.soak [--requests N] [--minutes M] [--seed N]`.

Several callers send a mix that the seed decides: short and medium clips, clips in which nothing is signed, wrong
requests, requests that name a version or an alias, health checks, and questions for the serving status. After every
2,000 requests the alias moves to the other one of two versions, by a promotion and a rollback in turn, so that models
are loaded and unloaded all the time. The versions have one graph, which was trained on synthetic landmarks. Bars:

- No unexplained error: each wrong request gets the status that it must get, and all others are answered. An answer
  differs by at most 1e-5 from the first one for the same clip, and names a version that exists.
- The memory at the end is at most 1 % above that after the first tenth. Each of the two is a median of ten samples.

The exit status is 1 if a bar is missed. The figures are saved in bench/results/soak.json.
"""

import argparse
import asyncio
import os
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from bench.hostile.corpus import GLOSSES, MODEL, moving_clip
from bench.hostile.meter import resident_with_children
from bench.hostile.system import AttackedSystem
from bench.record import load_results, origin, save_results
from bench.requests import publish_second_version
from bench.serving.pause import add_pause_option, wait_while_paused
from signet.landmarks import Landmarks, dump
from signet.rpc.limits import CHANNEL_OPTIONS
from signet.safetensors_header import LENGTH_BYTES, header_length
from signet.terminal.command import run_command
from signet.terminal.output import TableColumn, TextTable, open_console, print_line, print_table
from signet.v1 import evaluator_pb2, registry_pb2

REQUESTS = 1_000_000
RESULTS = Path("bench/results/soak.json")
SETTINGS = {"SIGNET_REGISTRY_WRITES": "true"}
MAX_GROWTH = 0.01

_CALLERS = 8
_CALL_SECONDS = 60.0
_MOVE_EVERY = 2_000
_SAMPLES = 1_000
_MEDIAN_OF = 10
_SHOWN = 20
_TOLERANCE = 1e-5
_ALIAS = "latest"
_RECOGNIZE = "/signet.v1.Recognizer/Recognize"
_PROMOTE, _ROLLBACK = "/signet.v1.Registry/Promote", "/signet.v1.Registry/Rollback"


@dataclass(frozen=True)
class SoakCall:
    """A call of the mix: its kind, its method and request, and the status that it must get."""

    kind: str
    method: str
    request: bytes
    status: str = "OK"


@dataclass
class SoakReport:
    """What became of the calls.

    Attributes:
        calls: the number of calls by their kind.
        errors: the number of unexplained errors by their text.
        moves: how often the alias has moved.
        memory: (calls, resident MB of the evaluator with its child processes), from the first call to the last.
        versions: the number of answers of each version.
    """

    calls: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    moves: int = 0
    memory: list[tuple[int, float]] = field(default_factory=list)
    versions: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def growth(self) -> float:
        """How much more memory there is at the end than after the first tenth, as a share."""
        if len(self.memory) < 2:
            return 0.0
        end = self.memory[-1][0]
        early = [megabytes for calls, megabytes in self.memory if calls >= end / 10][:_MEDIAN_OF]
        late = [megabytes for _, megabytes in self.memory[-_MEDIAN_OF:]]
        return statistics.median(late) / statistics.median(early) - 1


def make_clips(versions: Sequence[str]) -> dict[str, tuple[int, list[SoakCall]]]:
    """The calls of the mix by their kind, and how often the kind comes."""

    def recognise(kind: str, clip: Landmarks | bytes, status: str = "OK", **fields: Any) -> SoakCall:
        data = clip if isinstance(clip, bytes) else dump(clip)
        request = evaluator_pb2.RecognizeRequest(landmarks=data, top_k=len(GLOSSES))
        request.MergeFrom(evaluator_pb2.RecognizeRequest(**fields))
        return SoakCall(kind, _RECOGNIZE, request.SerializeToString(), status)

    short = [moving_clip(f"short-{seed}", GLOSSES[seed % 3], "val", seed, 20 + 5 * seed) for seed in range(12)]
    medium = [moving_clip(f"medium-{seed}", GLOSSES[seed % 3], "val", seed, 180 + 60 * seed) for seed in range(3)]
    still = moving_clip("still", GLOSSES[0], "val", 1)
    still.landmarks[:] = still.landmarks[:1]
    wrong = moving_clip("wrong", GLOSSES[0], "val", 1)
    data = dump(wrong)
    begin = LENGTH_BYTES + header_length(data)
    infinite = data[:begin] + np.full(len(data) - begin, 0x7C, np.uint8).tobytes()
    refused = "INVALID_ARGUMENT"
    health = health_pb2.HealthCheckRequest(service=f"model:{MODEL}")
    return {
        "short": (60, [recognise("short", clip) for clip in short]),
        "medium": (4, [recognise("medium", clip) for clip in medium]),
        "still": (4, [recognise("still", still)]),
        "named": (
            12,
            [recognise("named", short[0], model_version=name) for name in (*versions, _ALIAS)]
            + [recognise("named", short[1], model_name=MODEL)],
        ),
        "wrong": (
            10,
            [
                recognise("wrong", data[:-1], refused),
                recognise("wrong", b"<html>", refused),
                recognise("wrong", infinite, refused),
                recognise("wrong", data, refused, top_k=1_000),
                recognise("wrong", data, "NOT_FOUND", model_version="none"),
                SoakCall("wrong", _RECOGNIZE, b"\xff\xff", refused),
                SoakCall("wrong", _RECOGNIZE, b"", refused),
            ],
        ),
        "health": (6, [_call("health", "/grpc.health.v1.Health/Check", health)]),
        "status": (
            4,
            [_call("status", "/signet.v1.Recognizer/GetServingStatus", evaluator_pb2.GetServingStatusRequest())],
        ),
    }


def _call(kind: str, method: str, request: Message) -> SoakCall:
    return SoakCall(kind, method, request.SerializeToString())


class Soak:
    """The callers, which share a sequence of calls.

    Args:
        address: host:port of the evaluator.
        pid: its process.
        versions: both versions of the model, the one that the alias names last.
        count: the number of calls.
        seed: decides the order of the calls.
        end: no call begins after this time of the monotonic clock.
        move_every: the alias moves after every so many calls.
        pause: no call begins while this file exists.
    """

    def __init__(
        self, address: str, pid: int, versions: Sequence[str], count: int, seed: int,
        end: float = float("inf"), move_every: int = _MOVE_EVERY, pause: Path | None = None,
    ) -> None:  # fmt: skip
        self.report = SoakReport()
        self._address, self._pid, self._versions, self._count = address, pid, versions, count
        self._end, self._move_every, self._pause = end, move_every, pause
        self._chance = random.Random(seed)  # noqa: S311  (the mix is no secret)
        self._mix = make_clips(versions)
        self._expected: dict[bytes, tuple[dict[str, float], int]] = {}
        self._begun = 0
        self._began = time.monotonic()

    async def run(self, on_progress: Callable[[SoakReport], None] = lambda _: None) -> SoakReport:
        """Make all calls."""
        await asyncio.gather(*(self._caller(on_progress) for _ in range(_CALLERS)))
        return self.report

    async def _caller(self, on_progress: Callable[[SoakReport], None]) -> None:
        # Without a pool of its own, all callers would share one connection.
        options = [*CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
        kinds, weights = [*self._mix], [weight for weight, _ in self._mix.values()]
        async with grpc.aio.insecure_channel(self._address, options=options) as channel:
            while self._begun < self._count and time.monotonic() < self._end:
                await wait_while_paused(self._pause)
                self._begun += 1
                if self._begun % self._move_every == 0:
                    await self._move_alias(channel)
                (kind,) = self._chance.choices(kinds, weights)
                await self._make(channel, self._chance.choice(self._mix[kind][1]))
                if self._begun % max(1, self._count // _SAMPLES) == 0:
                    self._sample(on_progress)

    def _sample(self, on_progress: Callable[[SoakReport], None]) -> None:
        megabytes = resident_with_children(self._pid)
        if megabytes is None:
            self.report.errors["the evaluator has ended"] += 1
            self._end = 0.0
            return
        self.report.seconds = time.monotonic() - self._began
        self.report.memory.append((self.report.calls.total(), round(megabytes, 2)))
        on_progress(self.report)

    async def _make(self, channel: Any, call: SoakCall) -> None:
        status, message, data = "OK", "", b""
        try:
            data = await channel.unary_unary(call.method)(call.request, timeout=_CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            status, message = error.code().name, str(error.details())
        self.report.calls[call.kind] += 1
        if status != call.status:
            self.report.errors[f"{call.kind}: {status}, not {call.status}: {message}"] += 1
        elif call.method == _RECOGNIZE and status == "OK":
            self._check_answer(call, evaluator_pb2.RecognizeResponse.FromString(data))

    def _check_answer(self, call: SoakCall, answer: evaluator_pb2.RecognizeResponse) -> None:
        self.report.versions[answer.model_version] += 1
        found = {each.gloss: each.probability for each in answer.predictions}
        expected, nothing_signed = self._expected.setdefault(call.request, (found, answer.nothing_signed))
        same = found.keys() == expected.keys() and all(
            abs(found[gloss] - expected[gloss]) <= _TOLERANCE for gloss in found
        )
        if not same or answer.nothing_signed != nothing_signed or bool(found) != (call.kind != "still"):
            self.report.errors[f"{call.kind}: another answer than before"] += 1
        if answer.model_version not in self._versions:
            self.report.errors[f"{call.kind}: an answer of version {answer.model_version!r}"] += 1

    async def _move_alias(self, channel: Any) -> None:
        """Promote the first version, or roll the alias back, in turn."""
        self.report.moves += 1
        if self.report.moves % 2:
            request: Message = registry_pb2.PromoteRequest(alias=_ALIAS, model_version=self._versions[0])
            await self._make(channel, _call("move", _PROMOTE, request))
        else:
            await self._make(channel, _call("move", _ROLLBACK, registry_pb2.RollbackRequest(alias=_ALIAS)))


def run_soak(
    system: AttackedSystem, versions: Sequence[str], count: int, seed: int,
    end: float = float("inf"), move_every: int = _MOVE_EVERY,
    on_progress: Callable[[SoakReport], None] = lambda _: None, pause: Path | None = None,
) -> SoakReport:  # fmt: skip
    """Run a soak on the evaluator of a system that was started with `SETTINGS`."""
    evaluator = system.services["evaluator"]
    soak = Soak(evaluator.address, evaluator.pid, versions, count, seed, end, move_every, pause)
    report = asyncio.run(soak.run(on_progress))
    if b"Traceback" in system.log("evaluator"):
        report.errors["a traceback in the log"] += 1
    return report


def memory_table(report: SoakReport) -> TextTable:
    """The memory over time, in about ten rows."""
    samples = report.memory[:: max(1, len(report.memory) // 10)]
    rows = [[f"{calls:,}", f"{megabytes:.1f}"] for calls, megabytes in samples]
    return [TableColumn("calls", "right"), TableColumn("resident MB", "right")], rows


def _figures(report: SoakReport) -> dict[str, Any]:
    return {
        "calls": dict(report.calls),
        "errors": {text[:500]: count for text, count in report.errors.items()},
        "moves_of_the_alias": report.moves,
        "answers_by_version": dict(report.versions),
        "seconds": round(report.seconds, 1),
        "memory_growth_percent": round(100 * report.growth(), 2),
        "resident_mb": report.memory[:: max(1, len(report.memory) // 20)],
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        **origin(),
    }


def main() -> int:
    """Make the calls, print and save the figures. The exit status is 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=REQUESTS, help="number of requests. Default: %(default)s")
    parser.add_argument(
        "--minutes", type=float, default=1_440.0, help="stop after so many minutes. Default: %(default)s"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the mix. Default: %(default)s")
    add_pause_option(parser)
    arguments = parser.parse_args()
    console = open_console(min_width=120)

    def show_progress(report: SoakReport) -> None:
        if len(report.memory) % 10 == 0:
            calls, megabytes = report.memory[-1]
            done = f"{calls:,} calls, {calls / report.seconds:.0f}/s, {report.moves} moves, {megabytes:.1f} MB"
            print_line(console, f"{done}, {report.errors.total()} unexplained errors")

    with (
        tempfile.TemporaryDirectory(prefix="signet-soak-") as folder,
        AttackedSystem(Path(folder), None, SETTINGS) as system,
    ):
        versions = publish_second_version(system.store)
        system.start(["evaluator"])
        end = time.monotonic() + 60 * arguments.minutes
        report = run_soak(
            system, versions, arguments.requests, arguments.seed, end,
            on_progress=show_progress, pause=arguments.pause_file,
        )  # fmt: skip
    print_table(console, *memory_table(report))
    for text, count in report.errors.most_common(_SHOWN):
        print_line(console, f"missed: {count} x {text}")
    grown = report.growth() > MAX_GROWTH
    print_line(console, f"memory: {100 * report.growth():+.2f} %{', which misses the bar' if grown else ''}")
    row = f"{report.calls.total()} requests, seed {arguments.seed}"
    save_results(RESULTS, load_results(RESULTS) | {row: _figures(report)})
    return 1 if grown or report.errors else 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
