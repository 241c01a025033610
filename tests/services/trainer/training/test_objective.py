"""What is minimised, asked of few classes, is what it is when asked of all."""

import pytest
import torch

from services.trainer.data.batches import Batch
from services.trainer.model.sign_model import SignLogProbs
from services.trainer.training.objective import (
    BLANK_FRAME_WEIGHT,
    FADE,
    FIRST_SIGN_WEIGHT,
    FRAME_WEIGHT,
    LAST_SIGN_WEIGHT,
    LossTotals,
    ctc,
    frame_cross_entropy,
    frame_weights,
    make_objective,
)
from services.trainer.training.validate import single_sign_scores

# The same sign twice in a row wants a blank between; a class that is nowhere in its sequence is nothing to CTC.
TARGETS = torch.tensor([[2, 2, 5], [1, 3, 1], [4, 0, 0]])
SIGNS = torch.tensor([3, 3, 1])
LENGTHS = torch.tensor([12, 9, 4])
CLASSES = 7

# The targets as the objective counts them: by the first place of each sign in its sequence.
FIRST_PLACES = torch.tensor([[1, 1, 3], [1, 2, 1], [1, 2, 2]])


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
    of_signs = log_probs.gather(2, asked)
    given = log_probs[..., 1:].log_softmax(dim=-1).gather(2, asked - 1)
    return SignLogProbs(torch.cat([log_probs[..., :1], of_signs], dim=-1)[None], given[None])


@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
def test_the_competition_s_is_ctc_and_which_sign_it_is(
    batch: Batch, logits: torch.Tensor, log_probs: torch.Tensor, answer: SignLogProbs, progress: float
) -> None:
    labelled = (batch.frame_labels > 0) & batch.inside
    frames = log_probs[labelled][:, 1:].log_softmax(dim=-1)
    which = -frames.gather(1, batch.frame_labels[labelled][:, None] - 1).mean()
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


FRAME_LENGTHS = torch.tensor([11, 7, 2, 1])


@pytest.fixture(name="frames")
def _frames() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.log_softmax(3 * torch.randn(4, 11, 6), dim=-1)


def test_ctc_of_one_sign_is_its_negative_score(frames: torch.Tensor) -> None:
    targets = torch.tensor([[1], [3], [5], [2]])
    scores = single_sign_scores(frames, FRAME_LENGTHS)
    loss = ctc(frames, FRAME_LENGTHS, targets, torch.ones(4, dtype=torch.long))
    torch.testing.assert_close(loss.double(), -scores.gather(1, targets - 1).mean(), atol=1e-5, rtol=1e-5)


def test_frame_cross_entropy_weighs_blanks_less_and_padding_not_at_all(frames: torch.Tensor) -> None:
    labels = torch.zeros(4, 11, dtype=torch.long)
    labels[0, 0] = 2
    inside = torch.zeros(4, 11, dtype=torch.bool)
    inside[0, :2] = True
    expected = -(frames[0, 0, 2] + BLANK_FRAME_WEIGHT * frames[0, 1, 0]) / (1 + BLANK_FRAME_WEIGHT)
    torch.testing.assert_close(frame_cross_entropy(frames, labels, inside), expected)


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_the_losses_of_a_batch_s_parts_add_up_to_its_own(frames: torch.Tensor, cut: int) -> None:
    targets, target_lengths = torch.tensor([[1, 2], [3, 0], [5, 0], [2, 0]]), torch.tensor([2, 1, 1, 1])
    labels = torch.randint(0, 6, (4, 11))
    inside = torch.arange(11)[None, :] < FRAME_LENGTHS[:, None]
    parts = [slice(cut), slice(cut, None)]
    torch.testing.assert_close(
        sum(
            ctc(frames[part], FRAME_LENGTHS[part], targets[part], target_lengths[part], target_lengths.sum())
            for part in parts
        ),
        ctc(frames, FRAME_LENGTHS, targets, target_lengths),
    )
    weight = frame_weights(labels, inside).sum()
    torch.testing.assert_close(
        sum(frame_cross_entropy(frames[part], labels[part], inside[part], weight) for part in parts),
        frame_cross_entropy(frames, labels, inside),
    )


@pytest.mark.parametrize("head", ["competition", "linear"])
def test_ctc_is_used_from_the_first_epoch_after_the_start(batch: Batch, answer: SignLogProbs, head: str) -> None:
    totals = LossTotals.of(batch)
    before, at = (make_objective(head, 0.25)(answer, batch, progress, totals) for progress in (0.2499, 0.25))
    expected = ctc(answer.log_probs[0], LENGTHS, FIRST_PLACES, SIGNS)
    torch.testing.assert_close(at - before, expected, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("progress", "weight"), [(0.4, 1.0), (0.5, 1 - 0.5 * (1 - FRAME_WEIGHT)), (0.6, FRAME_WEIGHT), (1.0, FRAME_WEIGHT)]
)
def test_the_frame_labels_of_a_linear_head_fade_after_the_start(
    batch: Batch, log_probs: torch.Tensor, answer: SignLogProbs, progress: float, weight: float
) -> None:
    found = make_objective("linear", 0.4)(answer, batch, progress, LossTotals.of(batch))
    frames = frame_cross_entropy(log_probs, batch.frame_labels, batch.inside)
    torch.testing.assert_close(found, plain_ctc(log_probs) + weight * frames)
    without_start = make_objective("linear", 0.0)(answer, batch, progress, LossTotals.of(batch))
    torch.testing.assert_close(without_start, plain_ctc(log_probs))


def test_the_loss_of_several_branches_is_the_mean_of_theirs(batch: Batch, answer: SignLogProbs) -> None:
    other = SignLogProbs(answer.log_probs.flip(2), answer.given_emission.flip(2))
    both = SignLogProbs(
        torch.cat([answer.log_probs, other.log_probs]), torch.cat([answer.given_emission, other.given_emission])
    )
    objective, totals = make_objective("competition", 0.0), LossTotals.of(batch)
    one, two, joint = (objective(each, batch, 0.5, totals) for each in (answer, other, both))
    torch.testing.assert_close(joint, (one + two) / 2)


def test_the_totals_of_several_batches_divide_the_loss_by_their_number(batch: Batch, answer: SignLogProbs) -> None:
    objective = make_objective("linear", 0.1)
    for progress in (0.0, 0.5):
        alone = objective(answer, batch, progress, LossTotals.of(batch))
        torch.testing.assert_close(objective(answer, batch, progress, LossTotals.of(batch, 4)), alone / 4)
