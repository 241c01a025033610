"""Measures attacked services: memory, threads and descriptors of processes, and the time of legitimate calls."""

import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np

from bench.hostile.system import AttackedSystem, Target
from signet.rpc.limits import CHANNEL_OPTIONS
from signet.v1 import evaluator_pb2, evaluator_pb2_grpc, extractor_pb2, extractor_pb2_grpc, trainer_pb2
from signet.v1 import trainer_pb2_grpc as trainer_grpc

_SAMPLE_SECONDS = 0.05
# A legitimate call without an answer after this time counts as unanswered.
_CALL_SECONDS = 20.0


@dataclass(frozen=True)
class ProcessState:
    """A process at one moment. Memory is in MB (10^6 bytes)."""

    resident: float
    peak: float
    threads: int
    descriptors: int


def read_state(pid: int) -> ProcessState | None:
    """The state of a process; None if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    if "VmRSS" not in fields:
        return None  # a zombie
    resident, peak = (int(fields[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM"))
    return ProcessState(resident, peak, int(fields["Threads"]), descriptors)


def list_children(pid: int) -> list[int]:
    """The child processes of a process and of these. The resource tracker of multiprocessing is one of them."""
    found = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(word) for word in (task / "children").read_text().split()]
    except OSError:
        return found
    return found + [child for parent in found for child in list_children(parent)]


def resident_with_children(pid: int) -> float | None:
    """The MB in memory of a process and its child processes; None if it has ended."""
    state = read_state(pid)
    if state is None:
        return None
    children = [child for each in list_children(pid) if (child := read_state(each)) is not None]
    return state.resident + sum(child.resident for child in children)


def reset_peak(pid: int) -> None:
    """Let the peak memory of a process be its present memory."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


class MemorySampler(threading.Thread):
    """Samples services and their child processes every 50 ms until it is stopped.

    It keeps the peaks of memory in MB, of threads and of descriptors. "x's child" is the largest child of service x.
    """

    def __init__(self, pids: Mapping[str, int]) -> None:
        super().__init__(daemon=True)
        self._pids = pids
        self._ended = threading.Event()
        self.peaks: Counter[str] = Counter()
        self.threads: Counter[str] = Counter()
        self.descriptors: Counter[str] = Counter()
        for pid in pids.values():
            for each in (pid, *list_children(pid)):
                try:
                    reset_peak(each)
                except OSError:
                    continue  # it has ended

    def run(self) -> None:
        """Sample."""
        while True:
            ended = self._ended.wait(_SAMPLE_SECONDS)
            for name, pid in self._pids.items():
                self._add(name, pid)
                for child in list_children(pid):
                    self._add(f"{name}'s child", child)
            if ended:
                return

    def _add(self, name: str, pid: int) -> None:
        state = read_state(pid)
        if state is not None:
            self.peaks[name] = max(self.peaks[name], round(state.peak))
            self.threads[name] = max(self.threads[name], state.threads)
            self.descriptors[name] = max(self.descriptors[name], state.descriptors)

    def stop(self) -> None:
        """Sample once more, and end."""
        self._ended.set()
        self.join()


def _recognise(target: Target) -> None:
    request = evaluator_pb2.RecognizeRequest(landmarks=target.landmarks)
    with _channel(target.addresses["evaluator"]) as channel:
        evaluator_pb2_grpc.RecognizerStub(channel).Recognize(request, timeout=_CALL_SECONDS)


def _extract(target: Target) -> None:
    request = extractor_pb2.ExtractClipRequest(video=target.video, clip_id="good")
    with _channel(target.addresses["extractor"]) as channel:
        extractor_pb2_grpc.ExtractorStub(channel).ExtractClip(request, timeout=_CALL_SECONDS)


def _list_runs(target: Target) -> None:
    with _channel(target.addresses["trainer"]) as channel:
        trainer_grpc.TrainerStub(channel).ListRuns(trainer_pb2.ListRunsRequest(), timeout=_CALL_SECONDS)


def _scrape(target: Target) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{target.metrics_ports['evaluator']}/metrics", timeout=5) as answer:
        answer.read()


def _channel(address: str) -> grpc.Channel:
    """A connection of its own: a command of a person opens one, too."""
    return grpc.insecure_channel(address, options=[*CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1)])


# Legitimate calls, the pause between two of them in seconds, and the number that a measurement needs.
CALLS: dict[str, tuple[Callable[[Target], None], float, int]] = {
    "Recognize": (_recognise, 0.05, 50),
    "ExtractClip": (_extract, 0.2, 4),
    "ListRuns": (_list_runs, 0.1, 30),
    "/metrics": (_scrape, 0.1, 30),
}


@dataclass
class CallTimes:
    """The times of legitimate calls in seconds, and the statuses of those that failed."""

    seconds: list[float] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)

    def percentile(self, share: float) -> float:
        """A percentile in ms; 0 if no call was answered."""
        return float(np.percentile(self.seconds, share)) * 1000 if self.seconds else 0.0


class LegitimateCalls:
    """Makes legitimate calls of these kinds, each kind one after the other with a pause, as a context manager.

    At the end, each kind has made as many calls as a measurement needs, if the attack has not ended before.
    """

    def __init__(self, target: Target, kinds: tuple[str, ...]) -> None:
        self.times = {kind: CallTimes() for kind in kinds}
        self._target = target
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(kind,), daemon=True) for kind in kinds]

    def __enter__(self) -> "LegitimateCalls":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def wait_until_enough(self, seconds: float) -> None:
        """Wait until each kind has made as many calls as a measurement needs, at most this long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and any(
            len(times.seconds) + times.failed.total() < CALLS[kind][2] for kind, times in self.times.items()
        ):
            time.sleep(0.05)

    def _call(self, kind: str) -> None:
        call, pause, _ = CALLS[kind]
        while not self._ended.is_set():
            began = time.perf_counter()
            try:
                call(self._target)
            except grpc.RpcError as error:
                self.times[kind].failed[error.code().name] += 1
            except OSError as error:
                self.times[kind].failed[type(error).__name__] += 1
            else:
                self.times[kind].seconds.append(time.perf_counter() - began)
            self._ended.wait(pause)


def state_of_services(system: AttackedSystem) -> dict[str, tuple[ProcessState | None, int]]:
    """Each service: its state, and the number of its child processes."""
    return {name: (read_state(pid), len(list_children(pid))) for name, pid in system.pids.items()}
