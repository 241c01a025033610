"""What each head guarantees: probabilities that add up, one emission in a window, no influence of padding."""

import math
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from services.trainer.config.train_config import TrainConfig
from services.trainer.model.heads import WINDOW, BranchLinear, CompetitionHead, LinearHead, build_head
from signet.decoding import BLANK

UNITS, CLASSES, FRAMES = 8, 6, 40
HEADS = get_args(TrainConfig.model_fields["head"].annotation)

Head = LinearHead | CompetitionHead


@pytest.fixture(params=[(name, branches) for name in HEADS for branches in (1, 3)], ids=str)
def head(request: pytest.FixtureRequest) -> Head:
    torch.manual_seed(0)
    name, branches = request.param
    return build_head(name, branches, UNITS, CLASSES)


def whole(x: Tensor) -> Tensor:
    return torch.ones(x.shape[:2], dtype=torch.bool)


def answered(head: Head, x: Tensor, inside: Tensor) -> Tensor:
    """What a head says when all its branches are given the same: [B, T, D] to log-probabilities [B, T, C + 1]."""
    return head.log_probs(head.mean_logits(x.expand(head.branches, *x.shape), inside), inside)


def test_probabilities_add_up_however_far_the_head_is_driven(head: Head) -> None:
    for scale in (0.1, 1.0, 100.0):
        x = scale * torch.randn(3, FRAMES, UNITS)
        log_probs = answered(head, x, whole(x))
        assert torch.isfinite(log_probs).all()
        torch.testing.assert_close(log_probs.exp().sum(dim=-1), torch.ones(3, FRAMES), atol=1e-4, rtol=0)


def test_gradients_are_finite_however_far_it_is_driven(head: Head) -> None:
    for scale in (0.1, 1.0, 100.0):
        x = (scale * torch.randn(2, FRAMES, UNITS)).requires_grad_()
        loss = torch.nn.functional.ctc_loss(
            answered(head, x, whole(x)).transpose(0, 1),
            torch.tensor([[1], [3]]),
            torch.full((2,), FRAMES),
            torch.ones(2).long(),
        )
        loss.backward()  # type: ignore[no-untyped-call]
        assert x.grad is not None
        assert torch.isfinite(x.grad).all()


def test_what_lies_beyond_the_clip_does_not_compete(head: Head) -> None:
    x = torch.randn(1, FRAMES, UNITS)
    other = x.clone()
    other[:, 25:] = 100 * torch.randn(1, FRAMES - 25, UNITS)
    inside = torch.arange(FRAMES)[None, :] < 25
    torch.testing.assert_close(answered(head, x, inside)[:, :25], answered(head, other, inside)[:, :25])


def each_alone(name: str, head: Head, sign_dim: int = 0) -> list[Head]:
    """Each branch of a head as a head of its own."""
    heads = []
    for branch in range(head.branches):
        alone = build_head(name, 1, UNITS, CLASSES, sign_dim)
        alone.load_state_dict({name: tensor[branch : branch + 1] for name, tensor in head.state_dict().items()})
        heads.append(alone)
    return heads


