"""Faults under load: `python -m bench.serving.faults [--promotions N] [--stop N] [--store-outage S]`.

Callers send clips to a real evaluator without a pause, while its version changes, it is stopped, or its store is dead.
The store is SeaweedFS with two versions of a model that have one graph. Without options, all three are measured. Bars:

- `--promotions 20`: so many promotions and rollbacks, one after the other. No call fails, and each answer names a
  version that was current during the call.
- `--stop 5`: so many times, the evaluator gets SIGTERM. It exits with status 0 within 10 s. No call that began before
  the signal is lost, and later calls are answered or refused with UNAVAILABLE.
- `--store-outage 60`: the store is killed, and started again after so many seconds. No call fails; afterwards a
  promotion is served.

The exit status is 1 if a bar is missed. The figures are saved in bench/results/serving_faults.json. The callers share
the cores with the evaluator and the store.
"""

import argparse
import io
import os
import signal
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from bench.hostile.corpus import GLOSSES, MODEL, moving_clip, store_clips, train_tiny_model
from bench.record import load_results, origin, save_results
from bench.requests import publish_second_version
from bench.serve import read_clips
from bench.serving.recorded_load import RecordedCall, RecordedLoad, percentile_ms
from services.local.seaweedfs import LocalStore
from services.local.stack import LocalService
from signet import registry
from signet.landmarks import dump
from signet.registry import LATEST
from signet.rpc.health import is_serving
from signet.store import DirectoryStore, ObjectStore
from signet.store.options import open_store_option
from signet.terminal.command import run_command
from signet.terminal.output import TableColumn, open_console, print_line, print_table

RESULTS = Path("bench/results/serving_faults.json")
CALLERS, PROMOTIONS, STOPS, OUTAGE_SECONDS = 32, 20, 5, 60.0
MAX_EXIT_SECONDS = 10.0

_CLIPS = 100
_REFRESH_SECONDS = 0.2
# A version is served, and a store is back, within this time, also on a busy machine.
_PATIENCE_SECONDS = 60.0
_WARM_UP_CALLS = 200
_SHOWN = 5


@dataclass
class FaultResult:
    """The figures of one fault, and the bars that were missed."""

    figures: dict[str, Any] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)


class ServedSystem:
    """A store with two versions of a model, and an evaluator that serves its alias `latest`.

    Args:
        store: the running store.
        name: the model. Both versions are in the store.
        clips: the landmarks that callers send.
        callers: the number of callers.
        log: the log of the evaluator.
    """

    def __init__(self, store: LocalStore, name: str, clips: Sequence[bytes], callers: int, log: Path) -> None:
        self.store = store
        self.name = name
        self.log = log
        self._clips = clips
        self._callers = callers
        settings = {"SIGNET_MODEL_NAME": name, "SIGNET_AUTO_EVALUATE": "false", "SIGNET_REGISTRY_WRITES": "true"}
        settings |= {"SIGNET_REFRESH_SECONDS": str(_REFRESH_SECONDS), "SIGNET_LOG_LEVEL": "WARNING"}
        self.evaluator = LocalService("evaluator", settings | store.environment, log)

    @contextmanager
    def load(self, *, end_at_failure: bool = False) -> Iterator[RecordedLoad]:
        """Start the evaluator, and callers that have had some answers. Both are stopped at the end."""
        self.evaluator.start()
        try:
            self.evaluator.wait_ready()
            address = self.evaluator.address
            with RecordedLoad(address, self._clips, self._callers, end_at_failure=end_at_failure) as load:
                load.wait_for_answers(_WARM_UP_CALLS, _PATIENCE_SECONDS)
                yield load
        finally:
            self.evaluator.stop()


