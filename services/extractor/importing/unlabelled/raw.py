"""Landmarks of one recording as a file has them, and their conversion to frame heights."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from services.extractor.importing.source import FrameSize
from signet.errors import ClipError
from signet.landmarks import JOINTS, LEFT_HAND, POSE, RIGHT_HAND

Points = npt.NDArray[np.float32]

# Fractions of a frame are 0 to 1. Legs and hands outside the frame are estimated, up to a few frames away.
_FARTHEST_FRACTION = 8.0
# The middle of a signer's body or hands lies inside the frame, or just outside it.
_MIDDLE_RANGE = (-0.25, 1.25)
# Sizes of videos whose files give pixels but no size, smallest first.
_COMMON_SIZES = ((320, 240), (640, 360), (640, 480), (854, 480), (1280, 720), (1920, 1080), (3840, 2160))
_NOSE, _SHOULDERS = 0, (11, 12)
# MediaPipe's pose joints in mirrored order: each left joint and its right counterpart change places.
_MIRRORED_POSE = np.array(
    [0, 4, 5, 6, 1, 2, 3, 8, 7, 10, 9, *(joint + 1 if joint % 2 else joint - 1 for joint in range(11, 33))]
)


@dataclass(frozen=True, eq=False)
class RawLandmarks:
    """The landmarks of one recording in the units of its file.

    Attributes:
        pose: float32 [T, 33, 3]; NaN where the pose is absent. x and z are fractions of the frame's width and y of its
            height, or all are pixels.
        visibility: float32 [T, 33]; NaN where it is unknown.
        hands: float32 [T, 2, 21, 3], the left and the right hand by the names of the file; NaN where a hand is absent.
        times: float64 [T] in seconds, increasing; None if the file has no times.
        numbers: int64 [T], increasing numbers of the frames in the video.
        source_sha256: hash of the recording's files.
        faults: what is wrong with single frames, for people.
        fps: frames per second; None if the file does not say it.
        size: frame size; None if the file does not say it.
        has_pose: whether files of this layout hold a pose.
    """

    pose: Points
    visibility: Points
    hands: Points
    numbers: npt.NDArray[np.int64]
    source_sha256: str
    times: npt.NDArray[np.float64] | None = None
    faults: tuple[str, ...] = ()
    fps: float | None = None
    size: FrameSize | None = None
    has_pose: bool = True

    @property
    def frames(self) -> int:
        """T, the number of frames."""
        return len(self.numbers)


@dataclass(frozen=True, eq=False)
class Recording:
    """One recording of a corpus whose files name at most the sign.

    Attributes:
        name: its path relative to the corpus, for people and for the column `clip` of a file of splits.
        clip_id: its name in the store.
        gloss: the sign.
        read: reads its landmarks. It raises `ClipError` if they are unusable.
        split: train, val, test, or "" if it is unknown.
        signer: the signer, or "" if it is unknown.
    """

    name: str
    clip_id: str
    gloss: str
    read: Callable[[], RawLandmarks]
    split: str = ""
    signer: str = ""


def uses_pixels(raw: RawLandmarks, name: str) -> bool:
    """Whether coordinates are pixels; otherwise they are fractions of the frame.

    Raises:
        ClipError: they are neither, for example because they are relative to the wrist; or no joint was found.
    """
    places = np.concatenate([raw.pose[:, :23, :2].reshape(-1, 2), raw.hands[..., :2].reshape(-1, 2)])
    places = places[np.isfinite(places).all(axis=1)]
    if not len(places):
        raise ClipError("empty", f"{name}: no frame has a pose or a hand.")
    wrists = raw.hands[:, :, 0]
    wrists = wrists[np.isfinite(wrists).all(axis=-1)]
    middle = np.median(_middles(raw), axis=0)
    low, high = _MIDDLE_RANGE
    if (len(wrists) and not wrists.any()) or (middle < low).any() or (places[:, 1] < low).mean() > 1 / 2:
        raise ClipError(
            "range",
            f"{name}: coordinates are relative to the wrist or to the body, so the place in the picture is lost. "
            "Import the landmarks as MediaPipe returned them, before they were normalised.",
        )
    if (middle <= high).all() and (np.abs(places) <= _FARTHEST_FRACTION).all():
        return False
    if np.median(np.abs(places)) > _FARTHEST_FRACTION:
        return True
    raise ClipError(
        "range",
        f"{name}: has coordinates up to {np.abs(places).max():.4g}, which are neither fractions of the picture (0 to "
        "1) nor pixels. Import the landmarks as MediaPipe returned them.",
    )


def _middles(raw: RawLandmarks) -> Points:
    """The middle of the shoulders in each frame with a pose, or else of each hand: [N, 2]."""
    shoulders = raw.pose[:, _SHOULDERS, :2].mean(axis=1)
    shoulders = shoulders[np.isfinite(shoulders).all(axis=1)]
    if len(shoulders):
        return np.asarray(shoulders)
    hands = raw.hands[..., :2].mean(axis=2).reshape(-1, 2)
    return np.asarray(hands[np.isfinite(hands).all(axis=1)])


def largest_place(raw: RawLandmarks) -> tuple[float, float]:
    """The largest x and y of nose, shoulders and hands, which are mostly inside the frame: the 99 % quantile."""
    body = raw.pose[:, (_NOSE, *_SHOULDERS), :2].reshape(-1, 2)
    places = np.concatenate([body, raw.hands[..., :2].reshape(-1, 2)])
    places = places[np.isfinite(places).all(axis=1)]
    x, y = np.quantile(places, 0.99, axis=0)
    return float(x), float(y)


def guess_size(x: float, y: float) -> FrameSize:
    """The smallest common size of videos that contains a place in pixels, or its mirror image with height and width."""
    for width, height in _COMMON_SIZES:
        if x <= width and y <= height:
            return FrameSize(width, height)
    for width, height in _COMMON_SIZES:
        if x <= height and y <= width:
            return FrameSize(height, width)
    return FrameSize(max(1, round(x)), max(1, round(y)))


def to_fractions(raw: RawLandmarks, size: FrameSize) -> RawLandmarks:
    """Convert pixels to fractions. z is converted only if its values are too large for fractions."""
    scale = np.array([size.width, size.height, size.width], np.float32)

    def convert(points: Points) -> Points:
        finite = points[..., 2][np.isfinite(points[..., 2])]
        pixels = len(finite) and np.abs(finite).max() > _FARTHEST_FRACTION
        return np.asarray(points / (scale if pixels else scale * [1, 1, 1 / size.width]), np.float32)

    return replace(raw, pose=convert(raw.pose), hands=convert(raw.hands))


def flip(raw: RawLandmarks) -> RawLandmarks:
    """Mirror the picture, without the names of the sides. Coordinates are fractions."""

    def flipped(points: Points) -> Points:
        return np.concatenate([1 - points[..., :1], points[..., 1:]], axis=-1)

    return replace(raw, pose=flipped(raw.pose), hands=flipped(raw.hands))


def swap_hands(raw: RawLandmarks) -> RawLandmarks:
    """Exchange the left and the right hand."""
    return replace(raw, hands=np.ascontiguousarray(raw.hands[:, ::-1]))


def mirror(raw: RawLandmarks) -> RawLandmarks:
    """The landmarks of the mirrored picture: the left side of the signer becomes the right side."""
    turned = swap_hands(flip(raw))
    return replace(turned, pose=turned.pose[:, _MIRRORED_POSE], visibility=turned.visibility[:, _MIRRORED_POSE])


def to_joints(raw: RawLandmarks, aspect: float) -> Points:
    """Joints in frame heights: float32 [T, 75, 3]. Coordinates are fractions."""
    joints = np.full((raw.frames, JOINTS, 3), np.nan, np.float32)
    scale = np.array([aspect, 1, aspect], np.float32)
    joints[:, POSE] = raw.pose * scale
    joints[:, LEFT_HAND] = raw.hands[:, 0] * scale
    joints[:, RIGHT_HAND] = raw.hands[:, 1] * scale
    return joints


def to_timestamps(
    times: npt.NDArray[np.float64] | None, numbers: npt.NDArray[np.int64], fps: float
) -> npt.NDArray[np.float32]:
    """Seconds since the first frame: the times of the file, or else the numbers of the frames at this rate."""
    seconds = times if times is not None else numbers / fps
    return np.asarray(seconds - seconds[0], np.float32)
