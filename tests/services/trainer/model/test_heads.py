"""What each head promises: probabilities that add up, one emission in a window, deafness to what is not the clip."""

import pytest
import torch
from torch import Tensor

from services.trainer.model.heads import HEADS, WINDOW, CompetitionHead, LinearHead, build_head
from signet.decoding import BLANK

UNITS, CLASSES, FRAMES = 8, 6, 40

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
def test_its_evidence_is_the_mean_of_its_branches(name: str) -> None:
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
    evidence = build_head(name, 3, UNITS, CLASSES).mean_logits(
        torch.zeros(3, 1, 1, UNITS), torch.ones(1, 1, dtype=torch.bool)
    )
    assert evidence[..., 1].item() == 0


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
