"""A published model can be asked again."""

import hashlib
from typing import Any

import numpy as np
import pytest
import torch

from services.trainer.config.train_config import TrainConfig
from services.trainer.model.build import WEIGHTS, build_ensemble, new_model, serialise_weights
from services.trainer.model.published import load_published_model
from signet import registry
from signet.errors import DataLoss, NotFound, NotReady
from signet.landmarks import SMOOTHING_SECONDS, to_model_input
from signet.registry import Metrics, ModelCard
from signet.store import DirectoryStore, keys
from tests.services.trainer.conftest import moving_clip

CONFIG = TrainConfig(hidden_dim=4)


def publish(store: DirectoryStore, data: bytes, smoothing_seconds: float = SMOOTHING_SECONDS, **settings: Any) -> None:
    metrics = Metrics(val_clips=0, val_correct=0, val_greedy_correct=0, blank_ratio=0.0, epoch=1)
    card = ModelCard(
        schema=registry.SCHEMA, name="m", version="v1", created="2026-01-01T00:00:00+00:00",
        run_id="r", dataset_name="d", dataset_version="1",
        vocabulary=("book", "who"), frame_rate=10.0, smoothing_seconds=smoothing_seconds, blank_penalty=1.0,
        parameters=1, config={**CONFIG.model_dump(), **settings}, metrics=metrics, onnx_difference=0.0,
        files={WEIGHTS: hashlib.sha256(data).hexdigest()},
    )  # fmt: skip
    registry.publish(store, card, {WEIGHTS: data})


@pytest.mark.parametrize("members", [1, 12])
def test_it_says_what_it_said(directory_store: DirectoryStore, members: int) -> None:
    model = build_ensemble([new_model(CONFIG, 2).eval() for _ in range(members)])
    publish(directory_store, serialise_weights(model))
    card, again = load_published_model(directory_store, "m", "latest")
    assert card.version == "v1"
    frames = torch.from_numpy(to_model_input(moving_clip("c", "who", "val", 1)))[None]
    lengths = torch.tensor([frames.shape[1]])
    with torch.no_grad():
        np.testing.assert_allclose(again(frames, lengths), model(frames, lengths), atol=1e-6)


def test_what_cannot_be_asked_is_told(directory_store: DirectoryStore) -> None:
    with pytest.raises(NotFound, match="signet models"):
        load_published_model(directory_store, "m", "latest")
    publish(directory_store, serialise_weights(new_model(TrainConfig(hidden_dim=5), 2)))
    with pytest.raises(NotReady, match="another version of Signet"):
        load_published_model(directory_store, "m", "v1")
    directory_store.put(keys.model("m", "v1", WEIGHTS), b"?")
    with pytest.raises(DataLoss, match="damaged"):
        load_published_model(directory_store, "m", "v1")


def test_a_model_that_was_taught_on_clips_sampled_otherwise_is_told(directory_store: DirectoryStore) -> None:
    publish(directory_store, serialise_weights(new_model(CONFIG, 2)), smoothing_seconds=0.0)
    with pytest.raises(NotReady, match="its landmarks were smoothed over 0 s instead of"):
        load_published_model(directory_store, "m", "v1")


def test_a_configuration_of_another_version_is_told(directory_store: DirectoryStore) -> None:
    publish(directory_store, serialise_weights(new_model(CONFIG, 2)), warp_factor=9)
    with pytest.raises(NotReady, match="another version of Signet"):
        load_published_model(directory_store, "m", "v1")
