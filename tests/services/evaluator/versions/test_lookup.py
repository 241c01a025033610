"""Which model answers a call, how other models than the default one are loaded, and what is kept of errors."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry

from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.serving.pipeline import Pipeline
from services.evaluator.versions.lookup import Models
from services.evaluator.versions.model_memory import ModelMemory
from signet import registry
from signet.datasets.snapshot import Dataset
from signet.errors import (
    Busy,
    DataLoss,
    DeadlineExceeded,
    InvalidInput,
    NotFound,
    NotReady,
    SignetError,
    Unavailable,
)
from signet.registry import LATEST, ModelCard
from signet.store import DirectoryStore, ObjectStore

if TYPE_CHECKING:
    from tests.services.evaluator.conftest import World

SECONDS = 20.0


class WatchedStore(DirectoryStore):
    """Counts reads of cards, raises `fault` for keys with a given end, and holds reads of graphs while `held`."""

    def __init__(self, store: ObjectStore) -> None:
        super().__init__(store.root)  # type: ignore[attr-defined]
        self.reads: list[str] = []
        self.fault: Exception | None = None
        self.fault_key = ""
        self.released = threading.Event()
        self.released.set()

    def _look(self, key: str) -> None:
        self.reads.append(key)
        if self.fault is not None and key.endswith(self.fault_key):
            raise self.fault

    def get(self, key: str) -> bytes:
        self._look(key)
        if key.endswith("model.onnx"):
            assert self.released.wait(SECONDS)
        return super().get(key)

    def get_head(self, key: str, length: int) -> bytes:
        self._look(key)
        return super().get_head(key, length)

    def get_head_versioned(self, key: str, length: int) -> tuple[bytes, str]:
        self._look(key)
        return super().get_head_versioned(key, length)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Scene:
    """Models over a store, and what they show."""

    def __init__(self, store: ObjectStore, **limits: int) -> None:
        self.collected = CollectorRegistry()
        self.clock = Clock()
        metrics = EvaluatorMetrics(self.collected)
        self.compute = Pipeline(metrics, 1)
        self.memory = ModelMemory(store, metrics, self.compute, clock=self.clock, **limits)
        self.models = Models(self.memory, "signet", LATEST)
        self.models.default.refresh()

    async def name(self, name: str = "", version: str = "", seconds: float | None = None) -> str:
        """The name and version of the model that a call gets."""
        with await self.models.acquire(name, version, seconds) as model:
            return model.name

    async def error(self, name: str = "", version: str = "", seconds: float | None = None) -> SignetError:
        with pytest.raises(SignetError) as caught:
            await self.name(name, version, seconds)
        return caught.value

    def sample(self, metric: str, **labels: str) -> float | None:
        return self.collected.get_sample_value(f"signet_evaluator_{metric}", labels)

    def in_memory(self) -> set[str]:
        return {held.version for held in self.memory.versions()}


def play(store: ObjectStore, steps: Callable[[Scene], Awaitable[None]], **limits: int) -> None:
    async def main() -> None:
        async with asyncio.timeout(SECONDS):
            await steps(Scene(store, **limits))

    asyncio.run(main())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
def other(world: "World", snapshot: Dataset, card: ModelCard) -> ModelCard:
    """A version of another model than the default one."""
    return world.publish(snapshot, name="other")


def test_a_call_gets_the_model_that_it_names(world: "World", snapshot: Dataset, other: ModelCard) -> None:
    old = registry.resolve(world.store, "signet", LATEST)
    new = world.publish(snapshot).version
    registry.move_alias(world.store, "signet", "stable", old)

    async def steps(scene: Scene) -> None:
        assert scene.in_memory() == {new}
        assert await scene.name() == f"signet/{new}"
        assert await scene.name("signet") == f"signet/{new}"
        assert await scene.name("", LATEST) == f"signet/{new}"
        assert await scene.name("", "stable") == f"signet/{old}"
        assert await scene.name("signet", old) == f"signet/{old}"
        assert await scene.name("signet", new) == f"signet/{new}"
        assert await scene.name("other") == f"other/{other.version}"
        assert await scene.name("other", other.version) == f"other/{other.version}"
        assert scene.in_memory() == {old, new, other.version}
        assert scene.sample("model_load_seconds_count") == 3, "each version was loaded once"

    play(world.store, steps)


def test_without_a_default_model_a_call_is_told_why(world: "World") -> None:
    async def steps(scene: Scene) -> None:
        error = await scene.error()
        assert isinstance(error, NotReady)
        assert "signet train" in str(error)

    play(world.store, steps)


def test_names_that_no_model_has_are_refused_and_looked_for_again_after_some_seconds(
    world: "World", snapshot: Dataset, card: ModelCard, caplog: pytest.LogCaptureFixture
) -> None:
    store = WatchedStore(world.store)

    async def steps(scene: Scene) -> None:
        for _ in range(3):
            error = await scene.error("new", "v1")
            assert isinstance(error, NotFound)
            assert "model 'new' has no version or alias 'v1'" in str(error)
        assert isinstance(await scene.error("new"), NotFound)
        assert isinstance(await scene.error("", "none"), NotFound)
        reads = len(store.reads)
        world.publish(snapshot, name="new", version="v1")
        assert isinstance(await scene.error("new", "v1"), NotFound)
        assert len(store.reads) == reads, "the error is kept"
        scene.clock.now = 3.0
        assert await scene.name("new", "v1") == "new/v1"
        for name in ("../x", "a/b", "x" * 200):
            assert isinstance(await scene.error(name), InvalidInput)
            assert isinstance(await scene.error("", name), InvalidInput)

    with caplog.at_level(logging.INFO):
        play(store, steps)
    assert "has no version or alias" not in caplog.text, "anybody could fill the log"


def test_a_refused_version_is_not_loaded_again_by_each_call(world: "World", snapshot: Dataset, card: ModelCard) -> None:
    bad = world.publish(snapshot, name="bad", files={"model.onnx": "0" * 64})
    store = WatchedStore(world.store)

    async def steps(scene: Scene) -> None:
        for _ in range(5):
            error = await scene.error("bad")
            assert isinstance(error, DataLoss)
            assert "is damaged" in str(error)
        assert sum(key.endswith("model.onnx") for key in store.reads) == 2, "the default model, and once this one"
        assert scene.sample("model_refusals_total", reason="DATA_LOSS") == 1
        status = scene.models.status("bad")
        assert [(one.alias, one.version, "is damaged" in one.reason) for one in status] == [(LATEST, "", True)]
        scene.clock.now = 60.0
        await scene.error("bad")
        assert scene.sample("model_refusals_total", reason="DATA_LOSS") == 2
        assert await scene.name() == f"signet/{card.version}"
        assert bad.version not in scene.in_memory()

    play(store, steps)


def test_calls_that_need_one_model_share_its_load_and_wait_within_their_deadlines(
    world: "World", other: ModelCard
) -> None:
    store = WatchedStore(world.store)

    async def steps(scene: Scene) -> None:
        store.released.clear()
        waiting = [asyncio.create_task(scene.name("other")) for _ in range(5)]
        error = await scene.error("other", seconds=0.05)
        assert isinstance(error, DeadlineExceeded)
        assert "is being loaded" in str(error)
        assert await scene.name(), "the default model does not wait"
        waiting[0].cancel()
        store.released.set()
        assert await asyncio.gather(*waiting[1:]) == [f"other/{other.version}"] * 4
        assert scene.sample("model_load_seconds_count") == 2

    play(store, steps)


def test_a_flood_of_names_is_refused_while_models_are_being_loaded(world: "World", other: ModelCard) -> None:
    store = WatchedStore(world.store)

    async def steps(scene: Scene) -> None:
        store.released.clear()
        loading = asyncio.create_task(scene.name("other"))
        await until(lambda: store.reads[-1].endswith("model.onnx"))
        flood = [asyncio.create_task(scene.error(f"name{number}")) for number in range(40)]
        await asyncio.sleep(0.1)
        refused = [call.result() for call in flood if call.done()]
        assert len(refused) == 33
        assert all(isinstance(error, Busy) and error.retry_seconds == 2 for error in refused)
        store.released.set()
        assert await loading == f"other/{other.version}"
        assert {type(error) for error in await asyncio.gather(*flood)} == {Busy, NotFound}
        for number in range(300):
            await scene.error(f"later{number}")
        assert len(scene.models._errors) == 256

    play(store, steps)


def test_the_store_may_be_away_when_calls_name_models_that_are_in_memory(
    world: "World", snapshot: Dataset, card: ModelCard, other: ModelCard
) -> None:
    store = WatchedStore(world.store)

    async def steps(scene: Scene) -> None:
        assert await scene.name("other") == f"other/{other.version}"
        store.fault = Unavailable("the store is away")
        assert await scene.name() == f"signet/{card.version}"
        assert await scene.name("", card.version) == f"signet/{card.version}"
        assert await scene.name("other") == f"other/{other.version}"
        error = await scene.error("third")
        assert isinstance(error, Unavailable)
        assert "the store is away" in str(error)
        store.fault = None
        scene.clock.now = 3.0
        assert isinstance(await scene.error("third"), NotFound)

    play(store, steps)


def test_an_alias_that_a_call_has_named_is_followed_and_a_bad_version_does_not_replace_a_good_one(
    world: "World", snapshot: Dataset, other: ModelCard
) -> None:
    async def steps(scene: Scene) -> None:
        with await scene.models.acquire("other") as running:
            poller = asyncio.create_task(scene.models.poll_others(0.01))
            newer = world.publish(snapshot, name="other")
            await until(lambda: newer.version in scene.in_memory())
            assert await scene.name("other") == f"other/{newer.version}"
            assert running.card.version == other.version
            assert other.version in scene.in_memory()
            assert scene.sample("alias_info", name="other", alias=LATEST, version=newer.version) == 1
            assert scene.sample("alias_info", name="other", alias=LATEST, version=other.version) is None
        assert other.version not in scene.in_memory()
        bad = world.publish(snapshot, name="other", frame_rate=25.0)
        await until(lambda: scene.sample("alias_refused", name="other", alias=LATEST) == 1)
        assert await scene.name("other") == f"other/{newer.version}"
        (status,) = scene.models.status("other")
        assert (status.version, status.refused_version) == (newer.version, bad.version)
        assert "sampled at 25 frames a second" in status.reason
        registry.move_alias(world.store, "other", LATEST, newer.version)
        await until(lambda: scene.sample("alias_refused", name="other", alias=LATEST) == 0)
        poller.cancel()

    play(world.store, steps)


def test_the_least_recently_used_model_is_unloaded_and_loaded_again_when_a_call_names_it(
    world: "World", snapshot: Dataset, card: ModelCard
) -> None:
    for name in ("a", "b", "c"):
        world.publish(snapshot, name=name, version="v1")

    async def steps(scene: Scene) -> None:
        for now, name in enumerate(("a", "b", "a", "c")):
            scene.clock.now = now
            await scene.name(name)
        assert {held.name for held in scene.memory.versions()} == {"signet", "a", "c"}
        with await scene.models.acquire("a"), await scene.models.acquire("c"):
            error = await scene.error("b")
            assert isinstance(error, Busy)
            assert error.retry_seconds == 1
        assert await scene.name("b") == "b/v1"
        assert scene.sample("models_loaded") == 3
        assert scene.sample("model_unloads_total", reason="room") == 2

    play(world.store, steps, max_models=3)


def test_health_is_shown_for_each_model_name(world: "World", snapshot: Dataset, other: ModelCard) -> None:
    world.publish(snapshot, name="third")

    async def steps(scene: Scene) -> None:
        shown: list[tuple[str, bool]] = []

        async def show(name: str, serving: bool) -> None:
            shown.append((name, serving))

        task = asyncio.create_task(scene.models.show_health(show))
        await until(lambda: shown == [("signet", True)])
        await scene.name("other")
        await until(lambda: shown[1:] == [("other", True)])
        scene.clock.now = 1.0
        await scene.name("third")
        await until(lambda: set(shown[2:]) == {("other", False), ("third", True)})
        task.cancel()

    play(world.store, steps, max_models=2)


def test_no_model_is_healthy_while_no_process_can_compute(
    world: "World", card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def steps(scene: Scene) -> None:
        shown: list[tuple[str, bool]] = []

        async def show(name: str, serving: bool) -> None:
            shown.append((name, serving))

        task = asyncio.create_task(scene.models.show_health(show))
        await until(lambda: shown == [("signet", True)])
        monkeypatch.setattr(scene.compute, "is_ready", lambda: False)
        await until(lambda: shown[1:] == [("signet", False)])
        monkeypatch.undo()
        await until(lambda: shown[2:] == [("signet", True)])
        task.cancel()

    play(world.store, steps)


def test_the_polling_goes_on_after_an_unexpected_error(
    world: "World", snapshot: Dataset, card: ModelCard, caplog: pytest.LogCaptureFixture
) -> None:
    store = WatchedStore(world.store)

    async def steps(scene: Scene) -> None:
        store.fault, store.fault_key = ZeroDivisionError("unforeseen"), "latest.json"
        poller = asyncio.create_task(scene.models.poll_default(0.01))
        await until(lambda: "failed unexpectedly" in caplog.text)
        newer = world.publish(snapshot)
        store.fault = None
        await until(lambda: scene.models.default.current().card.version == newer.version)
        assert not poller.done()
        poller.cancel()
        await scene.models.close(SECONDS)

    play(store, steps)


def test_the_status_lists_the_default_model_first_and_counts_its_calls(world: "World", other: ModelCard) -> None:
    async def steps(scene: Scene) -> None:
        await scene.name("other")
        with await scene.models.acquire():
            default, second = scene.models.status()
        assert (default.model_name, default.alias, default.is_default, default.calls) == ("signet", LATEST, True, 1)
        assert default.memory_bytes > 0
        assert default.loaded_at.endswith("+00:00")
        assert default.reason == ""
        assert (second.model_name, second.version, second.calls) == ("other", other.version, 0)

    play(world.store, steps)


def test_errors_of_callers_have_no_common_traceback(world: "World", card: ModelCard) -> None:
    async def steps(scene: Scene) -> None:
        errors: list[Any] = [await scene.error("none") for _ in range(3)]
        assert len({id(error) for error in errors}) == 3
        assert len({str(error) for error in errors}) == 1

    play(world.store, steps)
