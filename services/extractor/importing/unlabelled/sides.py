"""Finds out whether landmarks name the signer's left and right correctly, from the landmarks alone.

What can be known: MediaPipe names the sides of the person that it sees. So in its landmarks of a signer who faces the
camera, the left shoulder is on the right in the picture, and each hand is near the wrist of its own side. Landmarks
that break these rules were changed after the tracking. What cannot be known: whether the picture itself was mirrored
before the tracking. A mirrored right-handed signer looks like a left-handed signer.
"""

from dataclasses import dataclass

import numpy as np

from services.extractor.importing.handedness import right_hand_odds
from services.extractor.importing.unlabelled.raw import RawLandmarks, flip, swap_hands

_SHOULDERS, _WRISTS = (11, 12), (15, 16)
# A verdict needs this many frames, and this share of them.
_MIN_FRAMES = 3
_CLEAR_SHARE = 0.8
# Shoulders that are nearer to each other, in fractions of the width, belong to a signer who does not face the camera.
_MIN_SHOULDER_WIDTH = 0.03
# Wrists that are nearer to each other, in fractions of the frame, do not tell the sides of the hands apart.
_MIN_WRIST_DISTANCE = 0.1


@dataclass(frozen=True)
class SideVerdict:
    """What is wrong with the sides of a recording.

    Attributes:
        flipped: the picture was mirrored after the tracking, and the names of the sides were kept.
        swapped: the names of the hands are exchanged; None if it is not known.
    """

    flipped: bool
    swapped: bool | None


def judge_sides(raw: RawLandmarks, aspect: float) -> SideVerdict:
    """Judge the sides of a recording whose coordinates are fractions of the frame."""
    left, right = raw.pose[:, _SHOULDERS[0], 0], raw.pose[:, _SHOULDERS[1], 0]
    across = (left - right)[np.isfinite(left - right)]
    flipped = bool(
        len(across) >= _MIN_FRAMES
        and (across < 0).mean() >= _CLEAR_SHARE
        and np.median(np.abs(across)) > _MIN_SHOULDER_WIDTH
    )
    if len(across):
        return SideVerdict(flipped, _swapped_by_wrists(raw))
    return SideVerdict(False, _swapped_by_shape(raw, aspect))


def correct_sides(raw: RawLandmarks, verdict: SideVerdict) -> RawLandmarks:
    """Undo what was done to the sides after the tracking."""
    if verdict.flipped:
        raw = flip(raw)
    return swap_hands(raw) if verdict.swapped else raw


def _swapped_by_wrists(raw: RawLandmarks) -> bool | None:
    """Whether most hands are near the wrist of the other side of the pose; None if that cannot be said."""
    wrists = raw.pose[:, _WRISTS, :2]
    hands = raw.hands[:, :, 0, :2]
    apart = np.linalg.norm(wrists[:, 0] - wrists[:, 1], axis=-1) > _MIN_WRIST_DISTANCE
    own = np.linalg.norm(hands - wrists, axis=-1)
    other = np.linalg.norm(hands - wrists[:, ::-1], axis=-1)
    usable = np.isfinite(own) & np.isfinite(other) & apart[:, None]
    if usable.any(axis=1).sum() < _MIN_FRAMES:
        return None
    share = (other < own)[usable].mean()
    return None if 1 - _CLEAR_SHARE < share < _CLEAR_SHARE else bool(share >= _CLEAR_SHARE)


def _swapped_by_shape(raw: RawLandmarks, aspect: float) -> bool | None:
    """Whether most left hands look like right hands and the reverse, for recordings without a pose."""
    hands = raw.hands * np.array([aspect, 1, aspect], np.float32)
    found = np.isfinite(hands).all(axis=(2, 3))
    if found.any(axis=1).sum() < _MIN_FRAMES:
        return None
    odds = right_hand_odds(hands, found, aspect / 2)
    wrong = np.concatenate([odds[found[:, 0], 0] > 0, odds[found[:, 1], 1] < 0])
    share = wrong.mean()
    return None if 1 - _CLEAR_SHARE < share < _CLEAR_SHARE else bool(share >= _CLEAR_SHARE)
