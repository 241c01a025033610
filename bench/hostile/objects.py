"""Attacks by objects of the store: stray objects and hostile models."""

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import onnx
from onnx import TensorProto, helper

from bench.hostile.attacker import Attack, Attacker
from bench.hostile.corpus import CORPUS, MODEL
from bench.hostile.messages import RECOGNIZE
from bench.hostile.system import REFRESH_SECONDS, AttackedSystem
from signet.errors import SignetError
from signet.registry import CARD, LATEST, aliases
from signet.rpc.health import is_serving
from signet.store import DirectoryStore, keys
from signet.v1 import evaluator_pb2

_GRAPH = "model.onnx"
_ALL = ("evaluator", "extractor", "trainer")
_COMMAND_SECONDS = 60
_HEALTH_SECONDS = 5.0
# A model is loaded or refused within this time: the evaluator gives its trial 20 s of CPU time.
_MODEL_SECONDS = 45.0
_NEWER = "29990101T0000{:02d}Z-00000000"  # sorts after all real versions

# Objects that do not belong where they are, by key.
_STRAYS = {
    "reports/a/b/report.json": b"{}",
    "reports/README": b"notes",
    "reports/damaged/report.json": b"{",
    "runs/README": b"notes",
    "runs/damaged/run.json": b"\xff\xfe",
    "runs/a/b/run.json": b"[]",
    f"landmarks/v1/{CORPUS}/README": b"notes",
    f"landmarks/v1/{CORPUS}/damaged.safetensors": b"\xff" * 100,
    f"landmarks/v1/{CORPUS}/deep.safetensors": (60_000).to_bytes(8, "little") + b"[" * 60_000,
    f"landmarks/v1/{CORPUS}/.hidden": b"",
    f"corpora/{CORPUS}/manifest.json": b'{"frames": 1e9}',
    f"models/{MODEL}/aliases/broken.json": b"{",
    f"models/{MODEL}/aliases/README": b"notes",
    f"models/{MODEL}/{_NEWER.format(99)}/model.json": b"{}",
    f"models/{MODEL}/notes/of/mine": b"notes",
    "models/README": b"notes",
    "README": b"notes",
}


def _stray_objects(attacker: Attacker) -> None:
    store = attacker.target.store
    for key, data in _STRAYS.items():
        store.put(key, data)
    for command in (
        ["models"],
        ["reports"],
        ["runs"],
        ["evaluate"],
        ["train", "--corpus", CORPUS, "--num-epochs", "1"],
    ):
        arguments = [sys.executable, "-m", "services.cli", *command, "--store", store.url]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False)
        attacker.count(f"signet {command[0]}: exit status {done.returncode}")
        if "Traceback" in done.stdout + done.stderr:
            attacker.count("INTERNAL")
    methods = ("Evaluation/ListReports", "Evaluation/RunEvaluation")
    attacker.flood("evaluator", [(f"/signet.v1.{method}", b"") for method in methods], at_once=1, most=4)
    attacker.flood("trainer", [("/signet.v1.Trainer/ListRuns", b"")], at_once=1, most=2)


def _restart(system: AttackedSystem) -> list[str]:
    """Restart the services while the objects are in the store; then delete these."""
    wrong = []
    for name in ("evaluator", "trainer"):
        system.stop([name])
        try:
            system.start([name])
        except SignetError as error:
            wrong.append(f"the {name} does not start again: {str(error).splitlines()[-1]}")
    if not is_serving(system.services["evaluator"].address, _HEALTH_SECONDS):
        wrong.append("the evaluator does not report SERVING after its restart")
    for key in _STRAYS:
        system.store.delete(key)
    system.start(["evaluator", "trainer"])
    return wrong


def _with_extra(graph: bytes, nodes: list[Any], initializers: list[Any]) -> bytes:
    """The graph with nodes whose scalar output "extra" is added to its answer."""
    model = onnx.load_from_string(graph)
    for node in model.graph.node:
        node.output[:] = ["own" if name == "log_probs" else name for name in node.output]
        node.input[:] = ["own" if name == "log_probs" else name for name in node.input]
    model.graph.node.extend([*nodes, helper.make_node("Add", ["own", "extra"], ["log_probs"])])
    model.graph.initializer.extend(initializers)
    return bytes(model.SerializeToString())


def _shape(name: str, *sizes: int) -> Any:
    return helper.make_tensor(name, TensorProto.INT64, [len(sizes)], sizes)


def _with_loop(graph: bytes) -> bytes:
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["goes"]), helper.make_node("Identity", ["x"], ["y"])],
        "body",
        [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("x", TensorProto.FLOAT, [])],
        [value("goes", TensorProto.BOOL, []), value("y", TensorProto.FLOAT, [])],
    )
    constants = [
        helper.make_tensor("times", TensorProto.INT64, [], [1 << 62]),
        helper.make_tensor("yes", TensorProto.BOOL, [], [True]),
        helper.make_tensor("start", TensorProto.FLOAT, [], [0.0]),
    ]
    return _with_extra(graph, [helper.make_node("Loop", ["times", "yes", "start"], ["extra"], body=body)], constants)


