"""The memory of models: what is loaded, what is unloaded, and when."""

import gc
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry

from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.serving.loaded_model import LoadedModel
from services.evaluator.serving.pipeline import Pipeline
from services.evaluator.versions.model_memory import ModelMemory, VersionInMemory
from signet.datasets.snapshot import Dataset
from signet.errors import Busy, NotFound, NotReady
from signet.registry import ModelCard

if TYPE_CHECKING:
    from tests.services.evaluator.conftest import World

MIB = 1 << 20


class Clock:
    """Each look at it is a second later."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def memory_of(world: "World", **limits: int) -> tuple[ModelMemory, Callable[..., float | None]]:
    collected = CollectorRegistry()
    metrics = EvaluatorMetrics(collected)
    memory = ModelMemory(world.store, metrics, Pipeline(metrics, 1), clock=Clock(), **limits)

    def sample(name: str, **labels: str) -> float | None:
        return collected.get_sample_value(f"signet_evaluator_{name}", labels)

    return memory, sample


@pytest.fixture
def cards(world: "World", snapshot: Dataset) -> list[ModelCard]:
    """Four versions."""
    return [world.publish(snapshot) for _ in range(4)]


def names(memory: ModelMemory) -> set[str]:
    return {held.version for held in memory.versions()}


def test_a_version_is_freed_after_its_last_call_when_no_alias_leads_to_it(world: "World", card: ModelCard) -> None:
    memory, sample = memory_of(world)
    held = memory.load("signet", card.version)
    assert held.model is not None
    freed = weakref.ref(held.model)
    first, second = memory.use(held), memory.use(held)
    assert first is not None
    assert second is not None
    with first as model:
        assert model.name == f"signet/{card.version}"
        del model
        memory.release(held)
        assert memory.use(held) is not None, "it can still be used by a call that has just found it"
        held.calls -= 1
    assert names(memory) == {card.version}
    with second:
        pass
    del first, second
    assert names(memory) == set()
    assert memory.use(held) is None
    gc.collect()
    assert freed() is None
    assert (sample("models_loaded"), sample("model_memory_bytes")) == (0, 0)
    assert sample("model_unloads_total", reason="replaced") == 1


def test_several_holders_share_a_version_and_it_stays_until_the_last_one_leaves(
    world: "World", card: ModelCard
) -> None:
    memory, sample = memory_of(world)
    held = memory.load("signet", card.version)
    assert memory.load("signet", card.version) is held
    assert memory.hold("signet", card.version) is held
    assert memory.hold("signet", "other") is None
    assert sample("model_load_seconds_count") == 1
    for _ in range(2):
        memory.release(held)
        assert names(memory) == {card.version}
    memory.release(held)
    assert names(memory) == set()


def test_the_least_recently_used_version_makes_room_and_versions_in_use_and_essential_ones_do_not(
    world: "World", cards: list[ModelCard]
) -> None:
    memory, sample = memory_of(world, max_models=3)
    first = memory.load("signet", cards[0].version, essential=True)
    second, third = (memory.load("signet", card.version) for card in cards[1:3])
    use = memory.use(second)
    assert use is not None
    fourth = memory.load("signet", cards[3].version)
    assert names(memory) == {cards[0].version, cards[1].version, cards[3].version}
    assert memory.use(third) is None
    assert sample("model_unloads_total", reason="room") == 1
    assert sample("models_loaded") == 3

    last = memory.use(fourth)
    assert last is not None
    with use, last, pytest.raises(Busy, match="all 3 models there are in use") as busy:
        memory.load("signet", cards[2].version)
    assert busy.value.retry_seconds == 1
    memory.load("signet", cards[2].version)
    assert names(memory) == {cards[0].version, cards[2].version, cards[3].version}, "the second was used before"
    assert first.model is not None


def test_the_bytes_that_the_trial_measures_are_bounded(world: "World", cards: list[ModelCard]) -> None:
    memory, sample = memory_of(world)
    needed = memory.load("signet", cards[0].version).memory_bytes
    assert 10_000 < needed < 100 * MIB
    assert sample("model_memory_bytes") == needed

    tight, sample = memory_of(world, max_bytes=2 * needed + needed // 2)
    for card in cards[:3]:
        tight.load("signet", card.version)
    assert names(tight) == {cards[1].version, cards[2].version}

    small, _ = memory_of(world, max_bytes=needed - 1)
    with pytest.raises(NotReady, match="SIGNET_MODEL_MEMORY_MIB"):
        small.load("signet", cards[0].version)
    assert small.load("signet", cards[0].version, essential=True).model is not None


def test_a_new_default_version_is_loaded_even_without_room(
    world: "World", cards: list[ModelCard], caplog: pytest.LogCaptureFixture
) -> None:
    memory, _ = memory_of(world, max_models=1)
    old = memory.load("signet", cards[0].version, essential=True)
    new = memory.load("signet", cards[1].version, essential=True)
    assert "there is no room for" in caplog.text
    memory.release(old, essential=True)
    assert names(memory) == {cards[1].version}
    assert new.essential


def test_several_threads_that_need_one_version_load_it_once(
    world: "World", card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, sample = memory_of(world)
    loads: list[str] = []
    load = LoadedModel.load

    def slow(*arguments: Any, **named: Any) -> LoadedModel:
        loads.append(threading.current_thread().name)
        time.sleep(0.05)
        return load(*arguments, **named)

    monkeypatch.setattr(LoadedModel, "load", slow)
    with ThreadPoolExecutor(8) as threads:
        found: list[VersionInMemory] = list(threads.map(lambda _: memory.load("signet", card.version), range(8)))
    assert len(loads) == 1
    assert {id(held) for held in found} == {id(found[0])}
    assert found[0].holders == 8
    assert sample("model_load_seconds_count") == 1


def test_a_load_that_fails_takes_no_room(world: "World", cards: list[ModelCard]) -> None:
    memory, sample = memory_of(world, max_models=1)
    for _ in range(3):
        with pytest.raises(NotFound):
            memory.load("signet", "none")
    memory.load("signet", cards[0].version)
    assert sample("models_loaded") == 1
