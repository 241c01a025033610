"""A small store to evaluate: each sign is a place of the hand, and the graph recognises the places."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from services.evaluator.serving.loaded_model import LoadedModel
from services.evaluator.settings import EvaluatorSettings
from signet import landmarks, registry
from signet.datasets.snapshot import Dataset, assemble_snapshot, publish_snapshot, sample_clip
from signet.landmarks import (
    FRAME_RATE,
    JOINTS,
    LEFT_HAND,
    POSE,
    SMOOTHING_SECONDS,
    ClipRecord,
    Landmarks,
    to_model_input,
)
from signet.parity import PARITY_FILE, ParityVector, dump_parity
from signet.registry import Metrics, ModelCard
from signet.store import DirectoryStore, ObjectStore

GLOSSES = ("book", "chair", "drink", "go", "help", "who")

# How sharply the graph tells places apart.
SHARPNESS = 60.0
# What the graph answers beyond a clip's length. A reader that looks there will notice.
POISON = 777.0


def place_of(index: int, count: int) -> float:
    """Where the left hand is held for a gloss: its x."""
    return 0.5 + index / count


# A body 0.4 wide, whose arms hang.
_SHOULDERS_AND_WRISTS = [11, 12, 15, 16]
_AT_REST = [(0.7, 0.4), (0.3, 0.4), (0.75, 0.95), (0.25, 0.95)]


def make_clip(
    clip_id: str,
    gloss: str,
    place: float | None,
    *,
    split: str = "val",
    signer: str = "1",
    frames: int = 30,
    source: str = "",
) -> Landmarks:
    """A clip whose signer rests, holds the left hand at `place` (None: never), and rests. 30 frames a second."""
    noise = np.random.default_rng(int(hashlib.sha256(clip_id.encode()).hexdigest()[:8], 16))
    joints = np.full((frames, JOINTS, 3), np.nan, np.float16)
    joints[:, POSE] = 0.5 + 0.01 * noise.standard_normal((frames, 33, 3))
    presence = np.zeros((frames, 3), np.uint8)
    presence[:, 0] = 1
    if place is None:
        joints[:, _SHOULDERS_AND_WRISTS, :2] = _AT_REST
    else:
        signing = slice(frames // 3, max(frames // 3 + 1, 2 * frames // 3))
        held = joints[signing, LEFT_HAND]
        held[:] = place + 0.01 * noise.standard_normal(held.shape)
        presence[signing, 1] = 1
    return Landmarks(
        landmarks=joints,
        presence=presence,
        visibility=np.ones((frames, 33), np.float16),
        timestamps=(np.arange(frames) / 30).astype(np.float32),
        record=ClipRecord(
            clip_id=clip_id,
            corpus="made",
            gloss=gloss,
            split=split,
            signer=signer,
            fps=30,
            width=640,
            height=480,
            source_sha256=hashlib.sha256((source or clip_id).encode()).hexdigest(),
            frame_end=frames,
            extractor="made/1",
        ),
    )


def make_graph(places: Sequence[float], blank_bias: float = 6.0) -> bytes:
    """An ONNX graph of the published signature: class c where the left wrist is at places[c - 1], else blank.

    The logit of a place m is -k (x - m)², up to what all classes share: linear in x. An absent hand counts as x = 0,
    where the blank's bias wins; with a large bias it wins everywhere.
    """
    count = len(places)
    weights = np.zeros((JOINTS * 3, count + 1), np.float32)
    weights[LEFT_HAND.start * 3, 1:] = [2 * SHARPNESS * place for place in places]
    bias = np.array([blank_bias, *(-SHARPNESS * place**2 for place in places)], np.float32)

    def constant(name: str, value: object) -> onnx.TensorProto:
        return numpy_helper.from_array(np.asarray(value), name)

    node = helper.make_node
    graph = helper.make_graph(
        [
            node("IsNaN", ["landmarks"], ["absent"]),
            node("Where", ["absent", "zero", "landmarks"], ["filled"]),
            node("Reshape", ["filled", "flat_shape"], ["flat"]),
            node("MatMul", ["flat", "weights"], ["scores"]),
            node("Add", ["scores", "bias"], ["logits"]),
            node("LogSoftmax", ["logits"], ["honest"], axis=-1),
            node("Shape", ["landmarks"], ["t"], start=1, end=2),
            node("Squeeze", ["t"], ["t_scalar"]),
            node("Range", ["first", "t_scalar", "step"], ["instants"]),
            node("Unsqueeze", ["lengths", "one"], ["ends"]),
            node("Less", ["instants", "ends"], ["within"]),
            node("Unsqueeze", ["within", "two"], ["mask"]),
            node("Where", ["mask", "honest", "poison"], ["log_probs"]),
        ],
        "places",
        [
            helper.make_tensor_value_info("landmarks", TensorProto.FLOAT, ["B", "T", JOINTS, 3]),
            helper.make_tensor_value_info("lengths", TensorProto.INT64, ["B"]),
        ],
        [helper.make_tensor_value_info("log_probs", TensorProto.FLOAT, ["B", "T", count + 1])],
        [
            constant("zero", np.float32(0)),
            constant("flat_shape", np.array([0, 0, JOINTS * 3], np.int64)),
            constant("weights", weights),
            constant("bias", bias),
            constant("first", np.int64(0)),
            constant("step", np.int64(1)),
            constant("one", np.array([1], np.int64)),
            constant("two", np.array([2], np.int64)),
            constant("poison", np.float32(POISON)),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


# The logit of a cosine of 1 in `make_embedding_graph`: that of the trained models.
LOGIT_SCALE = 12.0


def make_direction(place: float, branches: int = 2) -> npt.NDArray[np.float32]:
    """The unit vectors [N, 2] of a place of the hand in `make_embedding_graph`: a place is an angle."""
    angle = 2 * np.pi * (place - 0.5)
    return np.tile(np.array([np.cos(angle), np.sin(angle)], np.float32), (branches, 1))


def make_embedding_graph(places: Sequence[float]) -> bytes:
    """An ONNX graph with embeddings and replaceable signs, as competition heads have.

    A frame with a left hand emits a sign with probability 0.9, one without with 0.001. The embedding of a frame is the
    unit vector of its place (`make_direction`), in two equal branches. The input `dominance` is added to the angle.
    """
    node = helper.make_node
    constants = {
        "axis2": np.array([2], np.int64), "axis1": np.array([1], np.int64), "joint": np.int64(LEFT_HAND.start),
        "coordinate": np.int64(0), "half": np.float32(0.5), "turn": np.float32(2 * np.pi), "zero": np.float32(0),
        "seen": np.log(np.array([0.1, 0.9], np.float32)), "unseen": np.log(np.array([0.999, 0.001], np.float32)),
        "rows": np.array([0, -1], np.int64), "scale": np.float32(LOGIT_SCALE / 2),
        "sign_directions": np.array([make_direction(place) for place in places]).reshape(-1, 2, 2),
        "dominance": np.zeros(1, np.float32),
    }  # fmt: skip
    nodes = [
        node("Gather", ["landmarks", "joint"], ["hand"], axis=2),
        node("Gather", ["hand", "coordinate"], ["x"], axis=2),
        node("IsNaN", ["x"], ["absent"]),
        node("Where", ["absent", "zero", "x"], ["place"]),
        node("Sub", ["place", "half"], ["shifted"]),
        node("Mul", ["shifted", "turn"], ["own_angle"]),
        node("Unsqueeze", ["dominance", "axis1"], ["added"]),
        node("Add", ["own_angle", "added"], ["angle"]),
        node("Unsqueeze", ["angle", "axis2"], ["column"]),
        node("Cos", ["column"], ["cos"]),
        node("Sin", ["column"], ["sin"]),
        node("Concat", ["cos", "sin", "cos", "sin"], ["embeddings"], axis=2),
        node("Reshape", ["sign_directions", "rows"], ["flat"]),
        node("Transpose", ["flat"], ["columns"], perm=[1, 0]),
        node("MatMul", ["embeddings", "columns"], ["cosines"]),
        node("Mul", ["cosines", "scale"], ["logits"]),
        node("LogSoftmax", ["logits"], ["signs"], axis=-1),
        node("Unsqueeze", ["absent", "axis2"], ["absent_column"]),
        node("Where", ["absent_column", "unseen", "seen"], ["timing"]),
        node("Split", ["timing"], ["blank", "emission"], axis=2, num_outputs=2),
        node("Add", ["signs", "emission"], ["emitted"]),
        node("Concat", ["blank", "emitted"], ["log_probs"], axis=2),
        node("Identity", ["lengths"], ["unused"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "places",
        [
            value("landmarks", TensorProto.FLOAT, ["B", "T", JOINTS, 3]),
            value("lengths", TensorProto.INT64, ["B"]),
            value("dominance", TensorProto.FLOAT, ["dominances"]),
        ],
        [
            value("log_probs", TensorProto.FLOAT, ["B", "T", "signs+1"]),
            value("embeddings", TensorProto.FLOAT, ["B", "T", 4]),
        ],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


class World:
    """A store in which things are published as the extractor and the trainer do."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.store: ObjectStore = DirectoryStore(root)
        self._published = 0

    def snapshot(self, clips: Sequence[Landmarks]) -> Dataset:
        """Publish a dataset snapshot."""
        sources = [sample_clip(clip, hashlib.sha256(landmarks.dump(clip)).hexdigest()) for clip in clips]
        made = assemble_snapshot("made", sources)
        publish_snapshot(self.store, made)
        return made

    def card(self, snapshot: Dataset, graph: bytes, **changes: object) -> ModelCard:
        """A card that goes with a snapshot and a graph; each is newer than the one before."""
        self._published += 1
        fields: dict[str, object] = {
            "name": "signet",
            "version": f"20260101T0000{self._published:02d}Z-{hashlib.sha256(graph).hexdigest()[:8]}",
            "created": "2026-01-01T00:00:00+00:00",
            "run_id": "run-1",
            "dataset_name": snapshot.manifest.name,
            "dataset_version": snapshot.manifest.version,
            "vocabulary": snapshot.manifest.vocabulary,
            "frame_rate": FRAME_RATE,
            "smoothing_seconds": SMOOTHING_SECONDS,
            "blank_penalty": 1.5,
            "parameters": 1234,
            "config": {},
            "metrics": Metrics(val_clips=10, val_correct=8, val_greedy_correct=7, blank_ratio=0.6, epoch=9),
            "onnx_difference": 1e-7,
            "files": {"model.onnx": hashlib.sha256(graph).hexdigest()},
        }
        return ModelCard.model_validate({**fields, **changes})

    def publish(self, snapshot: Dataset, graph: bytes | None = None, **changes: object) -> ModelCard:
        """Publish a model of a snapshot, and move `latest` to it."""
        vocabulary = snapshot.manifest.vocabulary
        graph = graph or make_graph([place_of(index, len(vocabulary)) for index in range(len(vocabulary))])
        card = self.card(snapshot, graph, **changes)
        registry.publish(self.store, card, {"model.onnx": graph})
        return card

    def publish_with_parity(
        self, snapshot: Dataset, error: float = 0.0, parity: bytes = b"", **changes: object
    ) -> ModelCard:
        """Publish a model whose parity vector differs from its answers by `error`, and move `latest` to it.

        `parity` replaces the vector.
        """
        vocabulary = snapshot.manifest.vocabulary
        graph = make_graph([place_of(index, len(vocabulary)) for index in range(len(vocabulary))])
        frames = to_model_input(make_clip("parity", "", place_of(1, len(vocabulary))))
        answers = LoadedModel(self.card(snapshot, graph), graph, 1).log_probs([frames])
        parity = parity or dump_parity(ParityVector((frames,), (answers[0] + np.float32(error),), 1e-6))
        files = {"model.onnx": graph, PARITY_FILE: parity}
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        card = self.card(snapshot, graph, **{"files": hashes, **changes})
        registry.publish(self.store, card, files)
        return card

    def everyday_clips(self, glosses: Sequence[str] = GLOSSES) -> list[Landmarks]:
        """Clips of other glosses than the usual ones."""
        return everyday_clips(glosses)

    def settings(self, **changes: object) -> EvaluatorSettings:
        """Settings of an evaluator on this store that looks for a new model ten times a second."""
        fields: dict[str, object] = {
            "store": self.store.url,
            "refresh_seconds": 0.1,
            "threads": 1,
            "compute_processes": 0,
            **changes,
        }
        return EvaluatorSettings(_cli_parse_args=False, **fields)  # type: ignore[arg-type]


