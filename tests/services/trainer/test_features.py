"""What the features do not depend on, and what they survive."""

import numpy as np
import pytest
import torch
from torch import Tensor

from services.trainer.features import LEFT_HAND, MIRRORED, POSE, RIGHT_HAND, USED_JOINTS, Features
from signet.dataset import Dataset


@pytest.fixture
def clip(small_dataset: Dataset) -> Tensor:
    return torch.from_numpy(small_dataset.clip_frames(small_dataset.manifest.clips[0]))[None, :, USED_JOINTS]


def measure(clip: Tensor) -> tuple[Tensor, Tensor]:
    hands, both = Features()(clip, torch.tensor([clip.shape[1]]))
    return hands, both


def test_where_the_signer_stands_and_how_large_does_not_matter(clip: Tensor) -> None:
    moved = 1.7 * clip + torch.tensor([0.3, -0.2, 0.0])
    for before, after in zip(measure(clip), measure(moved), strict=True):
        torch.testing.assert_close(before, after, atol=1e-4, rtol=1e-4)


def test_a_left_handed_signer_measures_as_a_right_handed_one(clip: Tensor) -> None:
    mirrored = clip[:, :, MIRRORED] * torch.tensor([-1.0, 1.0, 1.0])
    for right, left in zip(measure(clip), measure(mirrored), strict=True):
        torch.testing.assert_close(right, left, atol=1e-5, rtol=1e-5)


def test_an_absent_hand_has_no_shape_but_a_place(clip: Tensor) -> None:
    hands, _ = measure(clip)
    left = hands[0, :, 0]
    assert (left[:, :55] == 0).all()
    assert (left[:, -1] == 0).all()
    assert (left[:, 55:57] != 0).any(), "its wrist is known from the pose"


@pytest.mark.parametrize("lost", [[POSE], [RIGHT_HAND], [LEFT_HAND, RIGHT_HAND], [POSE, LEFT_HAND, RIGHT_HAND]])
def test_features_are_finite_whatever_is_lost(clip: Tensor, lost: list[slice]) -> None:
    bare = clip.clone()
    for where in lost:
        bare[:, :, where] = torch.nan
    for measured in measure(bare):
        assert torch.isfinite(measured).all()
        assert measured.abs().max() < 100


def test_without_a_pose_the_hands_give_the_scale(clip: Tensor) -> None:
    hands_only = clip.clone()
    hands_only[:, :, POSE] = torch.nan
    for before, after in zip(measure(hands_only), measure(2 * hands_only), strict=True):
        torch.testing.assert_close(before, after, atol=1e-4, rtol=1e-4)


def test_frames_beyond_a_clips_length_do_not_count(clip: Tensor) -> None:
    length = torch.tensor([clip.shape[1]])
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 9, *clip.shape[2:]))).float()
    alone, padded = Features()(clip, length), Features()(torch.cat([clip, noise], dim=1), length)
    for before, after in zip(alone, padded, strict=True):
        torch.testing.assert_close(before, after[:, : clip.shape[1]])
        assert (after[:, clip.shape[1] :] == 0).all()