def _with_external_data(graph: bytes) -> bytes:
    tensor = TensorProto(name="extra", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "/etc/passwd"), ("offset", "0"), ("length", "4")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return _with_extra(graph, [], [tensor])


def _with_constant(*sizes: int) -> Callable[[bytes], bytes]:
    """A graph with a constant of these sizes, which is made when the graph is loaded."""
    nodes = [helper.make_node("ConstantOfShape", ["huge"], ["zeros"])]
    nodes += [helper.make_node("ReduceMax", ["zeros"], ["extra"], keepdims=0)]
    return lambda graph: _with_extra(graph, nodes, [_shape("huge", *sizes)])


def _with_work(graph: bytes) -> bytes:
    nodes = [helper.make_node("ConstantOfShape", ["size"], ["m0"])]
    nodes += [helper.make_node("MatMul", [f"m{n}", f"m{n}"], [f"m{n + 1}"]) for n in range(1000)]
    nodes += [helper.make_node("ReduceMax", ["m1000"], ["extra"], keepdims=0)]
    return _with_extra(graph, nodes, [_shape("size", 3000, 3000)])


def _hostile_models(card: dict[str, Any], graph: bytes) -> Iterator[tuple[str, dict[str, Any], bytes]]:
    """Name, changes of the card, and graph of each hostile model."""
    yield "Loop", {}, _with_loop(graph)
    yield "external data", {}, _with_external_data(graph)
    yield "constant of 8 GB", {}, _with_constant(1 << 31)(graph)
    yield "constant of 400 MB", {}, _with_constant(100 << 20)(graph)
    yield "constant of 100 MB", {}, _with_constant(25 << 20)(graph)
    yield "endless work", {}, _with_work(graph)
    yield "garbage", {}, b"\xff" * 1000
    yield "empty", {}, b""
    yield "beam width", {"beam_width": 10_000}, graph
    yield "blank penalty", {"blank_penalty": 1e308}, graph
    yield "vocabulary", {"vocabulary": ["x"] * 3}, graph
    yield "long glosses", {"vocabulary": [str(number) + "x" * 10_000_000 for number in range(3)]}, graph
    yield "control characters", {"vocabulary": ["a\nb", "\x1b[2J", "c"]}, graph
    yield "other version", {"version": "20000101T000000Z-00000000"}, graph
    yield "frame rate", {"frame_rate": 1e-300}, graph
    yield "smoothing", {"smoothing_seconds": 1e300}, graph
    yield "deep card", {"config": {"x": 1}}, graph


def _store_models(store: DirectoryStore, graph: bytes, card: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Store the hostile models one after the other; the name and version of each."""
    for number, (name, changes, data) in enumerate(_hostile_models(card, graph)):
        version = _NEWER.format(number)
        hostile = {**card, "version": version, "files": {_GRAPH: hashlib.sha256(data).hexdigest()}, **changes}
        text = json.dumps(hostile)
        if name == "deep card":
            text = text.replace('{"x": 1}', "[" * 100_000 + "]" * 100_000)
        store.put(keys.model(MODEL, version, _GRAPH), data)
        store.put(keys.model(MODEL, version, CARD), text.encode())
        yield name, version


def _hostile_models_served(attacker: Attacker) -> None:
    """Let the alias name one hostile model after the other, and look which model answers."""
    store = attacker.target.store
    good = aliases(store, MODEL)[LATEST]
    graph = store.get(keys.model(MODEL, good, _GRAPH))
    card = json.loads(store.get(keys.model(MODEL, good, CARD)))
    with attacker.channel("evaluator") as channel:
        for name, version in _store_models(store, graph, card):
            store.put(keys.alias(MODEL, LATEST), json.dumps({"version": version}).encode())
            attacker.count(f"{name}: {_wait_for_model(attacker, channel, version)}")
    store.put(keys.alias(MODEL, LATEST), json.dumps({"version": good}).encode())


def _wait_for_model(attacker: Attacker, channel: grpc.Channel, version: str) -> str:
    """What the evaluator does with a version: it serves it, or its log says that it does not."""
    request = evaluator_pb2.RecognizeRequest(landmarks=attacker.target.landmarks)
    end = time.monotonic() + _MODEL_SECONDS
    while time.monotonic() < end:
        time.sleep(REFRESH_SECONDS)
        answer = channel.unary_unary(RECOGNIZE)(request.SerializeToString(), timeout=_MODEL_SECONDS)
        if evaluator_pb2.RecognizeResponse.FromString(answer).model_version == version:
            return "served"
        if version in (attacker.target.folder / "logs/evaluator.log").read_text(errors="replace"):
            return "refused"
    return "neither"


def _delete_models(system: AttackedSystem) -> list[str]:
    """Delete the hostile models. The good one serves again."""
    for info in list(system.store.list(keys.models(MODEL))):
        if "/2999" in info.key:
            system.store.delete(info.key)
    return []


ATTACKS = {
    "stray-objects": Attack(
        "objects that do not belong where they are, while services run and start", _stray_objects, _ALL,
        ("Recognize", "ListRuns"), 5, check=_restart,
    ),
    "hostile-models": Attack(
        "the alias names models with loops, external data, gigabytes and absurd numbers", _hostile_models_served,
        seconds=60, check=_delete_models,
    ),
}  # fmt: skip
