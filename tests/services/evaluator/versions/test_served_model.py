"""The served model: which version is served, and what is logged."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry

from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.serving.loaded_model import LoadedModel
from services.evaluator.serving.pipeline import Pipeline
from services.evaluator.versions.model_memory import ModelMemory
from services.evaluator.versions.served_model import ServedModel
from services.local.seaweedfs import LocalStore
from signet import registry
from signet.datasets.snapshot import Dataset
from signet.errors import NotReady, Unavailable
from signet.registry import LATEST, ModelCard
from signet.store import DirectoryStore, ObjectStore, keys
from tests.model_keys import signing_keys

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
    served = ServedModel(memory_of(store, EvaluatorMetrics(metrics), clock), "signet", alias)
    served.refresh()
    return served, metrics


def memory_of(store: ObjectStore, metrics: EvaluatorMetrics, clock: Clock | None = None) -> ModelMemory:
    return ModelMemory(store, metrics, Pipeline(metrics, 1), clock=clock or Clock())


def failures(metrics: CollectorRegistry) -> float | None:
    return metrics.get_sample_value("signet_evaluator_model_load_failures_total")


def test_a_damaged_version_is_logged_once_and_served_after_it_was_restored(
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


def test_the_version_of_an_alias_that_is_deleted_is_served_on(
    world: "World", card: ModelCard, caplog: pytest.LogCaptureFixture
) -> None:
    served, metrics = serving(world.store)
    registry.delete_alias(world.store, card.name, LATEST, "by mistake")
    for _ in range(3):
        served.refresh()
    assert served.current().card.version == card.version
    assert caplog.text.count(f"Still serving signet/{card.version}") == 1
    assert "alias 'latest' of model 'signet' was deleted" in served.status().reason
    assert failures(metrics) == 0
    started_later, _ = serving(world.store)
    with pytest.raises(NotReady, match="no model to serve yet: alias 'latest' of model 'signet' was deleted"):
        started_later.current()
    registry.promote(world.store, card.name, card.version, LATEST)
    for each in (served, started_later):
        each.refresh()
        assert each.current().card.version == card.version
        assert not each.status().reason


def test_a_version_without_a_trusted_signature_is_refused_while_the_signed_one_serves_on(
    world: "World", snapshot: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publisher, other = signing_keys(tmp_path), signing_keys(tmp_path, "other")
    world.store.model_keys = publisher
    signed = world.publish(snapshot)
    evaluator = DirectoryStore(Path(world.store.url.removeprefix("file://")))
    evaluator.model_keys = replace(publisher, signing=None)
    served, metrics = serving(evaluator)
    for model_keys, reason in ((None, "is not signed"), (other, "it was signed with another key, or was changed")):
        world.store.model_keys = model_keys
        world.publish(snapshot)
        served.refresh()
        assert reason in caplog.text
        assert f"Still serving signet/{signed.version}" in caplog.text
    assert failures(metrics) == 2
    assert served.current().card.version == signed.version
    first, _ = serving(evaluator)
    with pytest.raises(NotReady, match="SIGNET_MODEL_TRUSTED_KEYS asks for signed models"):
        first.current()
    world.store.model_keys = publisher
    trusted = world.publish(snapshot)
    served.refresh()
    assert served.current().card.version == trusted.version


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


def test_only_the_glosses_of_the_served_version_have_a_prediction_counter(
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


def test_a_model_serves_on_while_the_store_is_unavailable(
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


class FailingStore(DirectoryStore):
    """A store that is away for keys that end in a given way."""

    def __init__(self, store: ObjectStore) -> None:
        super().__init__(store.root)  # type: ignore[attr-defined]
        self.away = ""
        self.error: Exception = Unavailable("the store is away")

    def get(self, key: str) -> bytes:
        if self.away and key.endswith(self.away):
            raise self.error
        return super().get(key)

    def get_head(self, key: str, length: int) -> bytes:
        if self.away and key.endswith(self.away):
            raise self.error
        return super().get_head(key, length)


def test_a_download_that_failed_is_repeated_at_the_next_refresh(
    world: "World", snapshot: Dataset, card: ModelCard, caplog: pytest.LogCaptureFixture
) -> None:
    store = FailingStore(world.store)
    served, metrics = serving(store)
    newer = world.publish(snapshot)
    store.away = "model.onnx"
    served.refresh()
    assert served.current().card.version == card.version
    assert failures(metrics) == 0, "the version is not at fault"
    assert f"cannot load signet/{newer.version}: the store is away Still serving" in caplog.text
    store.away = ""
    served.refresh()
    assert served.current().card.version == newer.version


def test_a_refused_version_is_tried_again_after_a_minute_and_another_version_at_once(
    world: "World", snapshot: Dataset, card: ModelCard
) -> None:
    clock = Clock()
    served, metrics = serving(world.store, clock=clock)
    damaged = world.publish(snapshot, files={"model.onnx": "0" * 64})
    for now, count in ((0.0, 1), (59.9, 1), (60.0, 2), (119.9, 2), (120.0, 3)):
        clock.now = now
        served.refresh()
        assert failures(metrics) == count
    # Served before it was refused: the alias may move to and fro without a wait.
    registry.move_alias(world.store, "signet", LATEST, card.version)
    served.refresh()
    registry.move_alias(world.store, "signet", LATEST, damaged.version)
    served.refresh()
    assert failures(metrics) == 4
    good = world.publish(snapshot)
    served.refresh()
    assert served.current().card.version == good.version


def test_a_store_without_a_model_or_with_a_damaged_alias_is_up(
    world: "World", snapshot: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        served, metrics = serving(world.store)
    assert metrics.get_sample_value("signet_evaluator_store_up") == 1
    assert [record.levelname for record in caplog.records] == ["INFO"]
    with pytest.raises(NotReady, match=r"no model to serve yet: .*signet train"):
        served.current()
    card = world.publish(snapshot)
    (alias,) = (info.key for info in world.store.list("models/") if "latest" in info.key)
    whole = world.store.get(alias)
    world.store.put(alias, b"\xff\xff")
    served.refresh()
    assert metrics.get_sample_value("signet_evaluator_store_up") == 1
    with pytest.raises(NotReady, match="cannot look for a newer model"):
        served.current()
    world.store.put(alias, whole)
    served.refresh()
    assert served.current().card.version == card.version


def test_a_model_runs_with_the_threads_that_it_is_given(world: "World", card: ModelCard) -> None:
    def options(model: Any) -> Any:
        return model._session.get_session_options()

    served, _ = serving(world.store)
    assert options(served.current()).intra_op_num_threads == 1
    loaded = options(LoadedModel.load(world.store, card.name, card.version, 3))
    assert loaded.intra_op_num_threads == 3
    assert loaded.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_a_card_of_another_version_is_refused_once_and_not_loaded_again_at_each_look(
    world: "World", card: ModelCard, caplog: pytest.LogCaptureFixture
) -> None:
    """A copied folder: before, the evaluator loaded it again at each look, because its version was never served."""
    metrics = EvaluatorMetrics(CollectorRegistry())
    served = ServedModel(memory_of(world.store, metrics), "signet", "latest")
    served.refresh()
    for file in ("model.json", "model.onnx"):
        world.store.put(keys.model("signet", "copy", file), world.store.get(keys.model("signet", card.version, file)))
    world.store.put(keys.alias("signet", "latest"), b'{"version": "copy"}')
    caplog.clear()
    for _ in range(5):
        served.refresh()
    assert served.current().card.version == card.version
    assert metrics.load_failures._value.get() == 1
    assert [record.getMessage() for record in caplog.records] == [caplog.records[0].getMessage()]
    assert "the card of another model or version" in caplog.text


def test_a_graph_that_is_refused_does_not_end_the_service(world: "World", snapshot: Dataset, card: ModelCard) -> None:
    metrics = EvaluatorMetrics(CollectorRegistry())
    served = ServedModel(memory_of(world.store, metrics), "signet", "latest")
    served.refresh()
    world.publish(snapshot, b"\x0a\xff")
    served.refresh()
    assert served.current().card.version == card.version


def test_a_version_whose_answers_differ_is_refused_with_the_reason_and_the_old_one_serves_on(
    world: "World", snapshot: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    good = world.publish_with_parity(snapshot)
    served, metrics = serving(world.store)
    bad = world.publish_with_parity(snapshot, error=0.5)
    served.refresh()
    assert served.current().card.version == good.version
    status = served.status()
    assert (status.version, status.refused_version) == (good.version, bad.version)
    assert "its answers to parity.safetensors differ" in status.reason
    assert metrics.get_sample_value("signet_evaluator_model_refusals_total", {"reason": "PARITY"}) == 1
    alias = {"name": "signet", "alias": "latest"}
    assert metrics.get_sample_value("signet_evaluator_alias_refused", alias) == 1
    assert metrics.get_sample_value("signet_evaluator_alias_info", {**alias, "version": good.version}) == 1
    assert f"Still serving signet/{good.version}" in caplog.text

    caplog.clear()
    with caplog.at_level(logging.INFO):
        older = world.publish(snapshot)
        served.refresh()
    assert served.current().card.version == older.version
    assert "it has no parity vector" in caplog.text
    assert served.status().reason == ""
    assert metrics.get_sample_value("signet_evaluator_alias_refused", alias) == 0
    served.close()
    assert metrics.get_sample_value("signet_evaluator_alias_refused", alias) is None
    assert metrics.get_sample_value("signet_evaluator_models_loaded") == 0


def test_a_version_without_a_trusted_signature_is_refused_and_a_signed_one_is_served(
    world: "World", snapshot: Dataset, tmp_path: Path
) -> None:
    world.store.model_keys = signing_keys(tmp_path)
    signed = world.publish(snapshot)
    served, metrics = serving(world.store)
    assert served.current().card.version == signed.version
    unsigned = world.publish(snapshot)
    world.store.delete(keys.model("signet", unsigned.version, "model.json.sig"))
    served.refresh()
    assert served.current().card.version == signed.version
    assert "is not signed" in served.status().reason
    assert metrics.get_sample_value("signet_evaluator_model_refusals_total", {"reason": "UNTRUSTED"}) == 1
    assert metrics.get_sample_value("signet_evaluator_alias_refused", {"name": "signet", "alias": "latest"}) == 1
