"""Writes small landmark archives in the published formats."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

Joints = npt.NDArray[np.float32]

NO_HAND = -1.0


def right_hand(x: float, y: float = 0.6, size: float = 0.1) -> Joints:
    """A signer's right hand, palm to the camera and fingers up, half closed: float32 [21, 3], x, y, z of one unit.

    The thumb then points to the middle of the body, which is to the right in the picture, and fingers bend towards the
    camera, which is to lower z.
    """
    hand = np.zeros((21, 3), np.float32)
    hand[1:5, 0] = (0.3, 0.5, 0.65, 0.7)
    hand[1:5, 1] = (-0.2, -0.4, -0.6, -0.7)
    hand[1:5, 2] = (-0.05, -0.1, -0.2, -0.3)
    for finger, across in enumerate((0.25, 0.05, -0.12, -0.28)):
        joints = slice(5 + 4 * finger, 9 + 4 * finger)
        hand[joints, 0] = across
        hand[joints, 1] = (-0.9, -1.3, -1.4, -1.35)
        hand[joints, 2] = (0.0, -0.15, -0.35, -0.5)
    hand *= size
    hand += np.array([x, y, 0.0], np.float32)
    return hand


def left_hand(x: float, y: float = 0.6, size: float = 0.1) -> Joints:
    """A signer's left hand: the mirror image of the right one."""
    return right_hand(0.0, y, size) * np.array([-1.0, 1.0, 1.0], np.float32) + np.array([x, 0.0, 0.0], np.float32)


def write_archive(
    folder: Path, arrays: Mapping[str, npt.NDArray[np.generic]], rows: Sequence[Sequence[object]]
) -> Path:
    """An archive of these arrays, whose index has these rows, the header first."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "frames.npz", **arrays)
    (folder / "index.csv").write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    return folder


HEADER = ("video_id", "start", "frames")


def hands_archive(folder: Path, clips: Mapping[str, int]) -> Path:
    """An archive of hands in detection order: of each clip a right hand that is there in each frame.

    It is first alone, then joined by a left one, and the slots are exchanged from the middle of a clip on. The frames
    are 720x400 pixels, so x and z are in units of 1.8 frame heights.
    """
    frames = np.full((sum(clips.values()), 2, 21, 3), NO_HAND, np.float16)
    rows: list[Sequence[object]] = [HEADER]
    start = 0
    for number, (clip_id, count) in enumerate(clips.items()):
        for index in range(count):
            hands = [right_hand(0.6 + 0.01 * index, 0.5 + 0.01 * number)]
            if 2 * index >= count:
                hands = [left_hand(1.2 - 0.01 * index, 0.5 + 0.01 * number), *hands]
            for slot, hand in enumerate(hands):
                frames[start + index, slot] = hand / np.array([1.8, 1.0, 1.8])
        rows.append((clip_id, start, count))
        start += count
    return write_archive(folder, {"frames": frames}, rows)


def write_metadata(folder: Path, clips: Mapping[str, str], source: str = "aslsearch") -> Path:
    """WLASL_v0.3.json of these clips, each of which has its gloss."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = [
        {
            "gloss": gloss,
            "instances": [
                {
                    "video_id": clip_id, "split": "train", "signer_id": 7, "frame_start": 1, "frame_end": -1,
                    "fps": 25, "source": source, "bbox": [180, 50, 540, 400],
                }
                for clip_id, its in clips.items()
                if its == gloss
            ],
        }
        for gloss in dict.fromkeys(clips.values())
    ]  # fmt: skip
    (folder / "WLASL_v0.3.json").write_text(json.dumps(entries))
    return folder