def measure_promotions(system: ServedSystem, count: int) -> FaultResult:
    """Promote the older version and roll back, so many times each."""
    store, name = system.store.open(), system.name
    older, newer = registry.versions(store, name)[-2:]
    registry.promote(store, name, newer, LATEST)
    current: list[tuple[str, float, float]] = []  # a version, and a time in which no other one was current
    waits = []
    with system.load() as load:
        since = time.monotonic()
        for number in range(2 * count):
            moved = time.monotonic()
            version = newer if number % 2 else older
            current.append((older if number % 2 else newer, since, moved))
            if number % 2:
                registry.rollback(store, name, LATEST, expected_from=older)
            else:
                registry.promote(store, name, older, LATEST, expected_from=newer)
            since = load.wait_for_version(version, time.monotonic(), _PATIENCE_SECONDS)
            waits.append(since - moved)
            load.wait_for_answers(_WARM_UP_CALLS // 4, _PATIENCE_SECONDS)
    wrong = find_wrong_versions(load.calls, current)
    result = FaultResult({"moves": 2 * count, **_figures(load.calls)})
    result.figures["seconds_until_served"] = [round(statistics.median(waits), 2), round(max(waits), 2)]
    result.missed = [*_failures(load.failed), *wrong]
    if unknown := {call.version for call in load.calls if call.status == "OK"} - {older, newer}:
        result.missed.append(f"answers of other versions: {sorted(unknown)}")
    return result


def find_wrong_versions(calls: Sequence[RecordedCall], current: Sequence[tuple[str, float, float]]) -> list[str]:
    """The calls that a version answered that was not current: (version, begin, end) are times with one version."""
    return [
        f"a call got an answer of {call.version} while {version} was current"
        for version, begin, end in current
        for call in calls
        if begin <= call.begun and call.ended <= end and call.status == "OK" and call.version != version
    ]


def measure_stops(system: ServedSystem, count: int) -> FaultResult:
    """Send SIGTERM to an evaluator under load, so many times."""
    result, all_calls = FaultResult(), list[RecordedCall]()
    seconds, late = [], Counter[str]()
    for _ in range(count):
        with system.load(end_at_failure=True) as load:
            process = psutil.Process(system.evaluator.pid)
            stopped = time.monotonic()
            process.send_signal(signal.SIGTERM)
            status = process.wait(_PATIENCE_SECONDS)
            seconds.append(time.monotonic() - stopped)
            while load.running and time.monotonic() < stopped + _PATIENCE_SECONDS:
                time.sleep(0.05)
        all_calls += load.calls
        late.update(call.status for call in load.calls if call.begun >= stopped)
        # A call that a stopping server has not begun is refused with UNAVAILABLE, and its caller may repeat it.
        lost = [call for call in load.failed if call.begun < stopped or call.status != "UNAVAILABLE"]
        result.missed += [f"lost: {text}" for text in _failures(lost)]
        if status:
            result.missed.append(f"the evaluator exits with status {status}")
        if seconds[-1] > MAX_EXIT_SECONDS:
            result.missed.append(f"the evaluator exits after {seconds[-1]:.1f} s; the bar is {MAX_EXIT_SECONDS:g} s")
    result.figures = {"stops": count, **_figures([call for call in all_calls if call.status == "OK"])}
    result.figures["calls_begun_after_the_signal"] = dict(late)
    result.figures["seconds_to_exit"] = [round(statistics.median(seconds), 2), round(max(seconds), 2)]
    return result


def measure_outage(system: ServedSystem, seconds: float) -> FaultResult:
    """Kill the store under load, and start it again after so many seconds."""
    store, name = system.store.open(), system.name
    older, newer = registry.versions(store, name)[-2:]
    registry.promote(store, name, newer, LATEST)
    with system.load() as load:
        began = time.monotonic()
        load.wait_for_answers(_WARM_UP_CALLS, _PATIENCE_SECONDS)
        killed = time.monotonic()
        os.kill(system.store.pid, signal.SIGKILL)
        system.store.stop()
        healthy = 0
        while (left := killed + seconds - time.monotonic()) > 0:
            healthy += is_serving(system.evaluator.address, 5.0)
            time.sleep(min(1.0, left))
        system.store.start()
        restarted = time.monotonic()
        registry.promote(system.store.open(), name, older, LATEST)
        served = load.wait_for_version(older, restarted, _PATIENCE_SECONDS)
    during = [call for call in load.calls if killed <= call.begun < restarted]
    before = [call for call in load.calls if began <= call.begun < killed]
    result = FaultResult({"outage_seconds": round(restarted - killed, 1), **_figures(during)})
    result.figures["p50_ms_before"] = percentile_ms(before, 50)
    result.figures["healthy_checks"] = healthy
    result.figures["seconds_until_a_promotion_is_served"] = round(served - restarted, 2)
    result.missed = _failures(load.failed)
    if not healthy:
        result.missed.append("the evaluator was not healthy")
    return result


def _figures(calls: Sequence[RecordedCall]) -> dict[str, Any]:
    answered = [call for call in calls if call.status == "OK"]
    return {
        "answered": len(answered),
        "failed": len(calls) - len(answered),
        "p50_ms": percentile_ms(answered, 50),
        "p99_ms": percentile_ms(answered, 99),
        "longest_ms": percentile_ms(answered, 100),
    }


def _failures(calls: Sequence[RecordedCall]) -> list[str]:
    counted = Counter(f"{call.status}: {call.details}" for call in calls)
    return [f"{count} calls failed with {text}" for text, count in counted.most_common(_SHOWN)]


def publish_versions(store: ObjectStore, models: ObjectStore, name: str) -> None:
    """Copy the latest version of a model into a store, and publish it there a second time under another version."""
    version = registry.resolve(models, name, LATEST)
    archive = b"".join(registry.export_archive(models, name, version)[2])
    registry.import_archive(store, io.BytesIO(archive), name)
    registry.promote(store, name, version, LATEST)
    publish_second_version(store, name)


def _train(folder: Path) -> DirectoryStore:
    store = DirectoryStore(folder)
    store_clips(store)
    train_tiny_model(store)
    return store


def main() -> int:
    """Measure, print and save. The exit status is 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--promotions", type=int, metavar="N", help=f"only this; usually {PROMOTIONS}")
    parser.add_argument("--stop", type=int, metavar="N", help=f"only this; usually {STOPS}")
    parser.add_argument("--store-outage", type=float, metavar="S", help=f"only this; usually {OUTAGE_SECONDS:g} s")
    parser.add_argument("--callers", type=int, default=CALLERS, help="Default: %(default)s")
    parser.add_argument("--store", default="", help="the store of the landmarks. Default: synthetic clips")
    parser.add_argument("--models", default="", help="the store of the model. Default: a small one is trained")
    parser.add_argument("--model", default=MODEL, help="the name of the model. Default: %(default)s")
    chosen = parser.parse_args()
    every = chosen.promotions is chosen.stop is chosen.store_outage is None
    console, missed = open_console(min_width=120), 0
    with tempfile.TemporaryDirectory(prefix="signet-faults-") as temporary:
        folder = Path(temporary)
        clips = [dump(moving_clip(f"clip-{seed}", GLOSSES[seed % 3], "val", seed)) for seed in range(_CLIPS // 5)]
        if chosen.store:
            clips = read_clips(open_store_option(chosen.store, must_exist=True), _CLIPS)
        (folder / "models").mkdir()
        models: ObjectStore = (
            open_store_option(chosen.models, must_exist=True) if chosen.models else _train(folder / "models")
        )
        with LocalStore(folder / "store") as store:
            publish_versions(store.open(), models, chosen.model)
            system = ServedSystem(store, chosen.model, clips, chosen.callers, folder / "log")
            results = {}
            if every or chosen.promotions:
                results["promotions"] = measure_promotions(system, chosen.promotions or PROMOTIONS)
            if every or chosen.stop:
                results["stop"] = measure_stops(system, chosen.stop or STOPS)
            if every or chosen.store_outage:
                results["store outage"] = measure_outage(system, chosen.store_outage or OUTAGE_SECONDS)
            if b"Traceback" in system.log.read_bytes():
                missed += 1
                print_line(console, f"a traceback in the log:\n{system.log.read_text()[-2000:]}")
    rows = load_results(RESULTS)
    for name, result in results.items():
        missed += len(result.missed)
        figures = {**result.figures, "missed": result.missed, "callers": chosen.callers, "cores": os.cpu_count()}
        rows[f"{name}, {chosen.callers} callers"] = {**figures, **origin()}
        columns = [TableColumn(name), TableColumn("", "right")]
        print_table(console, columns, [[key.replace("_", " "), str(value)] for key, value in result.figures.items()])
        for text in result.missed[:_SHOWN]:
            print_line(console, f"missed: {text}")
    save_results(RESULTS, rows)
    print_line(console, f"{missed} bars missed")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
