"""A small model to publish, for the tests of the registry."""

import hashlib

from signet.registry import Alias, Metrics, ModelCard
from signet.store import ObjectStore, keys

FILES = {"model.onnx": b"onnx bytes", "model.safetensors": b"weights"}


def make_card(version: str = "v1", name: str = "signet") -> ModelCard:
    return ModelCard(
        name=name,
        version=version,
        created="2026-01-01T00:00:00+00:00",
        run_id="r1",
        dataset_name="wlasl",
        dataset_version="0123",
        vocabulary=("book", "drink"),
        frame_rate=15.0,
        blank_penalty=1.0,
        parameters=50_000,
        config={"lr": 0.01, "optimizer": "adamw"},
        metrics=Metrics(val_clips=37, val_correct=32, val_greedy_correct=30, blank_ratio=0.3, epoch=100),
        onnx_difference=1e-7,
        files={name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()},
    )


def stored_alias(store: ObjectStore, alias: str = "latest") -> Alias:
    return Alias.model_validate_json(store.get(keys.alias("signet", alias)))
