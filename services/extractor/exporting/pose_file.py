"""Writes `.pose` files of version 0.2, as pose-format's reader and MediaPipe's components have them.

Places are in pixels of the video's frame and depths in frame widths, as pose-format writes them. The confidence is the
visibility of a pose joint, 1 for a hand's joint, and 0 where a part was not found.
"""

import struct
from collections.abc import Mapping, Sequence

import numpy as np

from services.extractor.exporting.frame_times import even_rate, frame_numbers
from services.extractor.exporting.writer import folder_name
from services.extractor.importing.pose_format.folder import LABELS
from services.extractor.importing.pose_format.joints import (
    HAND_NAMES,
    LEFT_COMPONENT,
    POSE_COMPONENT,
    POSE_NAMES,
    RIGHT_COMPONENT,
)
from signet.errors import ClipError
from signet.landmarks import JOINTS, PARTS, POSE, ClipRecord, Landmarks
from signet.landmarks.tensor import MAX_FRAMES

_VERSION = 0.2
_FORMAT = "XYZC"
# MediaPipe's connections: joints of a limb, and its color.
_POSE_LIMBS = (
    (0, 1), (1, 2), (2, 3), (3, 7), (0, 4), (4, 5), (5, 6), (6, 8), (9, 10), (11, 12), (11, 13), (13, 15), (15, 17),
    (15, 19), (15, 21), (17, 19), (12, 14), (14, 16), (16, 18), (16, 20), (16, 22), (18, 20), (11, 23), (12, 24),
    (23, 24), (23, 25), (24, 26), (25, 27), (26, 28), (27, 29), (28, 30), (29, 31), (30, 32), (27, 31), (28, 32),
)  # fmt: skip
_HAND_LIMBS = (
    (0, 1), (1, 2), (2, 3), (3, 4), (0, 5), (5, 6), (6, 7), (7, 8), (5, 9), (9, 10), (10, 11), (11, 12), (9, 13),
    (13, 14), (14, 15), (15, 16), (13, 17), (0, 17), (17, 18), (18, 19), (19, 20),
)  # fmt: skip
_COMPONENTS = (
    (POSE_COMPONENT, POSE_NAMES, _POSE_LIMBS, (255, 0, 0)),
    (LEFT_COMPONENT, HAND_NAMES, _HAND_LIMBS, (0, 160, 0)),
    (RIGHT_COMPONENT, HAND_NAMES, _HAND_LIMBS, (0, 0, 255)),
)
# The smallest confidence of a joint that was found: 0 would mean that it was not. It is float16's smallest number.
_SMALLEST_CONFIDENCE = 2.0**-24


class PoseWriter:
    """Writes clips as `<gloss>/<clip id>.pose`, and the table clips.csv."""

    suffix = ".pose"
    table = LABELS
    columns: Sequence[str] = ("clip", "gloss", "split", "signer")

    def relative_path(self, record: ClipRecord) -> str:
        """Where the file of a clip is below the folder of the export."""
        return f"{folder_name(record.gloss)}/{record.clip_id}{self.suffix}"

    def row(self, record: ClipRecord) -> Mapping[str, object]:
        """The row of a clip in the table."""
        name = self.relative_path(record).removesuffix(self.suffix)
        return {"clip": name, "gloss": record.gloss, "split": record.split, "signer": record.signer}

    def further_files(self, rows: Sequence[Mapping[str, str]]) -> Mapping[str, bytes]:
        """This format has no further files."""
        return {}

    def encode(self, clip: Landmarks) -> bytes:
        """The bytes of a file. If frames are not equally far apart, empty frames fill the places between them.

        Raises:
            ClipError: the file would have too many frames.
        """
        width, height = clip.record.width, clip.record.height
        rate = even_rate(clip)
        numbers = np.arange(clip.frames) if rate else frame_numbers(clip)
        if numbers[-1] >= MAX_FRAMES:
            raise ClipError(
                "long",
                f"{clip.record.clip_id}: needs {numbers[-1] + 1} frames at {clip.record.fps:g} frames a second, and "
                f"{MAX_FRAMES} are allowed. Export it as parquet, which has a number for each frame.",
            )
        data = np.zeros((int(numbers[-1]) + 1, 1, JOINTS, 3), np.float32)
        confidence = np.zeros(data.shape[:3], np.float32)
        found = np.repeat(clip.presence.astype(bool), [part.stop - part.start for part in PARTS.values()], axis=1)
        joints = clip.landmarks.astype(np.float32) * np.array([height, height, height / width], np.float32)
        data[numbers, 0] = np.where(found[..., None], joints, 0)
        visibility = np.ones((clip.frames, JOINTS), np.float32)
        visibility[:, POSE] = np.nan_to_num(clip.visibility.astype(np.float32), nan=1.0)
        confidence[numbers, 0] = np.where(found, visibility.clip(_SMALLEST_CONFIDENCE, 1), 0)
        body = struct.pack("<fIH", rate or clip.record.fps, len(data), 1)
        return _header(width, height) + body + data.astype("<f4").tobytes() + confidence.astype("<f4").tobytes()


def _header(width: int, height: int) -> bytes:
    head = struct.pack("<fHHHH", _VERSION, width, height, 0, len(_COMPONENTS))
    for name, points, limbs, color in _COMPONENTS:
        head += _text(name) + _text(_FORMAT) + struct.pack("<HHH", len(points), len(limbs), 1)
        head += b"".join(_text(point) for point in points)
        head += b"".join(struct.pack("<HH", *limb) for limb in limbs) + struct.pack("<HHH", *color)
    return head


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<H", len(data)) + data