def everyday_clips(glosses: Sequence[str] = GLOSSES) -> list[Landmarks]:
    """Two train and two val clips of each gloss. In val, one `chair` is signed where `go` is, one `who` not at all."""
    clips = []
    for index, gloss in enumerate(sorted(glosses)):
        place = place_of(index, len(glosses))
        for number in range(4):
            split = "train" if number < 2 else "val"
            clips.append(
                make_clip(
                    f"{index:03d}{number}",
                    gloss,
                    place,
                    split=split,
                    signer=f"signer{number % 3}",
                    frames=24 + 7 * number,
                )
            )
    where_go = place_of(sorted(glosses).index("go"), len(glosses))
    clips.append(make_clip("9001", "chair", where_go))
    clips.append(make_clip("9002", "who", None, signer="stranger"))
    return clips


@pytest.fixture(name="sign")
def _sign() -> Callable[..., Landmarks]:
    """The maker of clips, for tests that need one of their own."""
    return make_clip


@pytest.fixture
def world(tmp_path: Path) -> World:
    """An empty store."""
    return World(tmp_path / "store")


@pytest.fixture
def snapshot(world: World) -> Dataset:
    """The everyday clips, published."""
    return world.snapshot(everyday_clips())


@pytest.fixture
def card(world: World, snapshot: Dataset) -> ModelCard:
    """A model of the everyday clips, published as `latest`."""
    return world.publish(snapshot)


@pytest.fixture
def graph() -> bytes:
    """The graph that goes with the everyday clips."""
    return make_graph([place_of(index, len(GLOSSES)) for index in range(len(GLOSSES))])


@pytest.fixture
def embedding_graph() -> bytes:
    """The graph with embeddings and replaceable signs that goes with the everyday clips."""
    return make_embedding_graph([place_of(index, len(GLOSSES)) for index in range(len(GLOSSES))])


@pytest.fixture
def collapsed_graph() -> bytes:
    """The same, but its blank wins in every frame."""
    return make_graph([place_of(index, len(GLOSSES)) for index in range(len(GLOSSES))], blank_bias=400.0)
