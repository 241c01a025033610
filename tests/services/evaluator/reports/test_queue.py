"""The queue of evaluations: one at a time, none for a cancelled call, one for each served version."""

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry

from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.reports.evaluate import evaluate
from services.evaluator.reports.queue import MAX_EVALUATIONS, EvaluationQueue
from services.evaluator.reports.report_store import list_reports
from services.evaluator.serving.pipeline import Pipeline
from services.evaluator.versions.model_memory import ModelMemory
from services.evaluator.versions.served_model import ServedModel
from signet.datasets.snapshot import Dataset
from signet.errors import Busy, InvalidInput, Unavailable
from signet.landmarks import dump
from signet.registry import LATEST, ModelCard
from signet.store import DirectoryStore, ObjectStore
from tests.services.evaluator.conftest import GLOSSES, make_clip, place_of

if TYPE_CHECKING:
    from tests.services.evaluator.conftest import World

SECONDS = 20.0


class HeldStore(DirectoryStore):
    """A store that keeps the order of its reads and writes, and whose reads of a graph wait for the test."""

    def __init__(self, store: ObjectStore) -> None:
        super().__init__(store.root)  # type: ignore[attr-defined]
        self.events: list[str] = []
        self.reading = threading.Semaphore(0)
        self.released = threading.Semaphore(0)
        self.fault: Exception | None = None

    def get(self, key: str) -> bytes:
        if key.endswith("model.onnx"):
            self.events.append("read")
            self.reading.release()
            assert self.released.acquire(timeout=SECONDS)
            if self.fault is not None:
                raise self.fault
        return super().get(key)

    def create(self, key: str, data: bytes) -> str:
        if key.endswith("report.json"):
            self.events.append("stored")
        return super().create(key, data)


def queue(store: ObjectStore, commit: str = "3f1c2ab") -> tuple[EvaluationQueue, CollectorRegistry]:
    metrics = CollectorRegistry()
    return EvaluationQueue(store, EvaluatorMetrics(metrics), commit=commit, threads=1), metrics


def memory_of(store: ObjectStore) -> ModelMemory:
    metrics = EvaluatorMetrics(CollectorRegistry())
    return ModelMemory(store, metrics, Pipeline(metrics, 1))


def accuracy(metrics: CollectorRegistry, version: str, split: str = "val") -> float | None:
    labels = {"name": "signet", "version": version, "split": split}
    return metrics.get_sample_value("signet_evaluator_report_accuracy", labels)


def test_evaluations_run_one_at_a_time(world: "World", card: ModelCard) -> None:
    store = HeldStore(world.store)
    evaluations, metrics = queue(store)

    async def main() -> None:
        calls = [asyncio.create_task(evaluations.run("signet", LATEST, split)) for split in ("val", "train")]
        assert await asyncio.to_thread(store.reading.acquire, timeout=SECONDS)
        await asyncio.sleep(0.1)
        assert store.events == ["read"]
        store.released.release(2)
        first, second = await asyncio.gather(*calls)
        assert (first.provenance.split, second.provenance.split) == ("val", "train")
        assert first.provenance.commit == "3f1c2ab"

    asyncio.run(main())
    assert store.events == ["read", "stored", "read", "stored"]
    assert accuracy(metrics, card.version) == 12 / 14
    assert accuracy(metrics, card.version, "train") == 1
    assert metrics.get_sample_value("signet_evaluator_batch_clips_sum") == 14 + 12


def test_a_cancelled_evaluation_stores_nothing_and_the_next_one_runs(world: "World", card: ModelCard) -> None:
    store = HeldStore(world.store)
    evaluations, _ = queue(store)

    async def main() -> None:
        cancelled = asyncio.create_task(evaluations.run("signet", LATEST, "train"))
        assert await asyncio.to_thread(store.reading.acquire, timeout=SECONDS)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        store.released.release(2)
        await evaluations.run("signet", LATEST, "val")

    asyncio.run(main())
    assert [report.provenance.split for report in list_reports(world.store)] == ["val"]


def test_the_newest_stored_report_is_shown_and_those_on_runs_are_not(world: "World", card: ModelCard) -> None:
    first, _ = evaluate(world.store, "signet")
    other = first.model_copy(update={"report_id": first.report_id[:-8] + "f" * 8, "top1": first.top5})
    world.store.put(f"reports/{other.report_id}/report.json", other.to_json())
    run = first.provenance.model_copy(update={"protocol": "official", "model_version": "run-7"})
    later = other.model_copy(update={"report_id": "2099" + first.report_id[4:], "provenance": run})
    world.store.put(f"reports/{later.report_id}/report.json", later.to_json())
    evaluations, metrics = queue(world.store)
    evaluations.show_stored()
    assert accuracy(metrics, card.version) == 13 / 14
    assert accuracy(metrics, "run-7") is None


