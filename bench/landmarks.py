"""How near our landmarks are to stock MediaPipe Holistic's: `python -m bench.landmarks [--wlasl DIR] [--clips N]`.

Compares freshly extracted clips with the reference in <DIR>/holistic (x, y normalised by MediaPipe; NaN where a part
was not found). Bars: hand joints at most 0.02 frame heights away in the median, at least 95 % of its hand frames found.
"""

import argparse
import csv
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
from services.extractor.sources.wlasl import Instance, Wlasl, read_wlasl
from signet.errors import ClipError
from signet.landmarks import LEFT_HAND, RIGHT_HAND, Landmarks, load

MAX_MEDIAN_DISTANCE = 0.02
MIN_FOUND_SHARE = 0.95
T = TypeVar("T")

HANDS = {"left": (LEFT_HAND, 1), "right": (RIGHT_HAND, 2)}


@dataclass(frozen=True)
class Reference:
    """The reference's landmarks of all clips, and where each clip's frames are."""

    hands: dict[str, npt.NDArray[np.float16]]
    frames: dict[str, slice]

    def hand(self, clip_id: str, side: str) -> npt.NDArray[np.float32]:
        """float32 [T, 21, 3], normalised by frame width and height; NaN where not found."""
        return self.hands[side][self.frames[clip_id]].astype(np.float32)


@dataclass(frozen=True)
class Agreement:
    """One hand of one clip against the reference.

    Attributes:
        distances: of each joint in each frame where both found the hand, in frame heights.
        reference_frames: in which the reference found it.
        found_frames: of those, in which we found it.
        extra_frames: in which only we found it.
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
    with (directory / "index.csv").open(newline="") as index:
        rows = {row["video_id"]: (int(row["start"]), int(row["frames"])) for row in csv.DictReader(index)}
    return Reference(hands, {clip_id: slice(start, start + count) for clip_id, (start, count) in rows.items()})


def compare(clip: Landmarks, reference: Reference) -> dict[str, Agreement]:
    """Both hands of one clip against the reference."""
    scale = np.asarray([clip.record.width / clip.record.height, 1.0], np.float32)
    result = {}
    for side, (where, part) in HANDS.items():
        theirs = reference.hand(clip.record.clip_id, side)[..., :2] * scale
        if len(theirs) != clip.frames:
            raise ValueError(f"{clip.record.clip_id}: {clip.frames} frames, the reference has {len(theirs)}")
        ours = clip.landmarks[:, where, :2].astype(np.float32)
        we, they = clip.presence[:, part].astype(bool), np.isfinite(theirs).all(axis=(1, 2))
        both = we & they
        distances = np.linalg.norm(ours[both] - theirs[both], axis=-1).ravel()
        result[side] = Agreement(distances, int(they.sum()), int(both.sum()), int((we & ~they).sum()))
    return result


def extract(corpus: Wlasl, instances: list[Instance], workers: int) -> Iterator[Landmarks]:
    """Extract these clips; a broken one is an error here."""
    with WorkerPool(workers) as pool:
        checked = pool.each(worker.verify, ((clip, (corpus.path(clip), clip)) for clip in instances))
        jobs = [(clip, (corpus.path(clip), _usable(found), Labels(clip.video_id))) for clip, found in checked]
        for _, extracted in pool.each(worker.extract_file, jobs):
            yield load(_usable(extracted).data)


def _usable(outcome: T | ClipError) -> T:
    if isinstance(outcome, ClipError):
        raise outcome
    return outcome


def main() -> int:
    """Print the table; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wlasl", type=Path, default=Path(os.environ.get("WLASL", "../shared/wlasl")))
    parser.add_argument("--clips", type=int, default=30, help="how many, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0, help="0: one per core")
    arguments = parser.parse_args()

    reference = read_reference(arguments.wlasl / "holistic")
    corpus = read_wlasl(arguments.wlasl)
    there = sorted(
        (clip for clip in corpus.instances if corpus.has(clip) and clip.video_id in reference.frames),
        key=lambda clip: clip.video_id,
    )
    chosen = random.Random(arguments.seed).sample(there, min(arguments.clips, len(there)))  # noqa: S311
    results = [compare(clip, reference) for clip in extract(corpus, chosen, arguments.workers)]

    print(f"{'hand':<6}{'clips':>6}{'ref. frames':>12}{'found':>8}{'extra':>7}{'median':>9}{'90 %':>9}{'99 %':>9}")
    passed = True
    for side in (*HANDS, "both"):
        parts = [result[one] for result in results for one in ((side,) if side in HANDS else HANDS)]
        distances = np.concatenate([part.distances for part in parts])
        frames = sum(part.reference_frames for part in parts)
        found = sum(part.found_frames for part in parts) / max(1, frames)
        extra = sum(part.extra_frames for part in parts)
        median, most, nearly_all = np.percentile(distances, [50, 90, 99])
        print(
            f"{side:<6}{len(results):>6}{frames:>12}{found:>8.1%}{extra:>7}{median:>9.5f}{most:>9.5f}{nearly_all:>9.5f}"
        )
        passed &= bool(median <= MAX_MEDIAN_DISTANCE and found >= MIN_FOUND_SHARE)
    print(json.dumps({"clips": len(results), "seed": arguments.seed, "passed": passed}))
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
