"""Measures streams of landmarks in real time: late frames, the delay of events, and what a stream costs.

    python -m bench.serving.stream_load --store STORE --models STORE --model MODEL [--streams N] [--seconds S]

The frames are the landmarks of real clips in `--store`, one clip after the other, 30 frames a second in real time. A
load generator on the same cores sends them in messages of `--group` frames. The delay of a final event is the time
since the frame in which its sign ended was sent. The figures are saved in bench/results/stream_load.json. The exit
status is 1 if a bar is missed.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt

from bench.record import load_results, origin, save_results
from bench.serve import read_clips
from bench.serving.servers import start_evaluator
from signet import landmarks
from signet.store.options import open_store_option
from signet.terminal.command import run_command
from signet.terminal.output import TableColumn, open_console, print_line, print_table
from signet.v1.evaluator_pb2 import RecognizeStreamRequest, StreamConfig
from signet.v1.evaluator_pb2_grpc import RecognizerStub
from signet.v1.streaming_pb2 import LandmarkFrames

RESULTS = Path("bench/results/stream_load.json")
RATE = 30

# The bars: the share of a core for a stream, and the delay of final events in seconds.
MAX_CORE_SHARE = 0.04
MAX_MEDIAN_SECONDS, MAX_P95_SECONDS = 0.8, 1.5

_CLIPS = 60
# A message that is sent so long after its time is late: the machine, not the server, was too slow.
_LATE_SECONDS = 0.1

Row = dict[str, Any]


def join_clips(store: str, frames: int) -> npt.NDArray[np.float16]:
    """The landmarks of clips one after the other, at least so many frames, [n, 75, 3]."""
    clips = [landmarks.load(data).landmarks for data in read_clips(open_store_option(store, must_exist=True), _CLIPS)]
    joined = np.concatenate(clips)
    return np.tile(joined, (-(-frames // len(joined)), 1, 1))[:frames]


class Stream:
    """One client that sends frames in real time."""

    def __init__(self, number: int, joints: npt.NDArray[np.float16], group: int) -> None:
        self._number = number
        self._joints = joints
        self._group = group
        self._sent: list[float] = []  # when each frame was sent
        self.delays: list[float] = []
        self.late_messages = 0
        self.events: dict[str, int] = {}
        self.statistics: Row = {}

    async def run(self, stub: Any) -> None:
        """Send all frames, and read all events."""
        call = stub.RecognizeStream()
        await call.write(RecognizeStreamRequest(config=StreamConfig()))
        writing = asyncio.create_task(self._write(call))
        while (response := await call.read()) is not grpc.aio.EOF:
            event = response.WhichOneof("event")
            self.events[event] = self.events.get(event, 0) + 1
            if event == "final":
                frame = bisect_left(range(len(self._joints)), response.final.end_seconds * RATE)
                if frame < len(self._sent):
                    self.delays.append(time.monotonic() - self._sent[frame])
            elif event == "statistics":
                counts = response.statistics
                self.statistics = {"received": counts.received, "late": counts.late, "dropped": counts.dropped}
        await writing

    async def _write(self, call: Any) -> None:
        # The streams do not send at the same moment.
        began = time.monotonic() + self._number % self._group / RATE + self._number * 0.0037
        for start in range(0, len(self._joints), self._group):
            end = min(start + self._group, len(self._joints))
            due = began + end / RATE
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            now = time.monotonic()
            self.late_messages += now > due + _LATE_SECONDS
            self._sent += [now] * (end - start)
            seconds = [frame / RATE for frame in range(start, end)]
            await call.write(
                RecognizeStreamRequest(
                    frames=LandmarkFrames(seconds=seconds, float16=self._joints[start:end].tobytes())
                )
            )
        await call.done_writing()


async def _generate(address: str, path: Path, streams: int, group: int) -> Row:
    joints = np.load(path)
    began, cpu = time.monotonic(), time.process_time()
    clients = [Stream(number, np.roll(joints, -number * 97, axis=0), group) for number in range(streams)]
    async with grpc.aio.insecure_channel(address) as channel:
        await asyncio.gather(*(client.run(RecognizerStub(channel)) for client in clients))
    delays = [delay for client in clients for delay in client.delays]
    return {
        "seconds": time.monotonic() - began,
        "client_cpu_seconds": time.process_time() - cpu,
        "delays": delays,
        "late_messages": sum(client.late_messages for client in clients),
        **{key: sum(client.statistics.get(key, 0) for client in clients) for key in ("received", "late", "dropped")},
        "finals": sum(client.events.get("final", 0) for client in clients),
        "partials": sum(client.events.get("partial", 0) for client in clients),
    }


def measure(chosen: argparse.Namespace, folder: Path) -> Row:
    """Put load on an evaluator, and return the figures."""
    frames = folder / "frames.npy"
    np.save(frames, join_clips(chosen.store, round(chosen.seconds * RATE)))
    models = open_store_option(chosen.models or chosen.store, must_exist=True)
    command = [sys.executable, "-m", "bench.serving.stream_load", "--generate", str(frames), "--group"]
    command += [str(chosen.group), "--streams", str(chosen.streams), "--address"]
    with start_evaluator(models.url, chosen.model, Path(), folder / "log", flags=tuple(chosen.flags)) as server:
        megabytes, cpu = server.megabytes(), server.cpu_seconds()
        done = subprocess.run([*command, server.address], check=True, capture_output=True, text=True)
        cpu = server.cpu_seconds() - cpu
        grown = server.megabytes() - megabytes
    found = json.loads(done.stdout)
    delays = np.array(found.pop("delays") or [np.nan])
    return {
        "streams": chosen.streams,
        "group": chosen.group,
        "core_share_of_a_stream": round(cpu / found["seconds"] / chosen.streams, 4),
        "client_core_share": round(found["client_cpu_seconds"] / found["seconds"] / chosen.streams, 4),
        "median_seconds": round(float(np.median(delays)), 3),
        "p95_seconds": round(float(np.quantile(delays, 0.95)), 3),
        "finals": found["finals"],
        "partials": found["partials"],
        "received": found["received"],
        "late_frames": found["late"],
        "dropped_frames": found["dropped"],
        "late_messages": found["late_messages"],
        "seconds": round(found["seconds"], 1),
        "grown_megabytes": round(grown),
    }


def missed_bars(row: Row) -> list[str]:
    """The bars that the figures miss, in words."""
    bars = (
        ("core_share_of_a_stream", MAX_CORE_SHARE),
        ("median_seconds", MAX_MEDIAN_SECONDS),
        ("p95_seconds", MAX_P95_SECONDS),
        ("late_frames", 0),
    )
    return [f"{name} is {row[name]:g}; the bar is {bar:g}" for name, bar in bars if not row[name] <= bar]


def main() -> None:
    """Measure, save and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", default="", help="the store of the landmarks")
    parser.add_argument("--models", default="", help="the store of the model; the same by default")
    parser.add_argument("--model", default="", help="the name of the model; its version `latest` is served")
    parser.add_argument("--streams", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--group", type=int, default=3, help="frames in a message")
    parser.add_argument("--generate", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--address", default="", help=argparse.SUPPRESS)
    parser.add_argument("flags", nargs="*", help="flags for the evaluator, after --")
    chosen = parser.parse_args()
    if chosen.generate:
        found = asyncio.run(_generate(chosen.address, chosen.generate, chosen.streams, chosen.group))
        print_line(open_console(), json.dumps(found))
        return
    with tempfile.TemporaryDirectory() as folder:
        row = measure(chosen, Path(folder))
    name = f"{chosen.streams} streams, {chosen.group} frames a message"
    save_results(RESULTS, load_results(RESULTS) | {name: row | origin()})
    console = open_console()
    print_table(console, [TableColumn("figure"), TableColumn(name, "right")], [[key, f"{row[key]:g}"] for key in row])
    missed = missed_bars(row)
    for line in missed:
        print_line(console, line)
    raise SystemExit(bool(missed))


if __name__ == "__main__":
    run_command(main)
