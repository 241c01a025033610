"""A run publishes its model once. A model that cannot be published yet is kept, and is published later."""

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import numpy_helper

from services.trainer.config.train_config import TrainConfig
from services.trainer.export import onnx as export
from services.trainer.runs.checkpoints import TakenOver
from services.trainer.runs.events import MemberEpoch, RunCallbacks
from services.trainer.runs.listing import find_latest_unfinished_run
from services.trainer.runs.progress import load_progress
from services.trainer.runs.publish import find_published_model
from services.trainer.runs.run import resume, run
from signet import registry
from signet.errors import NotFound, Unavailable
from signet.registry import LATEST, Metrics, ModelCard
from signet.store import DirectoryStore, keys
from tests.model_keys import signing_keys
from tests.services.trainer.conftest import Fill

RUN = "20261120T120000Z-aaaaaa"
CONFIG = TrainConfig(num_epochs=3, hidden_dim=4, batch_size=8)


def publish(store: DirectoryStore, version: str, run_id: str, alias: str = LATEST) -> None:
    card = ModelCard(
        schema=registry.SCHEMA, name="signet", version=version, created="2026-01-01T00:00:00+00:00",
        run_id=run_id, dataset_name="wlasl",
        dataset_version="v1", vocabulary=("book",), frame_rate=10.0, blank_penalty=0.0, parameters=1, config={},
        metrics=Metrics(val_clips=0, val_correct=0, val_greedy_correct=0, blank_ratio=0.0, epoch=1),
        onnx_difference=0.0, files={},
    )  # fmt: skip
    registry.publish(store, card, {}, alias)


def latest(store: DirectoryStore) -> str:
    return registry.resolve(store, "signet", LATEST)


def test_a_run_that_published_nothing_has_no_model(directory_store: DirectoryStore) -> None:
    assert find_published_model(directory_store, RUN, "signet") is None
    publish(directory_store, "20261120T130000Z-11111111", "20261120T125900Z-bbbbbb")
    assert find_published_model(directory_store, RUN, "signet") is None
    assert latest(directory_store) == "20261120T130000Z-11111111"


@pytest.mark.parametrize("seconds", ["00", "59"])
def test_the_model_of_a_run_is_found_among_those_of_other_runs(directory_store: DirectoryStore, seconds: str) -> None:
    """The shortest run publishes within the second in which it started."""
    mine = f"20261120T1200{seconds}Z-22222222"
    publish(directory_store, "20261120T110000Z-11111111", "20261120T105900Z-bbbbbb")
    publish(directory_store, mine, RUN)
    publish(directory_store, "20261120T130000Z-33333333", "20261120T125900Z-cccccc")
    found = find_published_model(directory_store, RUN, "signet")
    assert found is not None
    assert (found.version, found.run_id) == (mine, RUN)
    assert latest(directory_store) == "20261120T130000Z-33333333", "a newer model stays the latest"


def test_models_that_others_published_without_a_trusted_signature_are_skipped(
    directory_store: DirectoryStore, tmp_path: Path
) -> None:
    directory_store.model_keys = signing_keys(tmp_path)
    publish(directory_store, "20261120T120030Z-22222222", RUN)
    signed, directory_store.model_keys = directory_store.model_keys, None
    publish(directory_store, "20261120T130000Z-33333333", "20261120T125900Z-cccccc")
    directory_store.model_keys = signed
    found = find_published_model(directory_store, RUN, "signet")
    assert found is not None
    assert found.version == "20261120T120030Z-22222222"


def test_the_alias_moves_to_the_model_of_a_run_that_ended_before_it_moved_it(directory_store: DirectoryStore) -> None:
    publish(directory_store, "20261120T110000Z-11111111", "20261120T105900Z-bbbbbb")
    publish(directory_store, "20261120T120030Z-22222222", RUN, alias="elsewhere")
    assert latest(directory_store) == "20261120T110000Z-11111111"
    assert find_published_model(directory_store, RUN, "signet") is not None
    assert latest(directory_store) == "20261120T120030Z-22222222"
    (move,) = registry.aliases(directory_store, "signet").keys() - {"elsewhere"}
    assert move == LATEST


def test_damaged_cards_of_other_models_are_skipped(directory_store: DirectoryStore) -> None:
    publish(directory_store, "20261120T115959Z-11111111", "20261120T115900Z-bbbbbb")
    directory_store.put("models/signet/20261120T115959Z-11111111/model.json", b"damaged")
    assert find_published_model(directory_store, RUN, "signet") is None
    publish(directory_store, "20261120T110000Z-22222222", RUN)
    found = find_published_model(directory_store, RUN, "signet")
    assert found is not None
    assert found.run_id == RUN


@pytest.mark.parametrize("published", ["20201120T120030Z-22222222", "20301120T120030Z-22222222"])
def test_the_model_of_a_run_is_found_whatever_the_clocks_said(directory_store: DirectoryStore, published: str) -> None:
    """The machine that published had a clock years behind or ahead of the one that made the id of the run."""
    publish(directory_store, "20261120T110000Z-11111111", "20261120T105900Z-bbbbbb")
    publish(directory_store, published, RUN)
    publish(directory_store, "20261120T130000Z-33333333", "20261120T125900Z-cccccc")
    found = find_published_model(directory_store, RUN, "signet")
    assert found is not None
    assert found.version == published
    assert latest(directory_store) == "20261120T130000Z-33333333", "it was moved on, whatever the clocks said"


