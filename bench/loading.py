"""The time to load a stored snapshot for training: `python -m bench.loading [--corpus NAME]`.

The snapshot is synthetic: 10,000 clips of 25 frames and 2,000 glosses, in a directory store. With a corpus, a snapshot
of its clips is also made twice: the first time each clip is read, the second time the stored snapshot. Bar: 10,000
clips in at most 1 s, by the best of five, with each frame read once.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.trainer.data.snapshot import load_or_create_snapshot
from signet.datasets.snapshot import Dataset, SampledClip, assemble_snapshot, load_snapshot, publish_snapshot
from signet.landmarks import JOINTS, SAMPLES_PER_FRAME, ClipRecord
from signet.store import DirectoryStore
from signet.store.options import open_store_option
from signet.terminal.command import run_command
from signet.terminal.output import TableColumn, open_console, print_table

CLIPS = 10_000
MAX_SECONDS = 1.0

_GLOSSES = 2_000
_FRAMES = 25
_TIMES = 5


@dataclass(frozen=True)
class LoadingTime:
    """A measurement: the number of clips and frames, and the best and the median time in seconds."""

    what: str
    clips: int
    frames: int
    best: float
    median: float


def synthetic_snapshot(clips: int = CLIPS) -> Dataset:
    """A snapshot of this many clips, with pose and hands."""
    random = np.random.default_rng(0)
    samples = random.normal(0.5, 0.1, size=(_FRAMES, SAMPLES_PER_FRAME, JOINTS, 3)).astype(np.float32)
    return assemble_snapshot(
        "synthetic",
        [
            SampledClip(
                ClipRecord(
                    clip_id=f"{number:05}", corpus="synthetic", gloss=f"gloss {number % _GLOSSES:04}",
                    split="val" if number % 5 == 0 else "train", signer=str(number % 100), fps=25, width=640,
                    height=480, frame_end=_FRAMES, source_sha256=f"{number:064x}", extractor="bench",
                ),
                f"{number:064x}",
                samples,
            )
            for number in range(clips)
        ],
    )  # fmt: skip


def loading(clips: int = CLIPS) -> LoadingTime:
    """Load a stored snapshot from a directory store: the row that has a bar."""
    with tempfile.TemporaryDirectory() as folder:
        store = DirectoryStore(Path(folder))
        made = synthetic_snapshot(clips)
        publish_snapshot(store, made)
        return _row("load a snapshot", lambda: load_snapshot(store, made.manifest.name, made.manifest.version), _TIMES)


def _row(what: str, load: Callable[[], Dataset], times: int) -> LoadingTime:
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        loaded = load()
        # The samples are mapped, and are read only here.
        np.max(loaded.samples[..., 0])
        seconds.append(time.perf_counter() - began)
    return LoadingTime(what, len(loaded.manifest.clips), len(loaded.frames), min(seconds), float(np.median(seconds)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--store", default="", help="default: SIGNET_STORE, or file:data/store")
    parser.add_argument("--corpus", help="also make a snapshot of this corpus in the store")
    arguments = parser.parse_args()
    rows = [loading()]
    if arguments.corpus:
        store = open_store_option(arguments.store)

        def load_or_create() -> Dataset:
            return load_or_create_snapshot(store, arguments.corpus, 0, 0)

        rows += [_row("snapshot of the corpus", load_or_create, 1), _row("the same again", load_or_create, _TIMES)]
    columns = [TableColumn(name) for name in ("", "clips", "frames", "best s", "median s")]
    cells = [[row.what, f"{row.clips:,}", f"{row.frames:,}", f"{row.best:.2f}", f"{row.median:.2f}"] for row in rows]
    print_table(open_console(min_width=120), columns, cells)
    if rows[0].best > MAX_SECONDS:
        raise SystemExit(f"loading {rows[0].clips:,} clips took {rows[0].best:.2f} s; the bar is {MAX_SECONDS:g} s")


if __name__ == "__main__":
    raise SystemExit(run_command(main))
