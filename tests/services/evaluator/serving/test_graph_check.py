"""Stored graphs that read files, use all memory or never end are refused, and the evaluator stays as it was."""

import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper

from services.evaluator.serving import loaded_model
from services.evaluator.serving.graph_check import find_forbidden_part, try_model
from services.evaluator.serving.loaded_model import LoadedModel
from signet.datasets.snapshot import Dataset
from signet.errors import DataLoss, SignetError

if TYPE_CHECKING:
    from tests.services.evaluator.conftest import World


def _with_extra(graph: bytes, nodes: list[onnx.NodeProto], initializers: list[TensorProto] | None = None) -> bytes:
    """The graph with nodes whose scalar output "extra" is added to its answer."""
    model = onnx.load_from_string(graph)
    for node in model.graph.node:
        if node.output[0] == "log_probs":
            node.output[0] = "own"
    model.graph.node.extend([*nodes, helper.make_node("Add", ["own", "extra"], ["log_probs"])])
    model.graph.initializer.extend(initializers or [])
    return bytes(model.SerializeToString())


def _shape(name: str, *sizes: int) -> TensorProto:
    return helper.make_tensor(name, TensorProto.INT64, [len(sizes)], sizes)


def _external(location: str) -> TensorProto:
    tensor = TensorProto(name="secret", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "4")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return tensor


@pytest.mark.parametrize("where", ["initializer", "attribute", "sparse"])
@pytest.mark.parametrize("kind", ["name", "absolute"])
def test_a_graph_cannot_read_a_file_of_the_evaluator(
    world: "World", snapshot: Dataset, graph: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    where: str, kind: str,
) -> None:  # fmt: skip
    (tmp_path / "secret.bin").write_bytes(np.zeros(1, np.float32).tobytes())
    monkeypatch.chdir(tmp_path)
    tensor = _external("secret.bin" if kind == "name" else str(tmp_path / "secret.bin"))
    identity = helper.make_node("Identity", ["secret"], ["extra"])
    if where == "initializer":
        hostile = _with_extra(graph, [identity], [tensor])
    elif where == "attribute":
        hostile = _with_extra(graph, [helper.make_node("Constant", [], ["secret"], value=tensor), identity])
    else:
        model = onnx.load_from_string(_with_extra(graph, [identity]))
        sparse = model.graph.sparse_initializer.add()
        sparse.values.CopyFrom(tensor)
        hostile = model.SerializeToString()
    card = world.publish(snapshot, hostile)
    with pytest.raises(DataLoss, match="a tensor in another file"):
        LoadedModel.load(world.store, card.name, card.version, threads=1)
    # ONNX Runtime itself has no folder to read from, if the search should overlook a tensor.
    monkeypatch.setattr(loaded_model, "find_forbidden_part", lambda _: "")
    with pytest.raises(DataLoss, match="onnxruntime can load"):
        LoadedModel(card, hostile, threads=1)


@pytest.mark.parametrize("operator", ["Loop", "If", "Scan"])
def test_a_graph_that_may_never_end_is_refused(world: "World", snapshot: Dataset, graph: bytes, operator: str) -> None:
    body = helper.make_graph([], "body", [], [])
    field = {"If": "then_branch"}.get(operator, "body")
    hostile = _with_extra(graph, [helper.make_node(operator, ["", ""], ["extra"], **{field: body})])
    with pytest.raises(DataLoss, match=f"the operator {operator}"):
        LoadedModel(world.card(snapshot, hostile), hostile, threads=1)


def test_a_graph_with_functions_or_foreign_operators_is_refused(graph: bytes) -> None:
    assert find_forbidden_part(graph) == ""
    foreign = _with_extra(graph, [helper.make_node("Abs", ["x"], ["extra"], domain="com.microsoft")])
    assert "ONNX standard" in find_forbidden_part(foreign)
    model = onnx.load_from_string(graph)
    model.functions.append(helper.make_function("own", "F", [], [], [], [helper.make_opsetid("", 17)]))
    assert "functions" in find_forbidden_part(model.SerializeToString())


@pytest.mark.parametrize("damaged", [b"\xff" * 20, b"\x3a\xff\xff\xff\xff\x0f", b"\x00\x00\x00\x00ORTM", b"\x0b"])
def test_bytes_that_are_not_onnx_are_a_value_error(damaged: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        find_forbidden_part(damaged)


@pytest.mark.parametrize("numbers", [1 << 31, 100_000_000], ids=["8 GB", "400 MB"])
def test_a_graph_with_a_huge_constant_does_not_reach_the_evaluator(
    world: "World", snapshot: Dataset, graph: bytes, numbers: int
) -> None:
    """The file has a few hundred bytes more: its constant is made when the graph is loaded."""
    hostile = _with_extra(
        graph,
        [
            helper.make_node("ConstantOfShape", ["huge"], ["zeros"]),
            helper.make_node("ReduceMax", ["zeros"], ["extra"], keepdims=0),
        ],
        [_shape("huge", numbers)],
    )
    card = world.publish(snapshot, hostile)
    before, processes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, set(psutil.Process().children())
    with pytest.raises(DataLoss):
        LoadedModel.load(world.store, card.name, card.version, threads=1)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "in KiB"
    assert set(psutil.Process().children()) <= processes


@pytest.mark.parametrize("side", [3000, 1000], ids=["much work", "much memory"])
def test_a_graph_that_computes_for_minutes_is_refused_at_a_limit(
    world: "World", snapshot: Dataset, graph: bytes, side: int
) -> None:
    """ONNX Runtime computes the constants while it loads. The speed of the machine decides which limit comes first."""
    nodes = [helper.make_node("ConstantOfShape", ["size"], ["m0"])]
    nodes += [helper.make_node("MatMul", [f"m{n}", f"m{n}"], [f"m{n + 1}"]) for n in range(1000)]
    nodes += [helper.make_node("ReduceMax", ["m1000"], ["extra"], keepdims=0)]
    hostile = _with_extra(graph, nodes, [_shape("size", side, side)])
    started = time.monotonic()
    with pytest.raises(DataLoss, match="needs more than"):
        try_model(world.card(snapshot, hostile), hostile, cpu_seconds=5)
    assert time.monotonic() - started < 60


def test_a_run_that_does_not_end_is_ended_by_its_watchdog(
    world: "World", snapshot: Dataset, graph: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The work depends on the landmarks, so the trial does not see it."""
    nodes = [
        helper.make_node("ReduceMax", ["filled"], ["top"], keepdims=0),
        helper.make_node("Expand", ["top", "size"], ["m0"]),
        *(helper.make_node("MatMul", [f"m{n}", f"m{n}"], [f"m{n + 1}"]) for n in range(300)),
        helper.make_node("ReduceMax", ["m300"], ["last"], keepdims=0),
        helper.make_node("Mul", ["last", "zero"], ["extra"]),
    ]
    hostile = _with_extra(graph, nodes, [_shape("size", 1500, 1500)])
    monkeypatch.setattr(loaded_model, "_RUN_SECONDS", 0.5)
    started = time.monotonic()
    with pytest.raises(SignetError, match="the graph failed"):
        LoadedModel(world.card(snapshot, hostile), hostile, threads=1)
    assert time.monotonic() - started < 20
