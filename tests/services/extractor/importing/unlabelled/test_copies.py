"""Copies of a recording are found by name and by landmarks; takes of one sign are no copies."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from services.extractor.importing.unlabelled import copies
from services.extractor.importing.unlabelled.copies import find_copies, original_name
from signet.landmarks import JOINTS, LEFT_HAND, POSE, RIGHT_HAND
from tests.services.extractor.importing.signers import ASPECT, Film, film

Frames = npt.NDArray[np.float32]


def _joints(shot: Film) -> Frames:
    joints = np.full((len(shot.pose), JOINTS, 3), np.nan, np.float32)
    scale = np.array([ASPECT, 1, ASPECT], np.float32)
    joints[:, POSE] = shot.pose[..., :3] * scale
    for side, where in enumerate((LEFT_HAND, RIGHT_HAND)):
        found = shot.hands[:, side].any(axis=(1, 2))
        joints[found, where] = shot.hands[found, side] * scale
    return joints


def _shift(shot: Film, frames: int) -> Film:
    return Film(np.roll(shot.pose, frames, axis=0), np.roll(shot.hands, frames, axis=0))


def _drop(shot: Film) -> Film:
    pose, hands = shot.pose.copy(), shot.hands.copy()
    pose[::4] = hands[::4] = 0
    pose[::4] = np.nan
    return Film(pose, hands)


CHANGES: dict[str, Callable[[Film], Film]] = {
    "same": lambda shot: shot,
    "noised": lambda shot: shot.noised(0.005),
    "mirrored": lambda shot: shot.mirrored(),
    "flipped": lambda shot: shot.flipped(),
    "scaled": lambda shot: shot.scaled(0.85),
    "shifted in time": lambda shot: _shift(shot, 5),
    "frames dropped": _drop,
    "mirrored, scaled and noised": lambda shot: shot.mirrored().scaled(1.15).noised(0.005),
}


@pytest.mark.parametrize("change", CHANGES)
def test_copies_are_found_by_their_landmarks(change: str) -> None:
    clips = {f"take{take}": _joints(film(1, take)) for take in range(4)}
    clips["copy"] = _joints(CHANGES[change](film(1, 2)))
    names = {clip_id: ("book", f"book/{clip_id}x") for clip_id in clips}
    assert find_copies(names, clips, ASPECT).groups == (("copy", "take2"),)


def test_takes_of_one_sign_are_no_copies() -> None:
    clips = {f"take{take}": _joints(film(2, take)) for take in range(12)}
    names = {clip_id: ("book", clip_id + "x") for clip_id in clips}
    assert find_copies(names, clips, ASPECT).groups == ()


@pytest.mark.parametrize(
    ("name", "original"),
    [
        ("book/12_aug0", "book/12"),
        ("book/12-flip", "book/12"),
        ("book/aug_3_12", "book/12"),
        ("book/12_noise_1_scaled", "book/12"),
        ("book/7 (copy)", "book/7"),
        ("book/7 - Copy (2)", "book/7"),
        ("book/12", "book/12"),
        ("book/copy", "book/copy"),
        ("slow/3", "slow/3"),
        ("august/3", "august/3"),
        ("book/augustine", "book/augustine"),
    ],
)
def test_names_of_copies_name_their_original(name: str, original: str) -> None:
    assert original_name(name) == original


def test_copies_are_found_by_their_names() -> None:
    names = {
        "a": ("book", "book/1"),
        "b": ("book", "book/1_aug0"),
        "c": ("book", "book/1_aug1"),
        "d": ("x", "x/1_aug0"),
    }
    found = find_copies(names, {}, ASPECT)
    assert (found.groups, found.by_name, found.by_content) == ((("a", "b", "c"),), 3, 0)


def test_the_landmarks_of_a_sign_with_too_many_recordings_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "_MOST_OF_GLOSS", 2)
    clips = {name: _joints(film(1, 0)) for name in ("a", "b", "c", "d", "e")}
    names = {name: ("book" if name in "abc" else "drink", f"{name}x") for name in clips}
    found = find_copies(names, clips, ASPECT)
    assert (found.groups, found.compared) == ((("d", "e"),), 2)
