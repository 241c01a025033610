"""The time and memory of extraction: `python -m bench.extract [ROW ...] [--wlasl DIR] [--clips N] [--device cuda]`.

    cpu      CPU-seconds a clip: quality `fast` and `full` beside stock MediaPipe Holistic (one graph, reset between
             clips, every frame), on the same clips in one process, decoding included. Bar: 5 times less.
    workers  the frames a second of two workers beside one, on the same clips. Bar: 1.8 times, on two idle cores.
    memory   the memory of a worker that extracts 500 clips. Bar: 600 MB, and no more at the end than after 50 clips.
    device   the frames a second of many clips in lockstep on `--device`, tracked alone and with decoding.

The figures are saved in bench/results/extract.json, and all saved rows are printed.
"""

import argparse
import itertools
import operator
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from bench.record import load_results, origin, run_in_own_process, save_results
from services.extractor.jobs import worker
from services.extractor.jobs.worker import Labels
from services.extractor.jobs.workers import WorkerPool
from services.extractor.sources.wlasl import read_wlasl
from services.extractor.tracking.lockstep import LockstepTracker
from services.extractor.tracking.trackers import FAST_RATE, TrackingQuality, create_tracker
from services.extractor.tracking.tracks import Tracker
from services.extractor.video.decode import Frame, Video, read_file
from signet.errors import ClipError
from signet.terminal.command import run_command
from signet.terminal.output import TableColumn, open_console, print_line, print_table

RESULTS = Path(__file__).parent / "results" / "extract.json"
MIN_RATIO, MIN_SPEEDUP, MAX_WORKER_MB = 5.0, 1.8, 600.0

_MEMORY_CLIPS, _FIRST_CLIPS = 500, 50
_RESAMPLES = 1_000
# Clips at a time on a device.
_LOCKSTEP = 64

Row = dict[str, Any]


def choose_clips(wlasl: Path, count: int) -> list[Path]:
    """Clips of all glosses, the same each time."""
    corpus = read_wlasl(wlasl)
    paths = sorted(corpus.path(instance) for instance in corpus.instances if corpus.has(instance))
    return random.Random(0).sample(paths, min(count, len(paths)))  # noqa: S311  (no secret)


def measure_cpu(paths: Sequence[Path]) -> Row:
    """CPU-seconds of each tracker on each clip. The trackers alternate, clip by clip."""
    from mediapipe.python.solutions.holistic import Holistic  # noqa: PLC0415  (seconds; only this row needs it)

    stock = Holistic(static_image_mode=False, model_complexity=1)
    trackers = {quality: create_tracker(quality) for quality in TrackingQuality}

    def run_stock(video: Video) -> None:
        stock.reset()
        for frame in video.frames():
            stock.process(frame.rgb)

    ways: dict[str, Callable[[Video], object]] = {"stock": run_stock, "verify": Video.times}
    ways |= {quality: partial(_track, tracker) for quality, tracker in trackers.items()}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    counts = []
    for path in [paths[0], *paths]:  # the first clip warms up
        for way, run in ways.items():
            video = Video(read_file(path), path.name)
            began = time.process_time()
            run(video)
            seconds[way].append(time.process_time() - began)
        counts.append(video.decoded)
    used = {way: np.array(values[1:]) for way, values in seconds.items()}
    frames = sum(counts[1:])
    low, high = _interval(used["stock"], used["fast"])
    return {
        "clips": len(paths), "frames": frames,
        **{f"{way}_ms_per_frame": round(values.sum() / frames * 1e3, 2) for way, values in used.items()},
        "ratio": round(used["stock"].sum() / used["fast"].sum(), 2), "ratio_low": low, "ratio_high": high,
        "ratio_with_verification": round(used["stock"].sum() / (used["fast"] + used["verify"]).sum(), 2),
    }  # fmt: skip


def _track(tracker: Tracker, video: Video) -> None:
    tracker.track(video.frames(rate=tracker.rate))


def _interval(above: np.ndarray[Any, Any], below: np.ndarray[Any, Any]) -> tuple[float, float]:
    """The 95 % interval of the ratio of two sums, by resampling clips."""
    chosen = np.random.default_rng(0).integers(0, len(above), (_RESAMPLES, len(above)))
    low, high = np.percentile(above[chosen].sum(axis=1) / below[chosen].sum(axis=1), [2.5, 97.5])
    return round(float(low), 2), round(float(high), 2)


