"""The losses against what they are defined as."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

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


@pytest.mark.parametrize("lengths", [[5, 3], [1, 1], [5, 5]])
def test_single_sign_scores_have_a_true_gradient(lengths: list[int]) -> None:
    logits = torch.randn(2, 5, 4, dtype=torch.double, requires_grad=True)
    of_lengths = partial(single_sign_scores, lengths=torch.tensor(lengths))
    assert torch.autograd.gradcheck(of_lengths, torch.log_softmax(logits, dim=-1).detach().requires_grad_())
    assert torch.autograd.gradcheck(lambda x: of_lengths(torch.log_softmax(x, dim=-1)), logits)


def test_a_score_s_gradient_is_the_sign_s_occupation_of_the_frames(log_probs: torch.Tensor) -> None:
    """The closed form against forward-backward over the trellis, which knows nothing of it."""
    leaf = log_probs.clone().requires_grad_()
    single_sign_scores(leaf, LENGTHS)[:, 2].sum().backward()  # type: ignore[no-untyped-call]
    assert leaf.grad is not None
    for row, length in enumerate(LENGTHS):
        share = decoding.occupation(log_probs[row, :length].numpy(), [3])[:, 0]
        np.testing.assert_allclose(leaf.grad[row, :length, 3], share, atol=1e-5)
        np.testing.assert_allclose(leaf.grad[row, :length, 0], 1 - share, atol=1e-5)
        assert not leaf.grad[row, length:].any()
        assert not leaf.grad[row, :, [1, 2, 4, 5]].any()


@pytest.mark.parametrize("sharpness", [0.0, 1.0, 30.0, 300.0])
def test_long_clips_of_a_large_vocabulary_have_a_finite_gradient_in_float32_as_in_float64(sharpness: float) -> None:
    torch.manual_seed(0)
    lengths, labels = torch.tensor([200, 1, 60]), torch.tensor([4, 1999, 0])
    gradients = []
    drawn = sharpness * torch.randn(3, 200, 2001)
    for dtype in (torch.float32, torch.float64):
        logits = drawn.to(dtype, copy=True).requires_grad_()
        loss = F.cross_entropy(single_sign_scores(torch.log_softmax(logits, dim=-1), lengths), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        assert logits.grad is not None
        assert torch.isfinite(logits.grad).all()
        gradients.append(logits.grad.double())
    assert (gradients[0] - gradients[1]).abs().max() < 1e-3


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
