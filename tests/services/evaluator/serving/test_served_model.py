"""Following an alias: what takes over, what is kept, and what is said."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.serving.served_model import ServedModel
from services.local.seaweedfs import LocalStore
from signet import registry
from signet.datasets.snapshot import Dataset
from signet.errors import NotReady
from signet.registry import LATEST, ModelCard
from signet.store import ObjectStore, keys

if TYPE_CHECKING:
    from tests.services.evaluator.conftest import World


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def serving(
    store: ObjectStore, alias: str = LATEST, clock: Clock | None = None
) -> tuple[ServedModel, CollectorRegistry]:
    metrics = CollectorRegistry()
    served = ServedModel(store, "signet", alias, EvaluatorMetrics(metrics), threads=1, clock=clock or Clock())
    served.refresh()
    return served, metrics


def failures(metrics: CollectorRegistry) -> float | None:
    return metrics.get_sample_value("signet_evaluator_model_load_failures_total")


def test_a_damaged_version_is_logged_once_and_taken_when_it_has_been_restored(
    world: "World", snapshot: Dataset, card: ModelCard, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    served, metrics = serving(world.store, clock=clock)
    newer = world.publish(snapshot, blank_penalty=0.0)
    key = keys.model(newer.name, newer.version, "model.onnx")
    whole = world.store.get(key)
    world.store.put(key, whole[:-1])
    caplog.clear()

    with caplog.at_level(logging.INFO):
        for _ in range(5):
            served.refresh()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "is damaged" in caplog.text
    assert f"Still serving signet/{card.version}" in caplog.text
    assert failures(metrics) == 1
    assert served.current().card.version == card.version

    world.store.put(key, whole)
    served.refresh()
    assert served.current().card.version == card.version, "a look at a refused version costs a download"
    clock.now += 61
    served.refresh()
    assert served.current().card.version == newer.version


def test_moving_the_alias_back_serves_the_older_version_again(
    world: "World", snapshot: Dataset, card: ModelCard
) -> None:
    newer = world.publish(snapshot)
    served, metrics = serving(world.store)
    assert served.current().card.version == newer.version
    registry.move_alias(world.store, "signet", LATEST, card.version)
    served.refresh()
    assert served.current().card.version == card.version
    info = {"name": "signet", "version": newer.version}
    assert metrics.get_sample_value("signet_evaluator_model_info", info) is None
    assert metrics.get_sample_value("signet_evaluator_model_info", {**info, "version": card.version}) == 1


def test_a_version_instead_of_an_alias_never_moves(world: "World", snapshot: Dataset, card: ModelCard) -> None:
    served, _ = serving(world.store, alias=card.version)
    world.publish(snapshot)
    served.refresh()
    assert served.current().card.version == card.version


def test_a_first_version_that_is_damaged_is_named_to_every_caller(world: "World", snapshot: Dataset) -> None:
    world.publish(snapshot, frame_rate=25.0)
    served, metrics = serving(world.store)
    with pytest.raises(NotReady, match="sampled at 25 frames a second"):
        served.current()
    assert failures(metrics) == 1
    world.publish(snapshot)
    served.refresh()
    assert served.current()


def test_predictions_of_a_vocabulary_that_is_gone_are_no_longer_shown(
    world: "World", snapshot: Dataset, card: ModelCard
) -> None:
    served, metrics = serving(world.store)
    assert metrics.get_sample_value("signet_evaluator_predictions_total", {"gloss": "book"}) == 0
    glosses = ("chair", "go", "tea", "who")
    world.publish(world.snapshot(world.everyday_clips(glosses)))
    served.refresh()
    assert served.current().vocabulary == glosses
    shown = {
        sample.labels["gloss"]
        for family in metrics.collect()
        for sample in family.samples
        if sample.name == "signet_evaluator_predictions_total"
    }
    assert shown == set(glosses)


def test_a_store_that_is_lost_takes_no_model_with_it(
    world: "World", snapshot: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with LocalStore(tmp_path / "s3") as server:
        world.store = server.open()
        card = world.publish(snapshot)
        served, metrics = serving(world.store)
        assert metrics.get_sample_value("signet_evaluator_store_up") == 1
    for _ in range(2):
        served.refresh()
    assert metrics.get_sample_value("signet_evaluator_store_up") == 0
    assert served.current().card.version == card.version
    assert failures(metrics) == 0
    said = [record.message for record in caplog.records if "cannot look for a newer model" in record.message]
    assert len(said) == 1
    assert "the store cannot be reached" in said[0]
