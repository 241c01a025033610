"""Writes files of landmarks as other programs write them: .pose, parquet and pickles."""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from services.extractor.importing.pose_format.joints import HAND_NAMES, POSE_NAMES
from tests.services.extractor.archives import left_hand, right_hand

Floats = npt.NDArray[np.float32]

# Components of a whole .pose file of MediaPipe, without limbs: name, format, names of the points.
HOLISTIC = (
    ("POSE_LANDMARKS", "XYZC", POSE_NAMES),
    ("FACE_LANDMARKS", "XYZC", tuple(map(str, range(468)))),
    ("LEFT_HAND_LANDMARKS", "XYZC", HAND_NAMES),
    ("RIGHT_HAND_LANDMARKS", "XYZC", HAND_NAMES),
)
REDUCED_BODY = (
    "LEFT_SHOULDER", "RIGHT_SHOULDER", "LEFT_ELBOW", "RIGHT_ELBOW", "LEFT_WRIST", "RIGHT_WRIST", "LEFT_HIP",
    "RIGHT_HIP",
)  # fmt: skip


def sign(frames: int = 8, speed: float = 0.02, seed: int = 0) -> Floats:
    """A signer in the middle of a 4:3 picture who moves the right hand: float32 [T, 75, 3] in frame heights.

    Hands lie at the wrists of the pose, and the wrist of a hand has the depth 0.
    """
    noise = np.random.default_rng(seed).normal(0, 0.002, (frames, 75, 3)).astype(np.float32)
    pose = np.zeros((33, 3), np.float32)
    # x from the middle of the body and y, of the left side; the right side is its mirror image
    left = {1: (0.02, 0.25), 2: (0.04, 0.25), 3: (0.06, 0.25), 7: (0.08, 0.26), 9: (0.03, 0.33), 11: (0.15, 0.45),
            13: (0.2, 0.65), 15: (0.15, 0.8), 17: (0.15, 0.83), 19: (0.14, 0.84), 21: (0.13, 0.82), 23: (0.1, 0.9),
            25: (0.1, 1.2), 27: (0.1, 1.5), 29: (0.1, 1.55), 31: (0.1, 1.56)}  # fmt: skip
    right = {1: 4, 2: 5, 3: 6, 7: 8, 9: 10} | {joint: joint + 1 for joint in range(11, 33, 2)}
    pose[0, :2] = (0.0, 0.29)
    for joint, (x, y) in left.items():
        pose[joint, :2], pose[right[joint], :2] = (x, y), (-x, y)
    pose[:23, 2] = -0.1
    pose[:, 0] += 2 / 3
    clip = np.zeros((frames, 75, 3), np.float32)
    clip[:, :33] = pose
    clip[:, 33:54] = left_hand(2 / 3 + 0.15, 0.8, 0.05)
    clip[:, 54:] = right_hand(2 / 3 - 0.15, 0.8, 0.05)
    raised = np.arange(frames, dtype=np.float32)[:, None] * speed
    clip[:, 54:, 1] -= raised
    clip[:, 16, 1] -= raised[:, 0]
    clip += noise
    for wrist in (33, 54):
        clip[:, wrist : wrist + 21, 2] -= clip[:, wrist, None, 2]
    return clip


def pose_bytes(
    data: Floats,
    confidence: Floats,
    components: Sequence[tuple[str, str, Sequence[str]]] = HOLISTIC,
    *,
    version: float = 0.2,
    size: tuple[int, int] = (640, 480),
    fps: float = 25.0,
) -> bytes:
    """A .pose file of data [T, people, points, dimensions] and confidence [T, people, points]."""

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value.encode())) + value.encode()

    head = struct.pack("<fHHHH", version, *size, 0, len(components))
    for name, layout, points in components:
        head += text(name) + text(layout) + struct.pack("<HHH", len(points), 1, 1)
        head += b"".join(map(text, points)) + struct.pack("<HHHHH", 0, 0, 255, 0, 0)
    frames, people = data.shape[:2]
    if version < 0.15:
        head += struct.pack("<HHH", round(fps), frames % 65_536, people)
    else:
        head += struct.pack("<fIH", fps, frames, people)
    return head + data.astype("<f4").tobytes() + confidence.astype("<f4").tobytes()


def holistic_pose(joints: Floats, size: tuple[int, int] = (640, 480)) -> tuple[Floats, Floats]:
    """Data [T, 1, 543, 3] and confidence [T, 1, 543] as pose-format makes them: places in pixels, depth in widths."""
    width, height = size
    data = np.zeros((len(joints), 1, 543, 3), np.float32)
    confidence = np.zeros((len(joints), 1, 543), np.float32)
    for start, part in ((0, slice(0, 33)), (501, slice(33, 54)), (522, slice(54, 75))):
        own = joints[:, part]
        found = np.isfinite(own).all(axis=2)
        where = slice(start, start + own.shape[1])
        data[:, 0, where] = np.nan_to_num(own) * np.array([height, height, height / width], np.float32)
        confidence[:, 0, where] = found
    return data, confidence


def write_pose(path: Path, joints: Floats, **options: float) -> Path:
    """A whole .pose file of joints [T, 75, 3] in frame heights."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pose_bytes(*holistic_pose(joints), **options))  # type: ignore[arg-type]
    return path


def landmark_columns(joints: Floats, aspect: float, first_frame: int = 20) -> Mapping[str, list[object]]:
    """The columns of a parquet file of asl-signs. The face is 0.812 times as broad as it is long, a usual ratio."""
    rows: dict[str, list[object]] = {name: [] for name in ("frame", "row_id", "type", "landmark_index", "x", "y", "z")}
    face = np.full((468, 3), np.nan)
    for point, place in {234: (-0.0812, 0.0), 454: (0.0812, 0.0), 10: (0.0, -0.1), 152: (0.0, 0.1)}.items():
        face[point] = (2 / 3 + place[0], 0.3 + place[1], 0.0)
    for number, frame in enumerate(joints.astype(np.float64), first_frame):
        parts = {"face": face, "left_hand": frame[33:54], "pose": frame[:33], "right_hand": frame[54:]}
        for kind, points in parts.items():
            for index, (x, y, z) in enumerate(points):
                rows["frame"].append(number)
                rows["row_id"].append(f"{number}-{kind}-{index}")
                rows["type"].append(kind)
                rows["landmark_index"].append(index)
                for name, value in (("x", x / aspect), ("y", y), ("z", z / aspect)):
                    rows[name].append(None if np.isnan(value) else value)
    return rows


def openhands_arrays(joints: Floats, aspect: float) -> dict[str, npt.NDArray[np.float64]]:
    """The dictionary of a pickle of OpenHands: fractions of the frame, zeros where a part was not found."""
    scaled = joints.astype(np.float64) / np.array([aspect, 1, aspect])
    found = np.isfinite(scaled).all(axis=2)
    return {"keypoints": np.where(found[..., None], scaled, 0.0), "confidences": found.astype(np.float64)}
