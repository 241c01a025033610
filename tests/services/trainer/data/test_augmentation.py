"""Augmentation changes clips as far as its figures say: each is the bound of a uniform distribution."""

import math

import pytest
import torch
from torch import Tensor

from services.trainer.data.augmentation import (
    Augmentation,
    distort_joints,
    draw_lengths,
    draw_sample_times,
    drop_hands,
)
from services.trainer.features.phonology import LEFT_HAND, POSE, RIGHT_HAND

CLIPS = 20_000
JOINTS = RIGHT_HAND.stop
ZERO = dict.fromkeys(vars(Augmentation()), 0.0)
DEFAULT = Augmentation()


def only(**figures: float) -> Augmentation:
    return Augmentation(**{**ZERO, **figures})


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def assert_uniform(values: Tensor, low: float, high: float) -> None:
    """Each quantile lies where the uniform distribution has it; of 20,000 draws, 1.2 % covers the sampling error."""
    assert values.min() >= low - 1e-5
    assert values.max() <= high + 1e-5
    quantiles = torch.linspace(low, high, len(values))
    assert (values.sort().values - quantiles).abs().max() < 0.012 * (high - low)


def assert_independent(first: Tensor, second: Tensor) -> None:
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 0.025


def points(count: int = CLIPS) -> Tensor:
    """The same joints in each clip: [3, J, M, 1]. The nose is at (1, 0), the next joint at (0, 1)."""
    joints = torch.randn(3, JOINTS, 1, 1, generator=generator())
    joints[:, 0, 0, 0], joints[:, 1, 0, 0] = torch.tensor([1.0, 0, 0.5]), torch.tensor([0, 1.0, -0.5])
    return joints.expand(-1, -1, count, -1)


def test_the_defaults_are_those_that_were_measured() -> None:
    assert vars(DEFAULT) == {
        "rotation": 0.2, "shear": 0.15, "stretch": 0.15, "hand_rotation": 0.2, "hand_scale": 0.15, "jitter": 0.003,
        "speed": 0.3, "warp": 0.1, "crop": 0.1, "hand_loss": 0.3,
    }  # fmt: skip


def test_the_picture_is_rotated_sheared_and_stretched_uniformly_up_to_each_bound() -> None:
    bent = distort_joints(points(), only(rotation=0.2, shear=0.15, stretch=0.1), generator())
    x_axis, y_axis = bent[:, 0, :, 0], bent[:, 1, :, 0]
    angle = torch.atan2(x_axis[1], x_axis[0])
    torch.testing.assert_close(x_axis[:2].norm(dim=0), torch.ones(CLIPS))
    shear, stretch = y_axis[0] + angle.sin(), y_axis[1] / angle.cos()
    assert_uniform(angle, -0.2, 0.2)
    assert_uniform(shear, -0.15, 0.15)
    assert_uniform(stretch, 0.9, 1.1)
    assert_independent(angle, shear)
    assert_independent(angle, stretch)
    assert_independent(shear, stretch)
    assert (x_axis[2] == 0.5).all(), "depth is as it was"


