"""The losses against what they are defined as."""

import numpy as np
import pytest
import torch

from services.trainer.training.losses import (
    BLANK_FRAME_WEIGHT,
    ctc,
    frame_cross_entropy,
    frame_weights,
    single_sign_scores,
)
from signet import decoding
from tests.signet.decoding.enumeration import posteriors, sequences


@pytest.fixture
def log_probs() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.log_softmax(3 * torch.randn(4, 11, 6), dim=-1)


LENGTHS = torch.tensor([11, 7, 2, 1])


def test_single_sign_scores_are_those_of_the_served_decoder(log_probs: torch.Tensor) -> None:
    scores = single_sign_scores(log_probs, LENGTHS)
    for row, length in enumerate(LENGTHS):
        expected = decoding.single_sign_scores(log_probs[row, :length].numpy())
        np.testing.assert_allclose(scores[row], expected, atol=1e-5)


def test_ctc_of_one_sign_is_its_negative_score(log_probs: torch.Tensor) -> None:
    targets = torch.tensor([[1], [3], [5], [2]])
    scores = single_sign_scores(log_probs, LENGTHS)
    loss = ctc(log_probs, LENGTHS, targets, torch.ones(4, dtype=torch.long))
    torch.testing.assert_close(loss.double(), -scores.gather(1, targets - 1).mean(), atol=1e-5, rtol=1e-5)


def test_single_sign_scores_are_the_sum_over_all_alignments() -> None:
    log_probs = torch.from_numpy(posteriors(5, 3, 0))
    expected = sequences(log_probs.numpy())
    (scores,) = single_sign_scores(log_probs[None], torch.tensor([5]))
    assert scores.tolist() == pytest.approx([expected[(c,)] for c in (1, 2, 3)], abs=1e-12)


def test_scores_of_long_clips_of_a_large_vocabulary_are_those_of_float64() -> None:
    torch.manual_seed(0)
    lengths = torch.tensor([200, 1, 60])
    for sharpness in (0.0, 1.0, 30.0, 300.0):
        log_probs = torch.log_softmax(sharpness * torch.randn(3, 200, 2001), dim=-1)
        low, high = single_sign_scores(log_probs, lengths), single_sign_scores(log_probs.double(), lengths)
        torch.testing.assert_close(low, high, rtol=1e-7, atol=1e-3)


def test_bfloat16_is_scored_in_float32(log_probs: torch.Tensor) -> None:
    low = log_probs.bfloat16()
    torch.testing.assert_close(single_sign_scores(low, LENGTHS), single_sign_scores(low.float(), LENGTHS))


def test_frame_cross_entropy_weighs_blanks_less_and_padding_not_at_all(log_probs: torch.Tensor) -> None:
    labels = torch.zeros(4, 11, dtype=torch.long)
    labels[0, 0] = 2
    inside = torch.zeros(4, 11, dtype=torch.bool)
    inside[0, :2] = True
    expected = -(log_probs[0, 0, 2] + BLANK_FRAME_WEIGHT * log_probs[0, 1, 0]) / (1 + BLANK_FRAME_WEIGHT)
    torch.testing.assert_close(frame_cross_entropy(log_probs, labels, inside), expected)


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_the_losses_of_a_batch_s_parts_add_up_to_its_own(log_probs: torch.Tensor, cut: int) -> None:
    targets, target_lengths = torch.tensor([[1, 2], [3, 0], [5, 0], [2, 0]]), torch.tensor([2, 1, 1, 1])
    labels = torch.randint(0, 6, (4, 11))
    inside = torch.arange(11)[None, :] < LENGTHS[:, None]
    parts = [slice(cut), slice(cut, None)]
    torch.testing.assert_close(
        sum(
            ctc(log_probs[part], LENGTHS[part], targets[part], target_lengths[part], target_lengths.sum())
            for part in parts
        ),
        ctc(log_probs, LENGTHS, targets, target_lengths),
    )
    weight = frame_weights(labels, inside).sum()
    torch.testing.assert_close(
        sum(frame_cross_entropy(log_probs[part], labels[part], inside[part], weight) for part in parts),
        frame_cross_entropy(log_probs, labels, inside),
    )
