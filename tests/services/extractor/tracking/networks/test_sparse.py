"""Sparse tensors are expanded to the values that they stand for."""

import numpy as np

from services.extractor.tracking.networks.sparse import SparseLevel, expand


def test_compressed_rows_are_expanded() -> None:
    rows = SparseLevel(size=3)
    columns = SparseLevel(segments=np.array([0, 2, 2, 3]), indices=np.array([0, 3, 1]))
    whole = expand(np.array([5.0, 6.0, 7.0]), (3, 4), (0, 1), (), [rows, columns])
    np.testing.assert_array_equal(whole, [[5, 0, 0, 6], [0, 0, 0, 0], [0, 7, 0, 0]])


def test_compressed_columns_are_expanded() -> None:
    columns = SparseLevel(size=2)
    rows = SparseLevel(segments=np.array([0, 1, 3]), indices=np.array([2, 0, 1]))
    whole = expand(np.array([1.0, 2.0, 3.0]), (3, 2), (1, 0), (), [columns, rows])
    np.testing.assert_array_equal(whole, [[0, 2], [0, 3], [1, 0]])


def test_blocks_are_expanded() -> None:
    """A 4 x 2 tensor of blocks of 2 x 1, of which two are stored."""
    levels = [
        SparseLevel(size=2),
        SparseLevel(segments=np.array([0, 1, 2]), indices=np.array([1, 0])),
        SparseLevel(size=2),
    ]
    whole = expand(np.array([1.0, 2.0, 3.0, 4.0]), (4, 2), (0, 1, 2), (0,), levels)
    np.testing.assert_array_equal(whole, [[0, 1], [0, 2], [3, 0], [4, 0]])
