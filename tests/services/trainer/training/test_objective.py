"""What is minimised, asked of few classes, is what it is when asked of all."""

import pytest
import torch

from services.trainer.data.batches import Batch
from services.trainer.model.recogniser import SignLogProbs
from services.trainer.training.losses import frame_cross_entropy
from services.trainer.training.objective import (
    FADE,
    FIRST_SIGN_WEIGHT,
    FRAME_WEIGHT,
    LAST_SIGN_WEIGHT,
    LossTotals,
    make_objective,
)

# The same sign twice in a row wants a blank between; a class that is nowhere in its sequence is nothing to CTC.
TARGETS = torch.tensor([[2, 2, 5], [1, 3, 1], [4, 0, 0]])
SIGNS = torch.tensor([3, 3, 1])
LENGTHS = torch.tensor([12, 9, 4])
CLASSES = 7


def plain_ctc(log_probs: torch.Tensor) -> torch.Tensor:
    """Of a log_softmax over all classes PyTorch's own gradient is right."""
    losses = torch.nn.functional.ctc_loss(log_probs.transpose(0, 1), TARGETS, LENGTHS, SIGNS, reduction="none")
    return losses.sum() / SIGNS.sum()


@pytest.fixture
def batch() -> Batch:
    inside = torch.arange(12)[None, :] < LENGTHS[:, None]
    place = torch.arange(12)[None, :].expand(3, -1) * SIGNS[:, None] // LENGTHS[:, None]
    labels = TARGETS.gather(1, place.clamp(max=2)) * inside * (torch.arange(12) % 3 > 0)
    return Batch(torch.zeros(3, 12, 1), LENGTHS, TARGETS, SIGNS, labels, inside)


@pytest.fixture
def logits() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(3, 12, CLASSES).requires_grad_()


@pytest.fixture
def log_probs(logits: torch.Tensor) -> torch.Tensor:
    return logits.log_softmax(dim=-1)


def same(found: torch.Tensor, expected: torch.Tensor, logits: torch.Tensor) -> None:
    """Two losses, and their gradients."""
    torch.testing.assert_close(found, expected)
    mine, theirs = (torch.autograd.grad(one, logits, retain_graph=True)[0] for one in (found, expected))
    torch.testing.assert_close(mine, theirs)


@pytest.fixture
def answer(log_probs: torch.Tensor) -> SignLogProbs:
    asked = TARGETS.clamp(min=1)[:, None].expand(-1, 12, -1)
    there = log_probs.gather(2, asked)
    given = log_probs[..., 1:].log_softmax(dim=-1).gather(2, asked - 1)
    return SignLogProbs(torch.cat([log_probs[..., :1], there], dim=-1)[None], given[None])


@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
def test_the_competition_s_is_ctc_and_which_sign_it_is(
    batch: Batch, logits: torch.Tensor, log_probs: torch.Tensor, answer: SignLogProbs, progress: float
) -> None:
    told = (batch.frame_labels > 0) & batch.inside
    frames = log_probs[told][:, 1:].log_softmax(dim=-1)
    which = -frames.gather(1, batch.frame_labels[told][:, None] - 1).mean()
    expected = plain_ctc(log_probs)
    expected = expected + (FIRST_SIGN_WEIGHT + progress * (LAST_SIGN_WEIGHT - FIRST_SIGN_WEIGHT)) * which
    found = make_objective("competition", 0.0)(answer, batch, progress, LossTotals.of(batch))
    same(found, expected, logits)


def test_before_its_start_ctc_says_nothing(
    batch: Batch, logits: torch.Tensor, log_probs: torch.Tensor, answer: SignLogProbs
) -> None:
    early = make_objective("linear", 0.4)(answer, batch, 0.1, LossTotals.of(batch))
    same(early, frame_cross_entropy(log_probs, batch.frame_labels, batch.inside), logits)
    late = make_objective("linear", 0.4)(answer, batch, 0.4 + FADE, LossTotals.of(batch))
    same(late, plain_ctc(log_probs) + FRAME_WEIGHT * early, logits)
