"""Landmarks of all real clips that stock MediaPipe Holistic made: a reference that needs no extraction."""

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from signet.landmarks import LEFT_HAND, POSE, RIGHT_HAND, ClipRecord, Landmarks


def load_reference_landmarks(wlasl: Path) -> list[Landmarks]:
    """The 707 clips, in the order of their index; the test is skipped if they are not there.

    Args:
        wlasl: the folder of WLASL; its folder `holistic` has the landmarks.
    """
    folder = wlasl / "holistic"
    if not (folder / "index.csv").is_file():
        pytest.skip(f"{folder}: no reference landmarks here")
    with np.load(folder / "frames.npz") as stored:
        pose, left, right = stored["pose"][..., :3], stored["left_hand"], stored["right_hand"]
    with (folder / "index.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    clips = []
    for row in rows:
        where = slice(int(row["start"]), int(row["start"]) + int(row["frames"]))
        joints = np.concatenate([pose[where], left[where], right[where]], axis=1).astype(np.float32)
        width, height = int(row["width"]), int(row["height"])
        joints[..., [0, 2]] *= width / height
        clips.append(make_landmarks(row["video_id"], joints, float(row["fps"]), width, height))
    return clips


def make_landmarks(clip_id: str, joints: npt.NDArray[np.float32], fps: float, width: int, height: int) -> Landmarks:
    """The landmarks of joints [T, 75, 3] in frame heights; NaN where a part is absent."""
    frames = len(joints)
    found = [np.isfinite(joints[:, where]).all(axis=(1, 2)) for where in (POSE, LEFT_HAND, RIGHT_HAND)]
    return Landmarks(
        landmarks=joints.astype(np.float16),
        presence=np.stack(found, axis=1).astype(np.uint8),
        visibility=np.ones((frames, 33), np.float16),
        timestamps=(np.arange(frames) / fps).astype(np.float32),
        record=ClipRecord(clip_id=clip_id, fps=fps, width=width, height=height, frame_end=frames),
    )
