"""Expands sparse constants of TensorFlow Lite files."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class SparseLevel:
    """One level of the tree in which a sparse tensor is stored: dense with a size, or compressed.

    Node p of a compressed level has the children segments[p] to segments[p + 1] - 1, and child c stands at the
    position indices[c] of the dimension.
    """

    size: int = 0
    segments: Array | None = None
    indices: Array | None = None


def expand(
    values: Array, shape: Sequence[int], order: Sequence[int], blocks: Sequence[int], levels: Sequence[SparseLevel]
) -> Array:
    """Expand a sparse tensor.

    The format is that of Kjolstad et al. 2017 ("The Tensor Algebra Compiler") with blocks, as the schema of TensorFlow
    Lite describes it in `SparsityParameters`.

    Args:
        values: the stored values, in the order of the tree's leaves.
        shape: shape of the whole tensor.
        order: the dimension of each level. Numbers from len(shape) on are the dimensions inside a block.
        blocks: the tensor's dimension of each dimension inside a block.
        levels: the levels of the tree, from the root on.
    """
    sizes = [1] * len(shape)  # of a block, in each dimension
    for place, dimension in enumerate(blocks):
        sizes[dimension] = levels[order.index(len(shape) + place)].size
    nodes: Array = np.zeros(1, np.int64)
    positions: Array = np.zeros((len(shape), 1), np.int64)  # of each node, in the tensor
    for level, dimension in zip(levels, order, strict=True):
        if level.segments is None or level.indices is None:
            counts = np.full(len(nodes), level.size)
            index = np.tile(np.arange(level.size), len(nodes))
            children = np.repeat(nodes * level.size, counts) + index
        else:
            starts = level.segments[nodes].astype(np.int64)
            counts = level.segments[nodes + 1].astype(np.int64) - starts
            firsts = np.cumsum(counts) - counts
            children = np.repeat(starts - firsts, counts) + np.arange(counts.sum())
            index = level.indices[children].astype(np.int64)
        positions = np.repeat(positions, counts, axis=1)
        if dimension < len(shape):
            positions[dimension] += index * sizes[dimension]
        else:
            positions[blocks[dimension - len(shape)]] += index
        nodes = children
    whole: Array = np.zeros(shape, values.dtype)
    whole[tuple(positions)] = values[nodes]
    return whole