def test_pose_and_hands_are_turned_with_the_picture() -> None:
    joints = points(500)
    bent = distort_joints(joints, only(rotation=0.2, shear=0.15, stretch=0.15), generator())
    maps = torch.stack([bent[:2, 0], bent[:2, 1]], dim=1)
    expected = torch.einsum("xymt,yjmt->xjmt", maps, joints[:2])
    torch.testing.assert_close(bent[:2], expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(bent[2], joints[2])


def test_each_hand_is_turned_about_its_wrist_in_the_picture_and_scaled_in_space() -> None:
    joints = points()
    bent = distort_joints(joints, only(hand_rotation=0.2, hand_scale=0.15), generator())
    assert torch.equal(bent[:, POSE], joints[:, POSE])
    found = []
    for hand in (LEFT_HAND, RIGHT_HAND):
        assert torch.equal(bent[:, hand.start], joints[:, hand.start]), "the wrist stays"
        before, after = (frames[:, hand, :, 0] - frames[:, hand.start, None, :, 0] for frames in (joints, bent))
        scale = after[2, 8] / before[2, 8]
        angle = torch.atan2(after[1, 8], after[0, 8]) - torch.atan2(before[1, 8], before[0, 8])
        angle = (angle + math.pi) % (2 * math.pi) - math.pi
        cos, sin = angle.cos() * scale, angle.sin() * scale
        expected = torch.stack(
            [cos * before[0] - sin * before[1], sin * before[0] + cos * before[1], scale * before[2]]
        )
        torch.testing.assert_close(after, expected, atol=1e-4, rtol=1e-4)
        assert_uniform(angle, -0.2, 0.2)
        assert_uniform(scale, 0.85, 1.15)
        assert_independent(angle, scale)
        found.append((angle, scale))
    (left_angle, left_scale), (right_angle, right_scale) = found
    assert_independent(left_angle, right_angle)
    assert_independent(left_scale, right_scale)


def test_each_coordinate_jitters_by_itself_with_the_given_deviation() -> None:
    joints = points(2000).expand(-1, -1, -1, 2)
    noise = distort_joints(joints, only(jitter=0.003), generator()) - joints
    for which in noise.flatten(1).unbind():
        assert float(which.std()) == pytest.approx(0.003, rel=0.01)
        assert abs(float(which.mean())) < 3e-5
    assert_independent(noise[0, 3].flatten(), noise[1, 3].flatten())
    assert_independent(noise[0, 3, :, 0], noise[0, 3, :, 1])


def test_speeds_are_uniform_about_one() -> None:
    lengths = draw_lengths(torch.full((CLIPS,), 100_000), only(speed=0.3), generator())
    assert_uniform(100_000 / lengths, 0.7, 1.3)


def test_a_clip_keeps_two_frames_however_short_it_is_and_its_length_where_nothing_changes() -> None:
    lengths = torch.tensor([1, 2, 3, 40])
    assert draw_lengths(lengths, only(), generator()).tolist() == [2, 2, 3, 40]
    assert set(draw_lengths(torch.full((1000,), 2), only(speed=0.3), generator()).tolist()) == {2, 3}


def test_crops_at_either_end_are_uniform_and_independent() -> None:
    lengths = torch.full((CLIPS,), 101)
    times = draw_sample_times(lengths, lengths, only(crop=0.1), generator())
    assert_uniform(times[:, 0], 0, 10)
    assert_uniform(times[:, -1], 90, 100)
    assert_independent(times[:, 0], times[:, -1])
    step = times.diff(dim=1)
    torch.testing.assert_close(step, step[:, :1].expand_as(step), atol=1e-3, rtol=1e-3)


def test_time_is_bent_as_unevenly_as_the_formula_says() -> None:
    """u + w·(sin(πu + φ) - (1 - u)·sin φ - u·sin(π + φ)), with φ uniform in ± π and w uniform in ± warp."""
    lengths = torch.full((CLIPS,), 101)
    times = draw_sample_times(lengths, lengths, only(warp=0.1), generator()) / 100
    assert (times[:, 0] == 0).all()
    torch.testing.assert_close(times[:, -1], torch.ones(CLIPS))
    u = torch.linspace(0, 1, 101)
    # The bend is w·cos φ · sin πu + w·sin φ · (cos πu - 1 + 2u): both factors follow from two frames.
    cosine = times[:, 50] - 0.5
    sine = (times[:, 25] - 0.25 - cosine * math.sin(math.pi / 4)) / (math.cos(math.pi / 4) - 0.5)
    expected = u + cosine[:, None] * (math.pi * u).sin() + sine[:, None] * ((math.pi * u).cos() - 1 + 2 * u)
    torch.testing.assert_close(times, expected, atol=2e-5, rtol=0)
    assert_uniform((cosine.square() + sine.square()).sqrt(), 0, 0.1)
    assert_uniform(torch.atan2(sine, cosine), -math.pi, math.pi)


def test_a_hand_is_lost_in_the_given_share_of_clips_for_up_to_a_third_of_the_frames() -> None:
    frames = 300
    present = torch.ones(3, CLIPS, frames, dtype=torch.bool)
    lost = ~drop_hands(present, only(hand_loss=0.3), generator())
    assert not lost[0].any(), "the pose stays"
    for hand in lost[1:]:
        spans = hand.sum(dim=1)
        losing = spans > 0
        assert float(losing.float().mean()) == pytest.approx(0.3, abs=0.01)
        assert spans.max() == pytest.approx(frames / 3, abs=2)
        # A span of s, uniform up to a third, begins at a uniform moment and ends with the clip at the latest.
        assert float(spans[losing].float().mean()) / frames == pytest.approx(1 / 6 - 1 / 54, abs=0.004)
        starts = hand[losing].int().argmax(dim=1) / frames
        assert float(starts.mean()) == pytest.approx(0.5, abs=0.012)
        assert (hand[:, 1:] & ~hand[:, :-1]).sum(dim=1).max() == 1, "in one piece"
    assert_independent(lost[1].any(dim=1).float(), lost[2].any(dim=1).float())


def test_a_hand_that_was_not_there_is_not_found() -> None:
    present = torch.rand(3, 200, 30, generator=generator()) < 0.5
    assert not (drop_hands(present, DEFAULT, generator()) & ~present).any()
    assert torch.equal(drop_hands(present, only(), generator()), present)


def test_without_any_figure_nothing_changes() -> None:
    joints = points(3)
    torch.testing.assert_close(distort_joints(joints, only(), generator()), joints)
    lengths = torch.tensor([7, 12])
    times = draw_sample_times(lengths, lengths, only(), generator())
    torch.testing.assert_close(times[0, :7], torch.arange(7.0))
    torch.testing.assert_close(times[1], torch.arange(12.0))


def test_the_same_random_numbers_give_the_same_changes() -> None:
    """A training with a given seed sees the same clips in every version: a greater number is a greater change."""

    def uniform(draws: torch.Generator, *shape: int) -> Tensor:
        return 2 * torch.rand(shape, generator=draws) - 1

    draws = generator()
    lengths = draw_lengths(torch.full((50,), 1000), DEFAULT, generator())
    assert lengths.tolist() == (1000 / (1 + 0.3 * uniform(draws, 50))).round().tolist()

    draws = generator()
    angle, shear, stretch = (uniform(draws, 50, 1) * bound for bound in (0.2, 0.15, 0.15))
    (left_turn, left_scale), (right_turn, right_scale) = (
        [uniform(draws, 50, 1) * bound for bound in (0.2, 0.15)] for _ in range(2)
    )
    noise = 0.003 * torch.randn((3, JOINTS, 50, 1), generator=draws)
    joints = points(50)
    x, y, z = joints
    cos, sin = angle.cos(), angle.sin()
    picture = torch.stack([cos * x + (shear - sin) * y, sin * x + cos * (1 + stretch) * y, z])
    expected = picture.clone()
    for hand, turn, scale in ((LEFT_HAND, left_turn, left_scale), (RIGHT_HAND, right_turn, right_scale)):
        dx, dy, dz = (picture[:, hand] - picture[:, hand.start, None]) * (1 + scale)
        turned = torch.stack([turn.cos() * dx - turn.sin() * dy, turn.sin() * dx + turn.cos() * dy, dz])
        expected[:, hand] = turned + picture[:, hand.start, None]
    torch.testing.assert_close(distort_joints(joints, DEFAULT, generator()), expected + noise, atol=1e-5, rtol=1e-5)
