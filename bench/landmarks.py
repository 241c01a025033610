"""The distance of our landmarks from those of stock MediaPipe Holistic.

    python -m bench.landmarks [--wlasl DIR] [--clips N]

This extracts clips with the quality `full` and compares them with the reference in <DIR>/holistic (x, y normalised by
MediaPipe; NaN where a part was not found). Bars: the median distance of hand joints is at most 0.02 frame heights, and
at least 95 % of the reference's hand frames are found.
"""

import argparse
import json
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from services.extractor.jobs import worker
from services.extractor.jobs.worker import Labels
from services.extractor.jobs.workers import WorkerPool
from services.extractor.sources.corpus import VideoCorpus
from services.extractor.sources.instances import Instance
from services.extractor.sources.wlasl import read_wlasl
from services.extractor.tracking.trackers import TrackingQuality
from signet.errors import ClipError
from signet.landmarks import LEFT_HAND, RIGHT_HAND, Landmarks, load
from signet.terminal.command import run_command
from signet.terminal.output import open_console, print_line
from signet.text_files import parse_integer, parse_table

MAX_MEDIAN_DISTANCE = 0.02
MIN_FOUND_SHARE = 0.95
T = TypeVar("T")

HANDS = {"left": (LEFT_HAND, 1), "right": (RIGHT_HAND, 2)}


@dataclass(frozen=True)
class Reference:
    """The landmarks of all clips in the reference, and the frames of each clip."""

    hands: dict[str, npt.NDArray[np.float16]]
    frames: dict[str, slice]

    def hand(self, clip_id: str, side: str) -> npt.NDArray[np.float32]:
        """float32 [T, 21, 3], normalised by frame width and height; NaN where not found."""
        return self.hands[side][self.frames[clip_id]].astype(np.float32)


@dataclass(frozen=True)
class Agreement:
    """A hand of a clip, compared with the reference.

    Attributes:
        distances: of each joint in each frame in which both found the hand, in frame heights.
        reference_frames: the number of frames in which the reference found the hand.
        found_frames: the number of these frames in which we found it too.
        extra_frames: the number of frames in which only we found it.
    """

    distances: npt.NDArray[np.float32]
    reference_frames: int
    found_frames: int
    extra_frames: int


def read_reference(directory: Path) -> Reference:
    """Read frames.npz and index.csv."""
    with np.load(directory / "frames.npz") as arrays:
        names = {side: next(name for name in arrays.files if side in name) for side in HANDS}
        hands = {side: arrays[name] for side, name in names.items()}
    index = directory / "index.csv"
    table = parse_table(index.read_bytes(), str(index), ("video_id", "start", "frames"))
    rows = {
        row.cells["video_id"]: (parse_integer(row.cells["start"]), parse_integer(row.cells["frames"])) for row in table
    }
    return Reference(hands, {clip_id: slice(start, start + count) for clip_id, (start, count) in rows.items()})


def compare(clip: Landmarks, reference: Reference) -> dict[str, Agreement]:
    """Compare both hands of a clip with the reference."""
    scale = np.asarray([clip.record.width / clip.record.height, 1.0], np.float32)
    result = {}
    for side, (where, part) in HANDS.items():
        reference_hand = reference.hand(clip.record.clip_id, side)[..., :2] * scale
        if len(reference_hand) != clip.frames:
            raise ValueError(f"{clip.record.clip_id}: {clip.frames} frames, the reference has {len(reference_hand)}")
        ours = clip.landmarks[:, where, :2].astype(np.float32)
        present, expected = clip.presence[:, part].astype(bool), np.isfinite(reference_hand).all(axis=(1, 2))
        both = present & expected
        distances = np.linalg.norm(ours[both] - reference_hand[both], axis=-1).ravel()
        result[side] = Agreement(distances, int(expected.sum()), int(both.sum()), int((present & ~expected).sum()))
    return result


def extract(corpus: VideoCorpus, instances: list[Instance], workers: int) -> Iterator[Landmarks]:
    """Extract these clips. A broken clip is an error."""
    with WorkerPool(workers) as pool:
        checked = pool.each(worker.verify, ((clip, (corpus.path(clip), clip)) for clip in instances))
        jobs = [
            (clip, (corpus.path(clip), _usable(video), Labels(clip.clip_id), TrackingQuality.FULL))
            for clip, video in checked
        ]
        for _, extracted in pool.each(worker.extract_file, jobs):
            yield load(_usable(extracted).data)


def _usable(outcome: T | ClipError) -> T:
    if isinstance(outcome, ClipError):
        raise outcome
    return outcome


def main() -> int:
    """Print the table, and return 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wlasl", type=Path, default=Path(os.environ.get("WLASL", "../shared/wlasl")))
    parser.add_argument("--clips", type=int, default=30, help="number of clips, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0, help="0: one per core")
    arguments = parser.parse_args()

    reference = read_reference(arguments.wlasl / "holistic")
    corpus = read_wlasl(arguments.wlasl)
    available = sorted(
        (clip for clip in corpus.instances if corpus.has(clip) and clip.clip_id in reference.frames),
        key=lambda clip: clip.clip_id,
    )
    chosen = random.Random(arguments.seed).sample(available, min(arguments.clips, len(available)))  # noqa: S311
    results = [compare(clip, reference) for clip in extract(corpus, chosen, arguments.workers)]

    console = open_console()
    print_line(
        console,
        f"{'hand':<6}{'clips':>6}{'ref. frames':>12}{'found':>8}{'extra':>7}{'median':>9}{'90 %':>9}{'99 %':>9}",
    )
    passed = True
    for side in (*HANDS, "both"):
        hands = (side,) if side in HANDS else HANDS
        parts = [result[hand] for result in results for hand in hands]
        distances = np.concatenate([part.distances for part in parts])
        frames = sum(part.reference_frames for part in parts)
        found_share = sum(part.found_frames for part in parts) / max(1, frames)
        extra = sum(part.extra_frames for part in parts)
        median, most, nearly_all = np.percentile(distances, [50, 90, 99])
        print_line(
            console,
            f"{side:<6}{len(results):>6}{frames:>12}{found_share:>8.1%}{extra:>7}{median:>9.5f}{most:>9.5f}{nearly_all:>9.5f}",
        )
        passed &= bool(median <= MAX_MEDIAN_DISTANCE and found_share >= MIN_FOUND_SHARE)
    print_line(console, json.dumps({"clips": len(results), "seed": arguments.seed, "passed": passed}))
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(run_command(main))
