"""A softmax over a large vocabulary of which only few entries of each row are wanted.

With thousands of signs, most of a training's time would go into tensors of frames times signs that are written, read a
dozen times, and never looked at but in a few places. Here no such tensor is ever whole: it is made some rows at a time,
and made again for the gradient.
"""

from typing import Any

import torch
from torch import Tensor

# Numbers of frames times signs that are there at a time: they stay in a core's cache, or nearly.
_AT_A_TIME = 1 << 21


def chunked_log_softmax(x: Tensor, directions: Tensor, wanted: Tensor, scale: float) -> Tensor:
    """Log-softmax of scaled cosines, at some columns: scale · x·w_c - log Σ over v of exp(scale · x·w_v).

    Args:
        x: float32 [K, N, D], unit vectors. No product then exceeds the scale, and no maximum need be looked for.
        directions: float32 [K, C, D], unit vectors w, compared with the x of the same K.
        wanted: int64 [K, N, S], which columns of each row.
        scale: at most 40, so that float32 holds exp(-2 · scale).

    Returns:
        float32 [K, N, S].
    """
    shares: Tensor = _LogShares.apply(x, directions, wanted, scale)  # type: ignore[no-untyped-call]
    return shares


class _LogShares(torch.autograd.Function):
    """Value and derivative, both in closed form: d/dz_v is [v = c] - softmax(z)_v."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, directions: Tensor, wanted: Tensor, scale: float) -> Tensor:
        values = x.new_empty(wanted.shape)
        totals = x.new_empty((*x.shape[:2], 1))
        scaled = scale * directions.mT
        # Autocast would compute the products in half of the digits, and the derivative, where it is off, in all.
        with torch.autocast(x.device.type, enabled=False):
            for rows in _some_rows(x, directions):
                weights = _weights(x[:, rows], scaled, scale)
                totals[:, rows] = weights.sum(dim=2, keepdim=True)
                values[:, rows] = weights.gather(2, wanted[:, rows])
        ctx.save_for_backward(x, directions, wanted, totals)
        ctx.scale = scale
        return values.log_() - totals.log()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, directions, wanted, totals = ctx.saved_tensors
        scaled = ctx.scale * directions.mT
        share = -outer.sum(dim=2, keepdim=True) / totals
        of_x, of_directions = torch.empty_like(x), torch.zeros_like(directions)
        for rows in _some_rows(x, directions):
            of_product = _weights(x[:, rows], scaled, ctx.scale).mul_(share[:, rows])
            of_product.scatter_add_(2, wanted[:, rows], outer[:, rows])
            of_x[:, rows] = torch.bmm(of_product, directions)
            of_directions.baddbmm_(of_product.mT, x[:, rows])
        return of_x.mul_(ctx.scale), of_directions.mul_(ctx.scale), None, None


def _weights(x: Tensor, scaled: Tensor, scale: float) -> Tensor:
    """exp(scale · x·w - scale) for every direction: [K, n, C], each between exp(-2 · scale) and 1."""
    return torch.bmm(x, scaled).sub_(scale).exp_()


def _some_rows(x: Tensor, directions: Tensor) -> list[slice]:
    rows, columns = x.shape[1], len(x) * directions.shape[1]
    step = max(1, _AT_A_TIME // columns)
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]