@pytest.mark.parametrize("sign_dim", [0, 3])
@pytest.mark.parametrize("name", HEADS)
def test_of_some_signs_each_branch_says_what_it_says_of_all(name: str, sign_dim: int) -> None:
    torch.manual_seed(0)
    head = build_head(name, 3, UNITS, CLASSES, sign_dim)
    x = torch.randn(3, 3, FRAMES, UNITS)
    inside = torch.arange(FRAMES)[None, :] < torch.tensor([FRAMES, 25, 7])[:, None]
    signs = torch.tensor([[2, 5, 2], [1, 0, 0], [4, 3, 0]])
    asked = signs.clamp(min=1)[:, None].expand(-1, FRAMES, -1)
    answers = head.sign_log_probs(x, inside, signs)
    for one, alone, log_probs, given in zip(x, each_alone(name, head, sign_dim), *answers, strict=True):
        everything = answered(alone, one, inside)
        shares = everything[..., 1:].log_softmax(dim=-1)
        expected = torch.cat([everything[..., :1], everything.gather(2, asked)], dim=-1)
        torch.testing.assert_close(log_probs[inside], expected[inside], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(given[inside], shares.gather(2, asked - 1)[inside], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", HEADS)
def test_its_logits_are_the_mean_of_its_branches(name: str) -> None:
    torch.manual_seed(0)
    head = build_head(name, 3, UNITS, CLASSES)
    x = torch.randn(3, 2, FRAMES, UNITS)
    each = [alone.mean_logits(one[None], whole(one)) for one, alone in zip(x, each_alone(name, head), strict=True)]
    torch.testing.assert_close(head.mean_logits(x, whole(x[0])), torch.stack(each).mean(dim=0))


@pytest.mark.parametrize("name", HEADS)
def test_a_penalty_is_every_branch_s(name: str) -> None:
    x = torch.randn(1, FRAMES, UNITS)
    head = build_head(name, 3, UNITS, CLASSES)
    before = [answered(alone, x, whole(x))[..., BLANK].mean() for alone in each_alone(name, head)]
    head.penalise_blank(2.0)
    after = [answered(alone, x, whole(x))[..., BLANK].mean() for alone in each_alone(name, head)]
    assert all(one < other for one, other in zip(after, before, strict=True))


@pytest.mark.parametrize("name", ["competition", "attention"])
def test_a_new_gate_leans_neither_way(name: str) -> None:
    logits = build_head(name, 3, UNITS, CLASSES).mean_logits(
        torch.zeros(3, 1, 1, UNITS), torch.ones(1, 1, dtype=torch.bool)
    )
    assert logits[..., 1].item() == 0


def test_with_attention_the_loudest_frame_of_the_window_says_which_sign_it_is() -> None:
    torch.manual_seed(0)
    head = build_head("attention", 2, UNITS, CLASSES)
    assert isinstance(head, CompetitionHead)
    assert head.attention is not None
    x = torch.randn(2, 1, FRAMES, UNITS)
    x[..., 0] = 0.0
    x[:, 0, 20, 0] = 1000.0
    with torch.no_grad():
        head.attention.weight.zero_()
        head.attention.weight[..., 0] = 1.0
        head.signs.weight[..., 0] = 0.0
    signs = head.mean_logits(x, whole(x[0]))[0, :, 2:]
    for frame in range(20 - WINDOW, 21 + WINDOW):
        torch.testing.assert_close(signs[frame], signs[20])
    assert not torch.allclose(signs[20 - WINDOW - 1], signs[20])


def test_a_penalty_makes_the_blank_less_likely(head: Head) -> None:
    x = torch.randn(1, FRAMES, UNITS)
    before = answered(head, x, whole(x))[..., BLANK].mean()
    head.penalise_blank(2.0)
    assert answered(head, x, whole(x))[..., BLANK].mean() < before


@pytest.mark.parametrize("name", ["competition", "attention"])
def test_of_the_frames_of_a_window_about_one_emits_and_the_sharper_the_fewer(name: str) -> None:
    torch.manual_seed(1)
    head = build_head(name, 1, UNITS, CLASSES)
    assert isinstance(head, CompetitionHead)
    # A smooth bump, as an LSTM makes them, and nothing else.
    steps = torch.arange(FRAMES)
    x = torch.zeros(1, FRAMES, UNITS)
    x[0, :, 0] = torch.exp(-(((steps - 20) / 6.0) ** 2))
    with torch.no_grad():
        head.timing.weight.zero_()
        head.timing.weight[0, 0, 0] = 4.0
        head.penalise_blank(20.0)
        emitted = {}
        for sharpness in (1.0, 4.0, 32.0):
            head.sharpness.fill_(sharpness)
            emits = 1 - answered(head, x, whole(x))[0, :, BLANK].exp()
            emitted[sharpness] = emits
            assert emits.argmax() == 20
    near = {sharpness: emits[20 - WINDOW : 21 + WINDOW] for sharpness, emits in emitted.items()}
    assert (near[32.0] > 0.5).sum() == 1, "the highest frame wins"
    assert near[32.0].max() > 0.9
    assert near[1.0].max() < near[4.0].max() < near[32.0].max()
    assert all(0.5 < values.sum() < 2.5 for values in near.values()), "about one is expected, sharp or not"


Matrix = npt.NDArray[np.float64]


def numbers(parameter: Tensor | None) -> Matrix:
    assert parameter is not None
    return parameter.detach().double().numpy()


def log_softmax(values: Matrix) -> Matrix:
    shifted: Matrix = values - values.max()
    return shifted - math.log(np.exp(shifted).sum())


def expected_emission(saliency: Matrix, gate: Matrix, frames: int) -> Matrix:
    """Log-probability that each of a clip's frames emits a sign, from the formula at the top of the heads' module."""
    emits = np.zeros(frames)
    for t in range(frames):
        window = [u for u in range(frames) if abs(u - t) <= 5]
        share = saliency[t] - math.log(sum(math.exp(saliency[u]) for u in window))
        emits[t] = min(max(share - math.log1p(math.exp(-gate[t])), -50.0), -1e-4)
    return emits


def expected_pooling(head: CompetitionHead, x: Matrix, branch: int) -> Matrix:
    """Each frame's window of [T, D], weighted by attention."""
    assert head.attention is not None
    loud = x @ numbers(head.attention.weight)[branch, 0]
    pooled = np.zeros_like(x)
    for t in range(len(x)):
        window = [u for u in range(len(x)) if abs(u - t) <= 5]
        weights = np.exp([loud[u] for u in window])
        pooled[t] = sum(weight * x[u] for weight, u in zip(weights / weights.sum(), window, strict=True))
    return pooled


def expected_branch(head: CompetitionHead, x: Matrix, branch: int) -> tuple[Matrix, Matrix, Matrix]:
    """What one branch says of a clip [T, D]: saliency [T], gate [T], and the signs' logits [T, C]."""
    timing = x @ numbers(head.timing.weight)[branch].T + numbers(head.timing.bias)[branch]
    saliency = timing[:, 0] * numbers(head.sharpness)[branch]
    shown = expected_pooling(head, x, branch) if head.attention is not None else x
    if not isinstance(head.reduce, torch.nn.Identity):
        shown = shown @ numbers(head.reduce.weight)[branch].T
    signs = numbers(head.signs.weight)[branch]
    cosines = (shown / np.linalg.norm(shown, axis=1, keepdims=True)) @ (
        signs / np.linalg.norm(signs, axis=1, keepdims=True)
    ).T
    return saliency, timing[:, 1], 12.0 * cosines


@pytest.mark.parametrize("sign_dim", [0, 3])
@pytest.mark.parametrize("name", ["competition", "attention"])
def test_a_competition_head_answers_as_its_formula_says(name: str, sign_dim: int) -> None:
    torch.manual_seed(4)
    head = build_head(name, 2, UNITS, CLASSES, sign_dim)
    assert isinstance(head, CompetitionHead)
    with torch.no_grad():
        head.sharpness.copy_(torch.tensor([1.5, 3.0]))
        head.penalise_blank(0.7)
    lengths = [FRAMES, 17, 4, 1]
    x = 2 * torch.randn(2, 4, FRAMES, UNITS)
    inside = torch.arange(FRAMES)[None, :] < torch.tensor(lengths)[:, None]
    signs = torch.tensor([[1, 4], [2, 2], [5, 3], [3, 1]])
    joint = head.log_probs(head.mean_logits(x, inside), inside, 2)
    assert joint.shape == (4, FRAMES, CLASSES)
    for row, length in enumerate(lengths):
        said = [expected_branch(head, x[branch, row, :length].double().numpy(), branch) for branch in (0, 1)]
        emits = expected_emission(said[0][0] + said[1][0], (said[0][1] + said[1][1]) / 2, length)
        for t in range(length):
            which = emits[t] + log_softmax((said[0][2][t] + said[1][2][t]) / 2)
            expected = [math.log(-math.expm1(emits[t])), *which]
            assert joint[row, t].tolist() == pytest.approx(expected, abs=1e-4)
        log_probs, given = head.sign_log_probs(x, inside, signs)
        for branch, (saliency, gate, logits) in enumerate(said):
            alone = expected_emission(saliency, gate, length)
            for t in range(length):
                which = log_softmax(logits[t])[signs[row].numpy() - 1]
                expected = [math.log(-math.expm1(alone[t])), *(alone[t] + which)]
                assert given[branch, row, t].tolist() == pytest.approx(which, abs=1e-4)
                assert log_probs[branch, row, t].tolist() == pytest.approx(expected, abs=1e-4)


def test_an_emission_is_never_quite_certain_and_never_quite_impossible() -> None:
    head = build_head("competition", 1, UNITS, CLASSES)
    logits = torch.zeros(1, 3, 1 + CLASSES)
    logits[0, :, 0] = torch.tensor([0.0, 400.0, 0.0])
    logits[0, :, 1] = 400.0
    log_probs = head.log_probs(logits, torch.ones(1, 3, dtype=torch.bool))[0]
    emits = log_probs[:, 1:].logsumexp(dim=-1)
    torch.testing.assert_close(emits, torch.tensor([-50.0, -1e-4, -50.0]), atol=1e-5, rtol=1e-4)
    assert float(log_probs[1, BLANK]) == pytest.approx(math.log(1e-4), abs=1e-2)


def test_a_linear_head_of_one_branch_answers_the_log_softmax_of_its_logits() -> None:
    torch.manual_seed(5)
    head = build_head("linear", 2, UNITS, CLASSES)
    assert isinstance(head, LinearHead)
    x = torch.randn(2, 1, 3, UNITS)
    logits = torch.stack([row @ weight.T for row, weight in zip(x[:, 0], head.logits.weight, strict=True)])
    assert head.logits.bias is not None
    logits = logits + head.logits.bias[:, None]
    inside = torch.ones(1, 3, dtype=torch.bool)
    expected = logits.mean(dim=0).log_softmax(dim=-1)
    torch.testing.assert_close(head.log_probs(head.mean_logits(x, inside), inside)[0], expected)


def test_new_linear_maps_are_drawn_as_torch_draws_them() -> None:
    torch.manual_seed(6)
    maps = BranchLinear(3, 16, 4000)
    assert maps.bias is not None
    for drawn in (maps.weight, maps.bias):
        assert drawn.abs().max() <= 0.25, "1 / sqrt(inputs)"
        assert float(drawn.detach().std()) == pytest.approx(0.25 / math.sqrt(3), rel=0.02)
    torch.testing.assert_close(
        build_head("attention", 1, UNITS, CLASSES).state_dict()["sharpness"], torch.tensor([2.0])
    )
