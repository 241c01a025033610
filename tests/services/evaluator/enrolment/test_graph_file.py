"""The sign directions of an ONNX file are read and replaced without the package `onnx`; all other bytes stay."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from services.evaluator.enrolment.graph_file import read_directions, replace_directions
from signet.errors import NotReady
from tests.services.evaluator.conftest import make_direction, make_embedding_graph


def test_the_package_onnx_reads_what_was_replaced_and_nothing_else_differs() -> None:
    graph = make_embedding_graph([0.5, 0.7])
    directions = np.array([make_direction(0.5 + 0.1 * sign) for sign in range(300)])
    replaced = replace_directions(graph, directions)
    np.testing.assert_array_equal(read_directions(replaced, "m/1"), directions)
    before, after = onnx.load_from_string(graph), onnx.load_from_string(replaced)
    (tensor,) = (one for one in after.graph.initializer if one.name == "sign_directions")
    np.testing.assert_array_equal(numpy_helper.to_array(tensor), directions)
    for model in (before, after):
        (tensor,) = (one for one in model.graph.initializer if one.name == "sign_directions")
        tensor.Clear()
    assert before == after


def test_the_same_directions_give_the_same_bytes() -> None:
    graph = make_embedding_graph([0.5, 0.7, 0.9])
    assert replace_directions(graph, read_directions(graph, "m/1")) == graph


def test_a_graph_without_directions_says_so(graph: bytes) -> None:
    with pytest.raises(NotReady, match="model m/1 compares frames with no sign directions"):
        read_directions(graph, "m/1")
