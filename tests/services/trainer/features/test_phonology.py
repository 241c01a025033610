"""What the features do not depend on, and which losses of the tracker they tolerate."""

import numpy as np
import pytest
import torch
from torch import Tensor

from services.trainer.features.groups import BOTH_GROUPS, GROUPS, HAND_GROUPS
from services.trainer.features.phonology import (
    LEFT_HAND,
    MIRRORED,
    PART_STARTS,
    POSE,
    RIGHT_HAND,
    USED_JOINTS,
    Features,
)
from signet.datasets.snapshot import Dataset


@pytest.fixture
def clip(small_dataset: Dataset) -> Tensor:
    """One clip, NaN where a part is absent: [T, J, 3]."""
    return torch.from_numpy(small_dataset.clip_frames(small_dataset.manifest.clips[0]))[:, USED_JOINTS]


def measure(clip: Tensor, length: int | None = None, groups: tuple[str, ...] = GROUPS) -> Tensor:
    """[T, D]."""
    joints = clip[None].permute(3, 2, 0, 1)
    present = ~joints[0, PART_STARTS].isnan()
    measured: Tensor = Features(groups)(joints.nan_to_num(), present, torch.tensor([length or len(clip)]))
    return measured[0]


def of_hand(measured: Tensor, hand: int, group: str) -> Tensor:
    """One group's columns of the non-dominant (0) or dominant (1) hand."""
    before = list(HAND_GROUPS)[: list(HAND_GROUPS).index(group)]
    start = hand * sum(HAND_GROUPS.values()) + sum(HAND_GROUPS[name] for name in before)
    return measured[:, start : start + HAND_GROUPS[group]]


def test_where_the_signer_stands_and_how_large_does_not_matter(clip: Tensor) -> None:
    moved = 1.7 * clip + torch.tensor([0.3, -0.2, 0.0])
    torch.testing.assert_close(measure(clip), measure(moved), atol=1e-4, rtol=1e-4)


def test_a_left_handed_signer_measures_as_a_right_handed_one(clip: Tensor) -> None:
    mirrored = clip[:, MIRRORED] * torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(measure(clip), measure(mirrored), atol=1e-5, rtol=1e-5)


def test_a_hand_turned_in_the_picture_keeps_its_shape_and_changes_its_orientation(clip: Tensor) -> None:
    turned = clip.clone()
    wrist = clip[:, RIGHT_HAND.start, None]
    quarter = torch.tensor([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    turned[:, RIGHT_HAND] = (clip[:, RIGHT_HAND] - wrist) @ quarter + wrist
    before, after = measure(clip), measure(turned)
    torch.testing.assert_close(of_hand(before, 1, "handshape"), of_hand(after, 1, "handshape"), atol=1e-4, rtol=1e-4)
    assert (of_hand(before, 1, "orientation") - of_hand(after, 1, "orientation")).abs().max() > 0.5


def test_a_bent_finger_is_seen_in_the_handshape_and_nowhere_in_the_location(clip: Tensor) -> None:
    bent = clip.clone()
    knuckle = RIGHT_HAND.start + 6
    bent[:, knuckle + 2] = bent[:, knuckle - 1]  # the index finger's tip back at its root
    before, after = measure(clip), measure(bent)
    assert (of_hand(before, 1, "handshape") - of_hand(after, 1, "handshape")).abs().max() > 0.3
    torch.testing.assert_close(of_hand(before, 1, "location"), of_hand(after, 1, "location"))


def test_a_hand_at_the_nose_is_near_it(clip: Tensor) -> None:
    close = clip.clone()
    close[:, RIGHT_HAND] += (clip[:, 0] - clip[:, RIGHT_HAND.start + 9])[:, None]
    nearness = of_hand(measure(close), 1, "contact")[:, 0]
    assert (nearness > 0.9).all()
    assert (nearness > of_hand(measure(clip), 1, "contact")[:, 0]).all()


def test_velocity_is_that_of_the_hand_in_shoulders_a_frame() -> None:
    steps = torch.arange(12)
    clip = torch.zeros(12, len(USED_JOINTS), 3)
    clip[:, 3, 0], clip[:, 4, 0] = 0.7, 0.5
    clip[:, LEFT_HAND] = torch.nan
    clip[:, RIGHT_HAND, 0] = 0.02 * steps[:, None]
    inner = of_hand(measure(clip), 1, "movement")[4:-4]
    torch.testing.assert_close(inner[:, 0], torch.full((4,), 0.1))
    torch.testing.assert_close(inner[:, 2], torch.full((4,), 0.1))
    torch.testing.assert_close(inner[:, 4], torch.full((4,), 0.1))


def test_an_absent_hand_has_no_shape_but_a_place(clip: Tensor) -> None:
    measured = measure(clip)
    for group in ("handshape", "outline", "orientation", "contact", "presence"):
        assert (of_hand(measured, 0, group) == 0).all()
    assert (of_hand(measured, 0, "location") != 0).any(), "its wrist is known from the pose"


@pytest.mark.parametrize("lost", [[POSE], [RIGHT_HAND], [LEFT_HAND, RIGHT_HAND], [POSE, LEFT_HAND, RIGHT_HAND]])
def test_features_are_finite_whatever_is_lost(clip: Tensor, lost: list[slice]) -> None:
    bare = clip.clone()
    for where in lost:
        bare[:, where] = torch.nan
    measured = measure(bare)
    assert torch.isfinite(measured).all()
    assert measured.abs().max() < 100


def test_without_a_pose_the_hands_give_the_scale(clip: Tensor) -> None:
    hands_only = clip.clone()
    hands_only[:, POSE] = torch.nan
    torch.testing.assert_close(measure(hands_only), measure(2 * hands_only), atol=1e-4, rtol=1e-4)


def test_frames_beyond_a_clips_length_do_not_count(clip: Tensor) -> None:
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=(9, *clip.shape[1:]))).float()
    alone, padded = measure(clip), measure(torch.cat([clip, noise]), len(clip))
    torch.testing.assert_close(alone, padded[: len(clip)])
    assert (padded[len(clip) :] == 0).all()


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_that_is_switched_off_is_gone_and_the_others_stay(clip: Tensor, group: str) -> None:
    left = tuple(name for name in GROUPS if name != group)
    without = measure(clip, groups=left)
    gone = 2 * HAND_GROUPS.get(group, 0) + BOTH_GROUPS.get(group, 0)
    whole = measure(clip)
    assert without.shape[1] == whole.shape[1] - gone
    assert {tuple(column.tolist()) for column in without.T} <= {tuple(column.tolist()) for column in whole.T}
