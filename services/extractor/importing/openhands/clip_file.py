"""Reads one clip of OpenHands: a pickle of a dictionary.

    keypoints    [T, 75, 3]: x, y, z of MediaPipe's pose (33), left hand (21) and right hand (21); 0 = not found
    confidences  [T, 75]: visibility of the pose's joints, 1 for a hand's; 0 = not found

x and z are in frame widths and y in frame heights, or x and y are in pixels. Some files also have vid_width and
vid_height.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from services.extractor.importing.body_estimate import complete_pose
from services.extractor.importing.openhands.safe_pickle import (
    MalformedPickle,
    PickledArray,
    UnsafePickle,
    read_pickle,
)
from services.extractor.importing.source import MAX_FPS, MAX_PIXELS, FrameSize
from services.extractor.importing.unlabelled.raw import RawLandmarks
from signet.errors import ClipError
from signet.landmarks import JOINTS, POSE, POSE_JOINTS
from signet.landmarks.tensor import HAND_JOINTS, MAX_FRAMES

# A clip of ten minutes at 60 frames a second has 86 MB.
_MOST_BYTES = 128 * 1024 * 1024
_FACE_JOINTS = 468
_HANDS = tuple(range(POSE_JOINTS, JOINTS))
# The joints of the landmark tensor that the points of a file are, by their number: all; with the face; and OpenHands'
# selection "mediapipe_holistic_top_body_59", whose pose ends at the elbows, and has the hips.
_LAYOUTS: Mapping[int, tuple[int, ...]] = {
    JOINTS: tuple(range(JOINTS)),
    JOINTS + _FACE_JOINTS: (*range(POSE_JOINTS), *([-1] * _FACE_JOINTS), *_HANDS),
    59: (*range(15), 23, 24, *_HANDS),
}
_MINIMAL = 27
# Values that a list of numbers may have, before it becomes an array.
_MOST_VALUES = MAX_FRAMES * JOINTS * 4

Floats = npt.NDArray[np.float32]


def read_clip_file(path: Path) -> RawLandmarks:
    """Read a clip.

    Raises:
        ClipError: the file is no clip of OpenHands, or holds something else than numbers.
    """
    try:
        size = path.stat().st_size
        if size > _MOST_BYTES:
            raise ClipError("large", f"{path}: has {size >> 20} MiB; a clip has at most {_MOST_BYTES >> 20}.")
        data = path.read_bytes()
    except OSError as error:
        raise ClipError("unreadable", f"{path}: cannot be read ({error.strerror or error}).") from error
    if not data:
        raise ClipError("empty", f"{path}: is empty (0 bytes). Its creation failed: make or copy it again.")
    content = _read_dictionary(path, data)
    try:
        return _convert(content, hashlib.sha256(data).hexdigest())
    except (ValueError, OverflowError) as error:
        raise ClipError("shape", f"{path}: {error}.") from error


def _read_dictionary(path: Path, data: bytes) -> dict[object, object]:
    try:
        content = read_pickle(data)
    except UnsafePickle as error:
        raise ClipError(
            "unsafe",
            f"{path}: its pickle holds {error}. Only numbers, texts, lists, dictionaries and numpy arrays are read. "
            "Nothing of the file was executed. If you trust it, load it in Python and save its arrays as .npy.",
        ) from error
    except MalformedPickle as error:
        raise ClipError("malformed", f"{path}: not a whole pickle ({error}). Copy it again.") from error
    if not isinstance(content, dict) or "keypoints" not in content:
        keys = ", ".join(sorted(str(key)[:40] for key in content)[:8]) if isinstance(content, dict) else ""
        found = f"a dictionary of {keys}" if keys else type(content).__name__
        raise ClipError(
            "shape", f"{path}: holds {found}. OpenHands writes a dictionary with keypoints and confidences."
        )
    return content


def _convert(content: Mapping[object, object], sha256: str) -> RawLandmarks:
    """The landmarks of a dictionary.

    Raises:
        ValueError: an entry is missing or has the wrong shape.
    """
    keypoints = _as_array(content["keypoints"], "keypoints")
    if keypoints.ndim != 3 or keypoints.shape[2] not in (2, 3, 4):
        raise ValueError(f"keypoints must be [frames, 75, 3], not {list(keypoints.shape)}")
    frames, points, width = keypoints.shape
    if points == _MINIMAL:
        raise ValueError(
            "keypoints are OpenHands' selection of 27 points, which has 10 of the 21 joints of a hand. Give the files "
            "from before this selection, which have 75 points"
        )
    if points not in _LAYOUTS:
        raise ValueError(f"keypoints have {points} points. Files with {', '.join(map(str, _LAYOUTS))} can be imported")
    if not 1 <= frames <= MAX_FRAMES:
        raise ValueError(f"has {frames} frames; 1 to {MAX_FRAMES} are allowed")
    if "confidences" in content:
        confidence = _as_array(content["confidences"], "confidences")
        if confidence.size != frames * points:
            raise ValueError(f"confidences must be [{frames}, {points}], not {list(confidence.shape)}")
        confidence = confidence.reshape(frames, points)
    else:
        confidence = keypoints[..., 3] if width == 4 else np.ones((frames, points), np.float32)
    joints = np.full((frames, JOINTS, 3), np.nan, np.float32)
    visibility = np.full((frames, JOINTS), np.nan, np.float32)
    layout = np.array(_LAYOUTS[points])
    used = layout >= 0
    joints[:, layout[used], :] = 0.0
    joints[:, layout[used], : min(width, 3)] = keypoints[:, used, :3]
    visibility[:, layout[used]] = confidence[:, used].clip(0, 1)
    # OpenHands writes zeros where a part was not found. A joint of a pose that was found may have the confidence 0.
    joints[(joints[..., :2] == 0).all(axis=2)] = np.nan
    hands = joints[:, POSE_JOINTS:].reshape(frames, 2, HAND_JOINTS, 3)
    hands[~(visibility[:, POSE_JOINTS:].reshape(frames, 2, HAND_JOINTS) > 0).all(axis=2)] = np.nan
    pose, visibility = joints[:, POSE], visibility[:, POSE]
    if points == 59:
        pose, visibility = complete_pose(pose, visibility, hands)
    return RawLandmarks(
        pose=pose,
        visibility=visibility,
        hands=hands,
        numbers=np.arange(frames, dtype=np.int64),
        source_sha256=sha256,
        fps=_positive(content.get("fps"), MAX_FPS),
        size=_frame_size(content),
    )


def _as_array(value: object, name: str) -> Floats:
    """An array, or a list of lists of numbers.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(value, PickledArray) and value.values is not None:
        return _as_floats(value.values)
    if isinstance(value, list | tuple):
        count, inner = 1, value
        for _ in range(4):
            if not isinstance(inner, list | tuple) or not inner:
                break
            count, inner = count * len(inner), inner[0]
        if count > _MOST_VALUES:
            raise ValueError(f"{name} has more than {_MOST_VALUES} values")
        rows: list[Floats] = []
        total = 0
        for item in value:
            rows.append(_as_row(item, name, count // max(1, len(value))))
            total += rows[-1].size
            # A pickle may hold one array thousands of times.
            if total > _MOST_VALUES:
                raise ValueError(f"{name} has more than {_MOST_VALUES} values")
        if len({row.shape for row in rows}) == 1:
            return np.stack(rows)
    raise ValueError(f"{name} must be an array or a list of numbers, and its frames must have the same length")


def _as_row(value: object, name: str, most: int) -> Floats:
    """One frame of a list: an array, or a list of points.

    Raises:
        ValueError: it is something else, or larger than the first frame.
    """
    if isinstance(value, PickledArray) and value.values is not None:
        return _as_floats(value.values)
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name} must hold a list of points for each frame")  # noqa: TRY004
    numbers: list[float] = []
    width = 0
    for point in value:
        coordinates = point.values.tolist() if isinstance(point, PickledArray) and point.values is not None else point
        flat = coordinates if isinstance(coordinates, list | tuple) else [coordinates]
        if not all(isinstance(number, int | float) for number in flat) or (width and len(flat) != width):
            raise ValueError(f"{name} must hold numbers for each point, equally many for each")
        width = len(flat)
        numbers += flat
        if len(numbers) > max(most, 1):
            raise ValueError(f"{name} has frames of different lengths")
    row = _as_floats(np.array(numbers, np.float64))
    return row.reshape(len(value), width) if width > 1 else row


def _as_floats(values: npt.NDArray[Any]) -> Floats:
    """The values as float32. A number that is too large becomes infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(values, np.float32)


def _frame_size(content: Mapping[object, object]) -> FrameSize | None:
    width, height = (_positive(content.get(f"vid_{name}"), MAX_PIXELS) for name in ("width", "height"))
    return FrameSize(round(width), round(height)) if width and height and min(width, height) >= 1 else None


def _positive(value: object, most: float) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 < value <= most else None
