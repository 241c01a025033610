"""Merged convolutions give the values of those that they were made from."""

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from services.extractor.tracking.networks.convolutions import (
    Convolution,
    Node,
    merge,
    merge_convolutions,
    pointwise,
)

Array = npt.NDArray[np.float64]


def apply(convolution: Convolution, values: Array) -> Array:
    """The convolution of values [channels, height, width], in plain loops."""
    top, left, bottom, right = convolution.pads
    padded = np.pad(values, ((0, 0), (top, bottom), (left, right)))
    weight = convolution.dense_weight()
    height, width = weight.shape[2:]
    down, across = convolution.strides
    rows = range(0, padded.shape[1] - height + 1, down)
    columns = range(0, padded.shape[2] - width + 1, across)
    pixels = [[np.tensordot(weight, padded[:, y : y + height, x : x + width], 3) for x in columns] for y in rows]
    result: Array = np.moveaxis(np.array(pixels), -1, 0) + convolution.bias[:, None, None]
    return result


def random_convolution(
    seed: int, outputs: int, inputs: int, size: int = 1, stride: int = 1, pad: int = 0, groups: int = 1
) -> Convolution:
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(outputs, inputs // groups, size, size)).astype(np.float32)
    return Convolution(weight, rng.normal(size=outputs).astype(np.float32), (stride,) * 2, (pad,) * 4, groups)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    channels=st.integers(1, 4),
    size=st.integers(1, 3),
    stride=st.integers(1, 2),
    pad=st.integers(0, 1),
    order=st.booleans(),
    depthwise=st.booleans(),
)
def test_a_merged_convolution_equals_both(
    seed: int, channels: int, size: int, stride: int, pad: int, order: bool, depthwise: bool
) -> None:
    groups = channels if depthwise else 1
    wide = random_convolution(seed, channels, channels, size, stride, pad)
    narrow = random_convolution(seed + 1, channels, channels, groups=groups)
    first, second = (wide, narrow) if order else (narrow, wide)
    both = merge(first, second)
    if both is None:
        assert depthwise or not second.is_pointwise
        return
    values = np.random.default_rng(seed).normal(size=(channels, 6, 5))
    np.testing.assert_allclose(apply(both, values), apply(second, apply(first, values)), rtol=1e-4, atol=1e-4)


def test_a_convolution_that_pads_is_not_merged_with_the_one_before() -> None:
    """The bias of the first one would be added outside the picture, too."""
    assert merge(random_convolution(0, 2, 2), random_convolution(1, 2, 2, size=3, pad=1)) is None


def test_a_merged_convolution_is_never_much_slower() -> None:
    wide, narrow = pointwise(np.ones((2, 64))), pointwise(np.ones((64, 2)))
    assert merge(wide, narrow) is None  # 4096 multiplications for each pixel instead of 256
    assert merge(narrow, wide) is not None


def test_values_that_others_read_are_not_merged_away() -> None:
    half = pointwise(np.eye(2) / 2)
    nodes = [
        Node("Conv", ("picture",), "a", {}, half),
        Node("Conv", ("a",), "b", {}, half),
        Node("Conv", ("b",), "c", {}, half),
        Node("Relu", ("b",), "d", {}),
        Node("Conv", ("d",), "e", {}, half),
    ]
    merged = merge_convolutions(nodes, ["c", "e"])
    assert [(node.kind, node.inputs, node.output) for node in merged] == [
        ("Conv", ("picture",), "b"),
        ("Conv", ("b",), "c"),
        ("Relu", ("b",), "d"),
        ("Conv", ("d",), "e"),
    ]
    assert merged[0].convolution is not None
    np.testing.assert_array_equal(merged[0].convolution.weight[:, :, 0, 0], np.eye(2) / 4)
    assert [node.output for node in merge_convolutions(nodes[:2], ["a", "b"])] == ["a", "b"]
