"""Measures the quality of a clip from its landmarks and from the times of the frames of its video.

All formulas are per time, not per frame: a clip that is tracked ten times a second gets the numbers of the same clip
that is tracked thirty times a second.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from signet.landmarks import LEFT_HAND, RIGHT_HAND, ClipQuality, Landmarks

Points = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

# MediaPipe's pose joints: the face, the shoulders, the wrists (left before right).
_FACE = list(range(11))
_SHOULDERS, _WRISTS = [11, 12], [15, 16]
# The palm, whose joints move little against each other: the wrist, and the knuckles of four fingers.
_PALM = (0, 5, 9, 13, 17)
_MIDDLE_KNUCKLE = 9
# Nothing is said about a part that was found in fewer frames.
_MIN_FRAMES = 3

# Jitter is measured over five times that are so many seconds apart: the step of a model's frames. A place between two
# frames is interpolated if they are not farther apart than the second number.
_STEP_SECONDS = 0.1
_MAX_GAP_SECONDS = 0.15
_TIME_TOLERANCE = 1e-4

# A palm that is turned away from the camera looks shorter. This quantile over the frames is a palm that faces it.
_FACING = 0.75

# A clip whose frames are this much farther apart than those of its video shows nothing about the frames of the video.
_THINNED = 1.5

# The weights of the evidence for a leading hand are those of the trainer (`left_dominance` in phonology.py).
_PRESENCE_WEIGHT, _MOVEMENT_WEIGHT, _HEIGHT_WEIGHT = 1.0, 0.5, 0.5

# Decimals of the stored numbers.
_DECIMALS = 4


def add_quality(
    clip: Landmarks, video_times: Sequence[float] | None = None, several_people: bool | None = None
) -> Landmarks:
    """The clip with its quality in its record. The arguments are those of `measure_quality`."""
    quality = measure_quality(clip, video_times, several_people)
    return replace(clip, record=clip.record.model_copy(update={"quality": quality}))


def measure_quality(
    clip: Landmarks, video_times: Sequence[float] | None = None, several_people: bool | None = None
) -> ClipQuality:
    """Measure the quality of a clip.

    Args:
        clip: the landmarks.
        video_times: the display time of each frame of the video that belongs to the clip, in seconds, ascending. By
            default these are the times of the clip, if it has about as many frames a second as its record says.
        several_people: whether more than one person is in the picture; None if it is not known.
    """
    times = clip.timestamps.astype(np.float64)
    points = clip.landmarks[..., :2].astype(np.float64)
    pose, left, right = clip.presence.astype(bool).T
    outside = _outside(points, clip.record.width / clip.record.height)
    signing = pose & _between_first_and_last(left | right)
    dominance = _left_dominance(points, pose, left, right)
    leading = _WRISTS[0] if dominance is not None and dominance > 0 else _WRISTS[1]
    palms = [_palm_lengths(points[:, hand]) for hand in (LEFT_HAND, RIGHT_HAND)]
    palm = _quantile(np.concatenate(palms), _FACING)
    numbers = {
        "pose": pose.mean(),
        "left_hand": left.mean(),
        "right_hand": right.mean(),
        "any_hand": (left | right).mean(),
        "hand_jitter": _largest(_jitter(times, points[:, hand][:, _PALM]) for hand in (LEFT_HAND, RIGHT_HAND)),
        "shoulder_jitter": _jitter(times, points[:, _SHOULDERS]),
        "hands_outside": _share(outside[:, _WRISTS].all(axis=1), signing),
        "signing_hand_outside": _share(outside[:, leading], signing),
        "head_outside": _share(outside[:, _FACE].any(axis=1), pose),
        "palm_pixels": None if palm is None else palm * clip.record.height,
        "shoulder_width": _quantile(_distances(points, *_SHOULDERS)[pose], 0.5),
        "left_dominance": dominance,
        **_frame_losses(_times_of_video(clip, times) if video_times is None else np.asarray(video_times, float)),
    }
    rounded = {name: None if number is None else round(float(number), _DECIMALS) for name, number in numbers.items()}
    return ClipQuality.model_validate({**rounded, "several_people": several_people})


def _jitter(times: Points, joints: Points) -> float | None:
    """How far joints tremble, in frame heights: joints [T, J, 2], NaN where the part is absent.

    With the step s = 0.1 s, the fourth difference of a joint at the time t is

        |x(t − 2s) − 4 x(t − s) + 6 x(t) − 4 x(t + s) + x(t + 2s)| / 8

    The jitter is its median over the joints, then over the frames. It is 1.2 σ for joints that stand still and have
    independent errors of the standard deviation σ. Movement counts little: with the amplitude A and the frequency f, it
    adds A · (2 sin(π f s))⁴ / 8 at most, which is 0.02 A at 1 Hz and 0.24 A at 2 Hz. None if there are fewer than three
    times with five such places.
    """
    found = np.isfinite(joints).all(axis=(1, 2))
    at, places = times[found], joints[found]
    if len(at) < _MIN_FRAMES:
        return None
    before2, before, after, after2 = (_interpolate(at, places, at + step * _STEP_SECONDS) for step in (-2, -1, 1, 2))
    differences = np.linalg.norm(before2 - 4 * before + 6 * places - 4 * after + after2, axis=-1) / 8
    differences = differences[np.isfinite(differences).all(axis=1)]
    return float(np.median(np.median(differences, axis=1))) if len(differences) >= _MIN_FRAMES else None


def _interpolate(times: Points, joints: Points, at: Points) -> Points:
    """Places of joints at other times, linearly; NaN before the first frame, after the last one, and in gaps."""
    right = np.clip(np.searchsorted(times, at - _TIME_TOLERANCE), 1, len(times) - 1)
    left = right - 1
    step = times[right] - times[left]
    weight = np.clip((at - times[left]) / step, 0, 1)[:, None, None]
    known = (at >= times[0] - _TIME_TOLERANCE) & (at <= times[-1] + _TIME_TOLERANCE) & (step <= _MAX_GAP_SECONDS)
    return np.where(known[:, None, None], (1 - weight) * joints[left] + weight * joints[right], np.nan)


def _outside(points: Points, aspect: float) -> Mask:
    """Which joints are outside the picture: bool [T, 75]; False where a joint is absent."""
    x, y = points[..., 0], points[..., 1]
    return np.asarray((x < 0) | (x > aspect) | (y < 0) | (y > 1))


def _between_first_and_last(present: Mask) -> Mask:
    """The frames from the first to the last one in which a hand was found: the sign, without rest before and after."""
    frames = np.flatnonzero(present)
    between = np.zeros(len(present), bool)
    if len(frames):
        between[frames[0] : frames[-1] + 1] = True
    return between


def _left_dominance(points: Points, pose: Mask, left: Mask, right: Mask) -> float | None:
    """How much the left hand leads, between -2 and 2; None if no pose was found.

    The weighted sum of three differences, left minus right: the share of the frames in which the hand was found, the
    length of the path of the wrist (as a share of both paths), and the height of the wrist above the other one (in
    shoulder widths, at most 1).
    """
    if pose.sum() < _MIN_FRAMES:
        return None
    shoulders = points[pose][:, _SHOULDERS]
    width = max(float(np.median(np.linalg.norm(shoulders[:, 0] - shoulders[:, 1], axis=-1))), 1e-3)
    wrists = (points[pose][:, _WRISTS] - shoulders.mean(axis=1, keepdims=True)) / width
    paths = np.linalg.norm(np.diff(wrists, axis=0), axis=-1).sum(axis=0)
    above = wrists[:, 1, 1].mean() - wrists[:, 0, 1].mean()
    return float(
        _PRESENCE_WEIGHT * (left.mean() - right.mean())
        + _MOVEMENT_WEIGHT * (paths[0] - paths[1]) / max(paths.sum(), 1e-6)
        + _HEIGHT_WEIGHT * np.clip(above, -1, 1)
    )


def _times_of_video(clip: Landmarks, times: Points) -> Points:
    """The times of the clip, if each frame of the video was tracked; otherwise none."""
    if len(times) < _MIN_FRAMES or np.median(np.diff(times)) > _THINNED / clip.record.fps:
        return np.zeros(0)
    return times


def _frame_losses(times: Points) -> dict[str, float | None]:
    """Frame rate, share of missing frames, and longest gap of a video, from the display times of its frames.

    The nominal step is the median one. A gap of n steps, rounded, has n - 1 missing frames.
    """
    if len(times) < _MIN_FRAMES:
        return {}
    steps = np.diff(times)
    nominal = max(float(np.median(steps)), 1e-3)
    missing = float(np.maximum(0, np.round(steps / nominal) - 1).sum())
    return {
        "frame_rate": 1 / nominal,
        "dropped_frames": missing / (len(times) + missing),
        "longest_gap": float(steps.max()),
    }


def _palm_lengths(hand: Points) -> Points:
    """The length of the palm in each frame in which the hand was found."""
    lengths = _distances(hand, 0, _MIDDLE_KNUCKLE)
    return np.asarray(lengths[np.isfinite(lengths)])


def _distances(points: Points, first: int, second: int) -> Points:
    return np.asarray(np.linalg.norm(points[:, first] - points[:, second], axis=-1))


def _quantile(values: Points, share: float) -> float | None:
    return float(np.quantile(values, share)) if len(values) >= _MIN_FRAMES else None


def _share(true: Mask, among: Mask) -> float | None:
    return float(true[among].mean()) if among.sum() >= _MIN_FRAMES else None


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