def test_the_alias_moves_to_a_model_that_it_never_named_although_a_clock_was_behind(
    directory_store: DirectoryStore,
) -> None:
    publish(directory_store, "20261120T110000Z-11111111", "20261120T105900Z-bbbbbb")
    publish(directory_store, "20201120T120030Z-22222222", RUN, alias="elsewhere")
    assert find_published_model(directory_store, RUN, "signet") is not None
    assert latest(directory_store) == "20201120T120030Z-22222222"


def test_a_publication_whose_answer_was_lost_is_not_repeated(
    directory_store: DirectoryStore, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store fails after the card was stored, and before the alias moved."""
    real, failures = registry.move_alias, [Unavailable("the store is away")]

    def fail_once(*arguments: Any, **named: Any) -> Any:
        if failures:
            raise failures.pop()
        return real(*arguments, **named)

    monkeypatch.setattr("signet.registry.publication.move_alias", fail_once)
    result = run(fill(directory_store), CONFIG, RUN, callbacks([]))
    assert registry.versions(directory_store, "signet") == [result.model_version]
    assert latest(directory_store) == result.model_version


def callbacks(epochs: list[MemberEpoch]) -> RunCallbacks:
    return RunCallbacks(lambda _: None, epochs.append, should_stop=lambda: False, should_abort=lambda: False)


def with_wrong_weight(to_onnx: Any, model: Any) -> bytes:
    graph = onnx.load_from_string(to_onnx(model))
    tensor = next(tensor for tensor in graph.graph.initializer if len(tensor.dims) == 3)
    wrong = numpy_helper.to_array(tensor).copy()
    wrong[0, 0] += 5.0
    tensor.CopyFrom(numpy_helper.from_array(wrong, tensor.name))
    data: bytes = graph.SerializeToString()
    return data


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_model_whose_export_is_wrong_is_published_later_without_training(
    directory_store: DirectoryStore, fill: Fill, monkeypatch: pytest.MonkeyPatch, seeds: int
) -> None:
    config = TrainConfig.model_validate(CONFIG.model_dump() | {"seeds": seeds})
    fill(directory_store)
    right, trained = export.to_onnx, list[MemberEpoch]()
    with monkeypatch.context() as patch:
        patch.setattr(export, "to_onnx", lambda model: with_wrong_weight(right, model))
        for attempt in (run, resume):
            epochs: list[MemberEpoch] = []
            with pytest.raises(export.ExportMismatch) as error:
                if attempt is run:
                    run(directory_store, config, RUN, callbacks(trained))
                else:
                    resume(directory_store, RUN, callbacks(epochs))
            assert "disagrees with torch on clip" in str(error.value) or "on the median clip" in str(error.value)
            assert f"`signet train --resume {RUN}` evaluates and publishes it without training again" in str(
                error.value
            )
            assert not epochs
    assert len(trained) == 3 * seeds
    weights = "weights.safetensors" if seeds == 1 else "members/0-1/weights.safetensors"
    assert directory_store.stat(keys.run(RUN, weights))
    progress = load_progress(directory_store, RUN)
    assert progress is not None
    assert "Nothing is published" in progress.failure
    with pytest.raises(NotFound):
        registry.resolve(directory_store, "signet", "latest")
    assert find_latest_unfinished_run(directory_store) == RUN

    epochs = []
    result = resume(directory_store, RUN, callbacks(epochs))
    assert (result.state, result.epochs, epochs) == ("succeeded", 3, [])
    card = registry.read_card(directory_store, "signet", registry.resolve(directory_store, "signet", "latest"))
    assert (card.version, card.run_id) == (result.model_version, RUN)


def test_the_card_tells_how_far_onnx_and_torch_differ(directory_store: DirectoryStore, fill: Fill) -> None:
    result = run(fill(directory_store), CONFIG, RUN, callbacks([]))
    card = registry.read_card(directory_store, "signet", result.model_version)
    assert card.onnx_clips == 6, "the val clips"
    assert card.onnx_median_difference is not None
    assert 0 < card.onnx_median_difference <= card.onnx_difference < 1e-5
    older = card.model_dump_json(by_alias=True, exclude={"onnx_clips", "onnx_median_difference"})
    assert registry.ModelCard.model_validate_json(older).onnx_median_difference is None
    assert card.vocabulary_score is None, "three glosses are too few for the published score"
    assert card.rejection_threshold is None


def test_a_run_that_another_process_resumed_during_the_export_publishes_nothing(
    directory_store: DirectoryStore, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_onnx = export.to_onnx

    def export_while_another_process_resumes(model: Any) -> bytes:
        progress = load_progress(directory_store, RUN)
        assert progress is not None
        owner = progress.owner.model_copy(update={"token": "another"})
        taken = progress.model_copy(update={"owner": owner}).model_dump_json(by_alias=True)
        directory_store.put(keys.run(RUN, "progress.json"), taken.encode())
        return to_onnx(model)

    monkeypatch.setattr(export, "to_onnx", export_while_another_process_resumes)
    with pytest.raises(TakenOver, match="was resumed by process"):
        run(fill(directory_store), CONFIG, RUN, callbacks([]))
    assert registry.versions(directory_store, "signet") == []
