"""What each head promises: probabilities that add up, one emission in a window, deafness to what is not the clip."""

import pytest
import torch
from torch import Tensor

from services.trainer.heads import HEADS, WINDOW, CompetitionHead, LinearHead, head_of
from signet.decoding import BLANK

UNITS, CLASSES, FRAMES = 8, 6, 40


@pytest.fixture(params=list(HEADS))
def head(request: pytest.FixtureRequest) -> LinearHead | CompetitionHead:
    torch.manual_seed(0)
    return head_of(request.param, UNITS, CLASSES)


def whole(x: Tensor) -> Tensor:
    return torch.ones(x.shape[:2], dtype=torch.bool)


def test_probabilities_add_up_however_far_the_head_is_driven(head: LinearHead | CompetitionHead) -> None:
    for scale in (0.1, 1.0, 100.0):
        x = scale * torch.randn(3, FRAMES, UNITS)
        log_probs = head(x, whole(x))
        assert torch.isfinite(log_probs).all()
        torch.testing.assert_close(log_probs.exp().sum(dim=-1), torch.ones(3, FRAMES), atol=1e-4, rtol=0)


def test_gradients_are_finite_however_far_it_is_driven(head: LinearHead | CompetitionHead) -> None:
    for scale in (0.1, 1.0, 100.0):
        x = (scale * torch.randn(2, FRAMES, UNITS)).requires_grad_()
        loss = torch.nn.functional.ctc_loss(
            head(x, whole(x)).transpose(0, 1), torch.tensor([[1], [3]]), torch.full((2,), FRAMES), torch.ones(2).long()
        )
        loss.backward()  # type: ignore[no-untyped-call]
        assert x.grad is not None
        assert torch.isfinite(x.grad).all()


def test_what_lies_beyond_the_clip_does_not_compete(head: LinearHead | CompetitionHead) -> None:
    x = torch.randn(1, FRAMES, UNITS)
    other = x.clone()
    other[:, 25:] = 100 * torch.randn(1, FRAMES - 25, UNITS)
    inside = torch.arange(FRAMES)[None, :] < 25
    torch.testing.assert_close(head(x, inside)[:, :25], head(other, inside)[:, :25])


@pytest.mark.parametrize("sign_dim", [0, 3])
@pytest.mark.parametrize("name", HEADS)
def test_of_some_signs_it_says_what_it_says_of_all(name: str, sign_dim: int) -> None:
    torch.manual_seed(0)
    head = head_of(name, UNITS, CLASSES, sign_dim)
    x = torch.randn(3, FRAMES, UNITS)
    inside = torch.arange(FRAMES)[None, :] < torch.tensor([FRAMES, 25, 7])[:, None]
    signs = torch.tensor([[2, 5, 2], [1, 0, 0], [4, 3, 0]])
    everything = head(x, inside)
    log_probs, given = head.of_signs(x, inside, signs)
    asked = signs.clamp(min=1)[:, None].expand(-1, FRAMES, -1)
    alone = everything[..., 1:].log_softmax(dim=-1)
    torch.testing.assert_close(log_probs[..., 0][inside], everything[..., BLANK][inside])
    torch.testing.assert_close(log_probs[..., 1:][inside], everything.gather(2, asked)[inside], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(given[inside], alone.gather(2, asked - 1)[inside], atol=1e-5, rtol=1e-5)


def test_a_penalty_makes_the_blank_less_likely(head: LinearHead | CompetitionHead) -> None:
    x = torch.randn(1, FRAMES, UNITS)
    before = head(x, whole(x))[..., BLANK].mean()
    head.penalise_blank(2.0)
    assert head(x, whole(x))[..., BLANK].mean() < before


@pytest.mark.parametrize("name", ["competition", "attention"])
def test_of_the_frames_of_a_window_about_one_emits_and_the_sharper_the_fewer(name: str) -> None:
    torch.manual_seed(1)
    head = head_of(name, UNITS, CLASSES)
    assert isinstance(head, CompetitionHead)
    # A smooth bump, as an LSTM makes them, and nothing else.
    steps = torch.arange(FRAMES)
    x = torch.zeros(1, FRAMES, UNITS)
    x[0, :, 0] = torch.exp(-(((steps - 20) / 6.0) ** 2))
    with torch.no_grad():
        head.timing.weight.zero_()
        head.timing.weight[0, 0] = 4.0
        head.timing.bias[1] = 20.0
        emitted = {}
        for sharpness in (1.0, 4.0, 32.0):
            head.sharpness.fill_(sharpness)
            emits = 1 - head(x, whole(x))[0, :, BLANK].exp()
            emitted[sharpness] = emits
            assert emits.argmax() == 20
    near = {sharpness: emits[20 - WINDOW : 21 + WINDOW] for sharpness, emits in emitted.items()}
    assert (near[32.0] > 0.5).sum() == 1, "the highest frame wins"
    assert near[32.0].max() > 0.9
    assert near[1.0].max() < near[4.0].max() < near[32.0].max()
    assert all(0.5 < values.sum() < 2.5 for values in near.values()), "about one is expected, sharp or not"
