"""The signer's body in a model input."""

import numpy as np
import pytest
import torch

from services.trainer.features import phonology
from signet.landmarks import JOINTS, LEFT_HAND, RIGHT_HAND
from signet.landmarks.body import Body, Frames, find_body, left_dominance, mirror, place_body, wrist_positions


def signer(seed: int, frames: int = 40) -> Frames:
    """A model input in which each part is absent now and then."""
    random = np.random.default_rng(seed)
    clip = np.cumsum(random.normal(0, 0.01, (frames, JOINTS, 3)), axis=0) + random.uniform(0.2, 0.8, (JOINTS, 3))
    clip[:, 11, 0], clip[:, 12, 0] = 0.6, 0.4
    for part in (slice(0, 33), LEFT_HAND, RIGHT_HAND):
        clip[random.random(frames) < 0.3, part] = np.nan
    return np.asarray(clip, np.float32)


@pytest.mark.parametrize("seed", range(8))
def test_dominance_is_that_of_the_network(seed: int) -> None:
    clip = signer(seed)
    joints = torch.from_numpy(clip[:, phonology.USED_JOINTS]).permute(2, 1, 0)[:, :, None]
    present = torch.isfinite(joints[0][phonology.PART_STARTS])
    expected = phonology.left_dominance(torch.nan_to_num(joints), present, torch.tensor([len(clip)]))
    assert left_dominance(clip) == pytest.approx(float(expected[0]), abs=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_a_mirrored_clip_has_the_other_dominant_hand(seed: int) -> None:
    clip = signer(seed)
    assert left_dominance(mirror(clip)) == pytest.approx(-left_dominance(clip), abs=1e-5)
    np.testing.assert_allclose(mirror(mirror(clip)), clip, atol=1e-5)


def test_a_body_is_placed_where_it_is_told() -> None:
    clip = signer(1)
    placed = place_body(clip, Body(np.array([0.9, 0.3]), 0.1))
    body = find_body(placed)
    np.testing.assert_allclose(body.origin, [0.9, 0.3], atol=1e-5)
    assert body.scale == pytest.approx(0.1, abs=1e-5)
    before, after = wrist_positions(clip, find_body(clip)), wrist_positions(placed, body)
    np.testing.assert_allclose(before, after, atol=1e-3)


def test_a_clip_without_any_part_has_a_body() -> None:
    nothing = np.full((5, JOINTS, 3), np.nan, np.float32)
    assert find_body(nothing).scale == 1
    assert left_dominance(nothing) == 0


def test_a_clip_without_a_pose_is_measured_by_its_hands() -> None:
    clip = signer(2)
    clip[:, :33] = np.nan
    body = find_body(clip)
    assert body.scale > 0
    assert np.isfinite(body.origin).all()