def measure_workers(paths: Sequence[Path]) -> Row:
    """Frames a second of one and of two workers, twice each, alternating. Loading is not counted."""
    best: dict[int, float] = {}
    for count in (1, 2, 1, 2):
        with WorkerPool(count) as pool:
            list(pool.each(worker.extract_bytes, _jobs(itertools.islice(itertools.cycle(paths), 2 * count))))
            began = time.perf_counter()
            frames = sum(_frames(outcome) for _, outcome in pool.each(worker.extract_bytes, _jobs(paths)))
            rate = frames / (time.perf_counter() - began)
        best[count] = max(rate, best.get(count, 0.0))
    load = os.getloadavg()[0]
    return {
        "clips": len(paths), "one": round(best[1], 1), "two": round(best[2], 1),
        "ratio": round(best[2] / best[1], 2), "load": load,
    }  # fmt: skip


def measure_memory(paths: Sequence[Path]) -> Row:
    """The memory of one worker, in MB, after some clips and after many."""
    clips = itertools.islice(itertools.cycle(paths), _MEMORY_CLIPS)
    sizes = []
    with WorkerPool(1) as pool:
        for _, outcome in pool.each(worker.extract_bytes, _jobs(clips)):
            _frames(outcome)
            children = psutil.Process().children(recursive=True)
            sizes.append(max(child.memory_info().rss for child in children) / 1e6)
    return {
        "clips": len(sizes), "after_50": round(max(sizes[:_FIRST_CLIPS])), "after_500": round(sizes[-1]),
        "peak": round(max(sizes)),
    }  # fmt: skip


def measure_device(paths: Sequence[Path], device: str) -> Row:
    """Frames of video a second, with the clips in lockstep: tracked from memory, and with their decoding."""
    tracker = LockstepTracker(FAST_RATE, _LOCKSTEP, device)
    names = [(path, path) for path in itertools.islice(itertools.cycle(paths), max(len(paths), 4 * _LOCKSTEP))]

    def decode(path: Path) -> Iterator[Frame]:
        return Video(read_file(path), path.name).frames(rate=FAST_RATE)

    list(tracker.track_clips([(path, decode(path)) for path, _ in names[:4]]))
    decoded = {path: list(decode(path)) for path in set(paths)}
    totals = {path: len(Video(read_file(path), path.name).times()) for path in set(paths)}
    frames = sum(totals[path] for path, _ in names)
    rates = {}
    for what, source in (("tracked", decoded.__getitem__), ("with_decoding", decode)):
        began = time.perf_counter()
        list(tracker.track_clips((path, source(path)) for path, _ in names))
        rates[what] = round(frames / (time.perf_counter() - began), 1)
    return {"device": device, "clips": len(names), "at_a_time": _LOCKSTEP, "frames": frames, **rates}


def _jobs(paths: Iterator[Path] | Sequence[Path]) -> Iterator[tuple[str, tuple[bytes, Labels]]]:
    return ((path.stem, (read_file(path), Labels(path.stem))) for path in paths)


def _frames(outcome: object) -> int:
    if isinstance(outcome, ClipError):
        raise outcome
    assert isinstance(outcome, worker.Extracted)
    return outcome.frames


BARS: tuple[tuple[str, str, Callable[[float, float], bool], float], ...] = (
    ("cpu", "ratio", operator.ge, MIN_RATIO),
    ("workers", "ratio", operator.ge, MIN_SPEEDUP),
    ("memory", "peak", operator.le, MAX_WORKER_MB),
)


def missed_bars(rows: Mapping[str, Row]) -> list[str]:
    """The bars that the measured rows miss, in words."""
    return [
        f"{row}: {field} is {rows[row][field]}; the bar is {bar:g}"
        for row, field, meets, bar in BARS
        if row in rows and not meets(rows[row][field], bar)
    ]


def main() -> None:
    """Measure, save, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", choices=["cpu", "workers", "memory", "device", []], metavar="ROW")
    parser.add_argument("--wlasl", type=Path, default=Path(os.environ.get("WLASL", "../shared/wlasl")))
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    chosen = parser.parse_args()
    console = open_console()
    paths = choose_clips(chosen.wlasl, chosen.clips)
    measures: dict[str, Callable[[], Row]] = {
        "cpu": lambda: run_in_own_process(measure_cpu, paths),
        "workers": lambda: run_in_own_process(measure_workers, paths),
        "memory": lambda: run_in_own_process(measure_memory, paths),
        "device": lambda: run_in_own_process(measure_device, paths, chosen.device),
    }
    results = load_results(RESULTS)
    measured = chosen.rows or ["cpu", "workers", "memory"]
    for row in measured:
        name = f"{row} {chosen.device}" if row == "device" else row
        results[name] = measures[row]() | origin()
        save_results(RESULTS, results)
    table = [[row, ", ".join(f"{name} {value}" for name, value in figures.items())] for row, figures in results.items()]
    print_table(console, [TableColumn("row"), TableColumn("figures")], table)
    missed = missed_bars({row: results[row] for row in measured if row in results})
    for line in missed:
        print_line(console, line)
    raise SystemExit(bool(missed))


if __name__ == "__main__":
    run_command(main)