def test_each_served_version_is_evaluated_once(
    world: "World", snapshot: Dataset, card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = HeldStore(world.store)
    store.released.release(100)
    evaluations, metrics = queue(store)
    served = ServedModel(memory_of(store), "signet", LATEST)
    versions: list[str] = []

    async def check() -> bool:
        found: Any = await evaluations._evaluate_served(served)
        versions[:] = [report.provenance.model_version for report in list_reports(world.store)]
        return bool(found)

    async def main() -> None:
        assert await check(), "nothing is served"
        assert versions == []
        evaluate(world.store, "signet", split="train")  # a report on another split is not the one that is due
        served.refresh()
        store.fault = Unavailable("the store is away")
        assert not await check(), "to be tried again"
        store.fault = None
        for _ in range(2):
            assert await check()
            assert versions == [card.version] * 2
        newer = world.publish(snapshot, blank_penalty=0.0)
        served.refresh()
        evaluate(world.store, "signet")
        assert await check()
        assert versions == [newer.version, card.version, card.version], "it had its report already"
        reads = len(store.events)
        world.store.delete(f"reports/{list_reports(world.store)[0].report_id}/report.json")
        assert await check()
        assert len(store.events) == reads, "a version that was evaluated is not looked for again"
        newest = world.publish(snapshot, blank_penalty=1.0)
        served.refresh()
        assert await check()
        assert versions == [newest.version, card.version, card.version], "the reports on other versions do not count"

    asyncio.run(main())
    assert accuracy(metrics, card.version) == 12 / 14


def test_equal_calls_share_one_evaluation_and_later_ones_get_its_report(world: "World", card: ModelCard) -> None:
    store = HeldStore(world.store)
    evaluations, metrics = queue(store)

    async def main() -> None:
        calls = [asyncio.create_task(evaluations.run("signet", name, "val")) for name in [LATEST, card.version] * 20]
        assert await asyncio.to_thread(store.reading.acquire, timeout=SECONDS)
        await asyncio.sleep(0.1)
        for call in calls[1:]:
            call.cancel()  # the others do not take the evaluation from the caller that stays
        store.released.release()
        first = await calls[0]
        later = [await evaluations.run("signet", LATEST, "val") for _ in range(20)]
        assert {report.report_id for report in later} == {first.report_id}

    asyncio.run(main())
    assert store.events == ["read", "stored"]
    assert len(list_reports(world.store)) == 1
    assert accuracy(metrics, card.version) == 12 / 14


def test_another_commit_makes_a_new_report(world: "World", card: ModelCard) -> None:
    for commit in ("3f1c2ab", "3f1c2ab", "77777ab"):
        asyncio.run(queue(world.store, commit)[0].run("signet", LATEST, "val"))
    assert [report.provenance.commit for report in list_reports(world.store)] == ["77777ab", "3f1c2ab"]


def test_repeated_calls_for_clips_of_the_corpus_store_one_report_until_the_clips_change(
    world: "World", card: ModelCard
) -> None:
    store = HeldStore(world.store)
    store.released.release(100)
    evaluations, _ = queue(store)
    for number in range(3):
        clip = make_clip(f"new-{number}", "book", place_of(0, len(GLOSSES)), split="test")
        world.store.put(f"landmarks/v1/made/new-{number}.safetensors", dump(clip))
        reports = [asyncio.run(evaluations.run("signet", LATEST, "test")) for _ in range(3)]
        assert len({report.report_id for report in reports}) == 1
        assert reports[0].top1.n == number + 1
    assert store.events.count("stored") == 3


def test_a_flood_of_evaluations_is_refused_with_a_time_to_retry_and_leaves_nothing_behind(
    world: "World", card: ModelCard
) -> None:
    store = HeldStore(world.store)
    evaluations, _ = queue(store)

    async def main() -> None:
        first = asyncio.create_task(evaluations.run("signet", LATEST, "val"))
        assert await asyncio.to_thread(store.reading.acquire, timeout=SECONDS)
        flood = [asyncio.create_task(evaluations.run("signet", LATEST, f"split-{number}")) for number in range(40)]
        done, waiting = await asyncio.wait(flood, timeout=SECONDS / 10)
        assert len(waiting) == MAX_EVALUATIONS - 1
        for call in done:
            error = call.exception()
            assert isinstance(error, Busy)
            assert error.retry_seconds == 30
        for call in waiting:
            call.cancel()
        await asyncio.wait(waiting)
        assert len(evaluations._evaluations) == 1
        assert len(asyncio.all_tasks()) <= 3, "the calls that left wait no longer"
        last = asyncio.create_task(evaluations.run("signet", LATEST, "train"))
        store.released.release(100)
        assert (await first).provenance.split == "val"
        assert (await last).provenance.split == "train"
        with pytest.raises(InvalidInput, match="has 129 characters"):
            await evaluations.run("signet", LATEST, "s" * 129)

    asyncio.run(main())
    assert store.events.count("read") == 2


def test_the_automatic_evaluation_waits_while_the_queue_is_full(world: "World", card: ModelCard) -> None:
    store = HeldStore(world.store)
    evaluations, _ = queue(store)
    served = ServedModel(memory_of(world.store), "signet", LATEST)
    served.refresh()

    async def main() -> None:
        first = asyncio.create_task(evaluations.run("signet", LATEST, "train"))
        flood = [asyncio.create_task(evaluations.run("signet", LATEST, f"s{number}")) for number in range(10)]
        await asyncio.wait(flood, return_when=asyncio.FIRST_COMPLETED, timeout=SECONDS)
        assert await evaluations._evaluate_served(served) is False, "to be tried again"
        for call in flood:
            call.cancel()
        await asyncio.wait(flood)
        store.released.release(100)
        await first
        assert await evaluations._evaluate_served(served) is True

    asyncio.run(main())
    assert [report.provenance.split for report in list_reports(world.store)] == ["val", "train"]
