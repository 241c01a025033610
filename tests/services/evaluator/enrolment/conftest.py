"""A published model to which signs can be added: each sign is an angle of the embedding, a place of the hand."""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from services.evaluator.enrolment.examples import ExampleClip
from services.evaluator.serving.loaded_model import LoadedModel
from services.evaluator.serving.stored_version import ONNX_FILE
from signet import landmarks, registry
from signet.datasets.snapshot import Dataset
from signet.landmarks import to_model_input
from signet.parity import PARITY_FILE, ParityVector, dump_parity
from signet.registry import ModelCard
from signet.sign_embeddings import EMBEDDINGS_FILE, SignEmbeddings, dump_embeddings
from tests.services.evaluator.conftest import (
    GLOSSES,
    LOGIT_SCALE,
    World,
    everyday_clips,
    make_clip,
    make_direction,
    make_embedding_graph,
    place_of,
)

# Between the places of "book" and "chair": it is no sign of the model.
NEW_PLACE = 0.5 + 0.5 / 6


def make_embeddings(places: Sequence[float]) -> SignEmbeddings:
    """The embeddings of signs at these places, with three vectors for each."""
    directions = np.array([make_direction(place) for place in places])
    near = [make_direction(place + shift) for place in places for shift in (-0.02, 0.0, 0.02)]
    return SignEmbeddings(directions, np.array(near), np.repeat(np.arange(len(places)), 3), LOGIT_SCALE)


def publish_open_model(world: World, snapshot: Dataset) -> ModelCard:
    """Publish a model to which signs can be added, with a parity vector."""
    places = [place_of(index, len(GLOSSES)) for index in range(len(GLOSSES))]
    graph = make_embedding_graph(places)
    frames = to_model_input(make_clip("parity", "", places[1]))
    answers = LoadedModel(world.card(snapshot, graph), graph, 1).log_probs([frames])
    files = {
        ONNX_FILE: graph,
        PARITY_FILE: dump_parity(ParityVector((frames,), tuple(answers), 1e-6)),
        EMBEDDINGS_FILE: dump_embeddings(make_embeddings(places)),
    }
    card = world.card(snapshot, graph, files={name: hashlib.sha256(data).hexdigest() for name, data in files.items()})
    registry.publish(world.store, card, files)
    return card


@pytest.fixture
def open_card(world: World) -> ModelCard:
    """A published model to which signs can be added."""
    return publish_open_model(world, world.snapshot(everyday_clips()))


@pytest.fixture
def example() -> Callable[..., ExampleClip]:
    """The maker of examples: a name, and where the hand is."""

    def make(name: str, place: float | None = NEW_PLACE) -> ExampleClip:
        return ExampleClip(name, landmarks.dump(make_clip(name, "", place, frames=60)))

    return make
