"""A few entries of a large softmax: the same numbers and gradients as from the whole of it."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from services.trainer.model import chunked_softmax
from services.trainer.model.chunked_softmax import chunked_log_softmax

SCALE = 12.0


def plainly(x: Tensor, directions: Tensor, wanted: Tensor) -> Tensor:
    return torch.log_softmax(SCALE * x @ directions.mT, dim=2).gather(2, wanted)


# Chunks of 1, 1, 2, 11, 22 and 23 of the 23 rows, of 60 numbers each, and all at once.
@pytest.mark.parametrize("at_a_time", [1, 70, 120, 660, 1379, 1380, 1 << 21])
def test_values_and_gradients_are_those_of_log_softmax(at_a_time: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked_softmax, "_CHUNK_ELEMENTS", at_a_time)
    torch.manual_seed(0)
    x, directions = (F.normalize(torch.randn(2, *shape), dim=2).requires_grad_() for shape in ((23, 5), (30, 5)))
    wanted = torch.randint(0, 30, (23, 3)).expand(2, -1, -1).clone()
    wanted[0, 0] = 7  # the same one thrice counts thrice
    weight = torch.randn(2, 23, 3)
    values = (chunked_log_softmax(x, directions, wanted, SCALE), plainly(x, directions, wanted))
    results = [(value, *torch.autograd.grad((value * weight).sum(), (x, directions))) for value in values]
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-4)


def test_what_is_as_unlike_as_can_be_has_a_finite_share() -> None:
    x = torch.tensor([[[1.0, 0.0]]], requires_grad=True)
    directions = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]], requires_grad=True)
    share = chunked_log_softmax(x, directions, torch.tensor([[[1]]]), SCALE)
    assert share.item() == pytest.approx(-2 * SCALE, abs=1e-3)
    share.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_autocast_leaves_them_in_float32() -> None:
    torch.manual_seed(0)
    x, directions = (F.normalize(torch.randn(1, *shape), dim=2) for shape in ((9, 16), (30, 16)))
    wanted = torch.randint(0, 30, (1, 9, 3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        shares = chunked_log_softmax(x, directions, wanted, SCALE)
    torch.testing.assert_close(shares, plainly(x, directions, wanted))


def test_no_rows_have_no_shares() -> None:
    x = torch.zeros(1, 0, 2, requires_grad=True)
    shares = chunked_log_softmax(x, torch.eye(2)[None], torch.zeros(1, 0, 3, dtype=torch.long), SCALE)
    assert shares.shape == (1, 0, 3)
