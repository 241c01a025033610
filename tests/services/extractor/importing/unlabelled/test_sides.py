"""The sides of recordings are judged by the pose, and without a pose by the shape of the hands."""

import numpy as np
import pytest

from services.extractor.importing.unlabelled.raw import RawLandmarks, flip, mirror, swap_hands
from services.extractor.importing.unlabelled.sides import SideVerdict, correct_sides, judge_sides
from tests.services.extractor.importing.signers import ASPECT, film


def _raw(sign: int = 1, *, with_pose: bool = True, both_hands: bool = True) -> RawLandmarks:
    shot = film(sign, both_hands=both_hands)
    hands = np.where(shot.hands.any(axis=(2, 3), keepdims=True), shot.hands, np.nan)
    pose = shot.pose[..., :3] if with_pose else np.full_like(shot.pose[..., :3], np.nan)
    return RawLandmarks(pose, shot.pose[..., 3], hands, np.arange(len(pose)), "")


@pytest.mark.parametrize("with_pose", [True, False])
def test_landmarks_as_mediapipe_returns_them_are_right(with_pose: bool) -> None:
    for sign in range(4):
        assert judge_sides(_raw(sign, with_pose=with_pose), ASPECT) == SideVerdict(flipped=False, swapped=False)


def test_landmarks_that_were_flipped_after_the_tracking_are_flipped_back() -> None:
    raw = _raw()
    verdict = judge_sides(flip(raw), ASPECT)
    assert verdict == SideVerdict(flipped=True, swapped=False)
    corrected = correct_sides(flip(raw), verdict)
    assert np.allclose(corrected.pose, raw.pose, atol=1e-6)
    assert np.allclose(corrected.hands, raw.hands, atol=1e-6)


@pytest.mark.parametrize("with_pose", [True, False])
def test_exchanged_hands_are_noticed(with_pose: bool) -> None:
    raw = _raw(with_pose=with_pose)
    verdict = judge_sides(swap_hands(raw), ASPECT)
    assert verdict == SideVerdict(flipped=False, swapped=True)
    assert np.array_equal(correct_sides(swap_hands(raw), verdict).hands, raw.hands)


def test_a_mirrored_picture_looks_right_and_mirroring_twice_changes_nothing() -> None:
    raw = _raw(both_hands=False)
    assert judge_sides(mirror(raw), ASPECT) == SideVerdict(flipped=False, swapped=False)
    twice = mirror(mirror(raw))
    assert np.allclose(twice.pose, raw.pose, atol=1e-6)
    assert np.allclose(twice.hands, raw.hands, atol=1e-6, equal_nan=True)


def test_too_few_frames_give_no_verdict() -> None:
    raw = _raw(with_pose=False)
    few = RawLandmarks(raw.pose[:2], raw.visibility[:2], raw.hands[:2], np.arange(2), "")
    assert judge_sides(few, ASPECT).swapped is None
