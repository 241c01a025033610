"""The model that a run published before its process ended is found, and is not published twice."""

import pytest

from services.trainer.runs.publish import find_published_model
from signet import registry
from signet.registry import LATEST, Metrics, ModelCard
from signet.store import DirectoryStore

RUN = "20261120T120000Z-aaaaaa"


def publish(store: DirectoryStore, version: str, run_id: str, alias: str = LATEST) -> None:
    card = ModelCard(
        schema=registry.SCHEMA, name="signet", version=version, created="", run_id=run_id, dataset_name="wlasl",
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


def test_the_alias_moves_to_the_model_of_a_run_that_ended_before_it_moved_it(directory_store: DirectoryStore) -> None:
    publish(directory_store, "20261120T110000Z-11111111", "20261120T105900Z-bbbbbb")
    publish(directory_store, "20261120T120030Z-22222222", RUN, alias="elsewhere")
    assert latest(directory_store) == "20261120T110000Z-11111111"
    assert find_published_model(directory_store, RUN, "signet") is not None
    assert latest(directory_store) == "20261120T120030Z-22222222"
    (move,) = registry.aliases(directory_store, "signet").keys() - {"elsewhere"}
    assert move == LATEST


def test_models_that_are_older_than_the_run_are_not_read(directory_store: DirectoryStore) -> None:
    publish(directory_store, "20261120T115959Z-11111111", "20261120T115900Z-bbbbbb")
    directory_store.put("models/signet/20261120T115959Z-11111111/model.json", b"damaged")
    assert find_published_model(directory_store, RUN, "signet") is None
