"""Log-softmax over a large vocabulary where each row needs only a few entries.

With thousands of signs, most of the training time would go into tensors of frames x signs of which nearly every entry
is unused. Here no such tensor exists as a whole: it is computed some rows at a time, and again in the backward pass.
"""

from typing import Any

import torch
from torch import Tensor

# Elements of a chunk: they fit the cache of a CPU core, or nearly.
_CHUNK_ELEMENTS = 1 << 21


def chunked_log_softmax(x: Tensor, directions: Tensor, wanted: Tensor, scale: float) -> Tensor:
    """Log-softmax of scaled cosines at some columns: scale · x·w_c - log Σ over v of exp(scale · x·w_v).

    Args:
        x: float32 [K, N, D], unit vectors. Products are at most `scale`, so no row maximum has to be found.
        directions: float32 [K, C, D], unit vectors w, multiplied with the x of the same K.
        wanted: int64 [K, N, S], the columns of each row.
        scale: at most 40, so that exp(-2 · scale) is a float32 above 0.

    Returns:
        float32 [K, N, S].
    """
    log_probs: Tensor = _ChunkedLogSoftmax.apply(x, directions, wanted, scale)  # type: ignore[no-untyped-call]
    return log_probs


class _ChunkedLogSoftmax(torch.autograd.Function):
    """The derivative is d/dz_v = [v = c] - softmax(z)_v."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, directions: Tensor, wanted: Tensor, scale: float) -> Tensor:
        values = x.new_empty(wanted.shape)
        totals = x.new_empty((*x.shape[:2], 1))
        scaled = scale * directions.mT
        # Autocast would compute these products in bf16, but those of the backward pass in float32.
        with torch.autocast(x.device.type, enabled=False):
            for rows in _row_chunks(x, directions):
                exponentials = _exponentials(x[:, rows], scaled, scale)
                totals[:, rows] = exponentials.sum(dim=2, keepdim=True)
                values[:, rows] = exponentials.gather(2, wanted[:, rows])
        ctx.save_for_backward(x, directions, wanted, totals)
        ctx.scale = scale
        return values.log_() - totals.log()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, directions, wanted, totals = ctx.saved_tensors
        scaled = ctx.scale * directions.mT
        factor = -grad.sum(dim=2, keepdim=True) / totals
        grad_x, grad_directions = torch.empty_like(x), torch.zeros_like(directions)
        for rows in _row_chunks(x, directions):
            grad_product = _exponentials(x[:, rows], scaled, ctx.scale).mul_(factor[:, rows])
            grad_product.scatter_add_(2, wanted[:, rows], grad[:, rows])
            grad_x[:, rows] = torch.bmm(grad_product, directions)
            grad_directions.baddbmm_(grad_product.mT, x[:, rows])
        return grad_x.mul_(ctx.scale), grad_directions.mul_(ctx.scale), None, None


def _exponentials(x: Tensor, scaled: Tensor, scale: float) -> Tensor:
    """exp(scale · x·w - scale) for every direction: [K, n, C], each between exp(-2 · scale) and 1."""
    return torch.bmm(x, scaled).sub_(scale).exp_()


def _row_chunks(x: Tensor, directions: Tensor) -> list[slice]:
    rows, columns = x.shape[1], len(x) * directions.shape[1]
    step = max(1, _CHUNK_ELEMENTS // columns)
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]
