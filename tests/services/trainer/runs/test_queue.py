"""The queue of trainings. The runs of these tests fail as soon as they start, because there is no clip."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from prometheus_client import CollectorRegistry

from services.trainer.config.train_config import TrainConfig
from services.trainer.runs import queue as queue_module
from services.trainer.runs.metrics import TrainerMetrics
from services.trainer.runs.queue import QueuedRun, RunFailure, TrainingQueue
from signet.errors import Busy, Conflict, NotFound
from signet.store import DirectoryStore, ObjectInfo, keys


class Gated(DirectoryStore):
    """A store whose listing waits, so that the first run does not end before the test lets it."""

    gate = threading.Event()

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        assert self.gate.wait(60)
        return super().list(prefix)


@pytest.fixture
def store(directory_store: DirectoryStore) -> Gated:
    gated = Gated(directory_store.root)
    gated.gate = threading.Event()
    return gated


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def trainings(store: Gated, registry: CollectorRegistry) -> Iterator[TrainingQueue]:
    queue = TrainingQueue(store, TrainerMetrics(registry))
    yield queue
    store.gate.set()
    queue.close()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def last_event(run: QueuedRun) -> RunFailure:
    wait_for(lambda: run.ended)
    event = run.events[-1]
    assert isinstance(event, RunFailure)
    return event


def test_runs_wait_in_order_and_not_more_of_them_than_the_limit(
    trainings: TrainingQueue, store: Gated, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_module, "MAX_QUEUED", 3)
    first, second, third = (trainings.start(TrainConfig(), str(number)) for number in range(3))
    with pytest.raises(Busy, match="3 runs are waiting"):
        trainings.start(TrainConfig())
    assert [trainings.count_runs_ahead(run) for run in (first, second, third)] == [0, 1, 2]
    assert registry.get_sample_value("signet_trainer_queued_runs") == 3
    assert trainings.stop(second.run_id) is second
    store.gate.set()
    assert last_event(third).state == "failed"
    assert "signet extract" in last_event(first).message
    assert (first.state, second.state) == ("failed", "stopped")
    wait_for(lambda: registry.get_sample_value("signet_trainer_queued_runs") == 0)
    counted = [registry.get_sample_value("signet_trainer_runs_total", {"state": s}) for s in ("failed", "stopped")]
    assert counted == [2, 1]
    assert trainings.count_runs_ahead(trainings.start(TrainConfig())) == 0, "ended runs are not ahead"


def test_a_run_is_not_resumed_while_it_waits_here_but_can_be_when_it_has_ended(
    trainings: TrainingQueue, store: Gated
) -> None:
    store.put(keys.run("r", "config.json"), TrainConfig().model_dump_json().encode())
    resumed = trainings.resume("r", {"jobs": 2})
    other = trainings.start(TrainConfig())
    assert resumed.config.jobs == 2
    with pytest.raises(Conflict, match="run r is already queued in this trainer"):
        trainings.resume("r")
    assert trainings.find("r") is resumed
    assert trainings.count_runs_ahead(other) == 1, "the refused request left the order as it was"
    store.gate.set()
    assert last_event(resumed).state == last_event(other).state == "failed"
    store.gate.clear()
    third = trainings.start(TrainConfig())
    again = trainings.resume("r")
    assert trainings.find("r") is again
    assert (trainings.count_runs_ahead(third), trainings.count_runs_ahead(again)) == (0, 1), "it waits behind the third"
    store.gate.set()
    assert last_event(again).state == "failed"


def test_the_events_of_the_latest_ended_runs_stay_in_memory(
    trainings: TrainingQueue, store: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_module, "_ENDED_IN_MEMORY", 2)
    store.gate.set()
    runs = []
    for _ in range(4):
        runs.append(trainings.start(TrainConfig()))
        last_event(runs[-1])
    runs.append(trainings.start(TrainConfig()))
    for forgotten in runs[:2]:
        with pytest.raises(NotFound, match="`signet runs` list the runs"):
            trainings.find(forgotten.run_id)
    assert [trainings.find(run.run_id) for run in runs[2:]] == runs[2:]


def test_a_closed_queue_interrupts_the_runs_that_wait(trainings: TrainingQueue, store: Gated) -> None:
    store.put(keys.run("r", "config.json"), TrainConfig().model_dump_json().encode())
    trainings.start(TrainConfig())
    new, resumed = trainings.start(TrainConfig()), trainings.resume("r")
    closing = threading.Thread(target=trainings.close)
    closing.start()
    wait_for(trainings._closing.is_set)
    store.gate.set()
    closing.join(60)
    assert (new.state, resumed.state) == ("interrupted", "interrupted")
    assert "Start it again" in last_event(new).message
    assert "`signet train --resume r`" in last_event(resumed).message


def test_a_full_queue_says_the_way_out_and_stopping_a_queued_run_is_one(
    trainings: TrainingQueue, store: Gated, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_module, "MAX_QUEUED", 3)
    first, second, third = (trainings.start(TrainConfig()) for _ in range(3))
    wait_for(lambda: first.begun)
    for _ in range(200):
        with pytest.raises(Busy, match=r"3 runs are waiting[.] Stop some of them") as busy:
            trainings.start(TrainConfig())
        assert busy.value.retry_seconds
        assert trainings.stop(third.run_id).state == "stopped"
        third = trainings.start(TrainConfig())
    assert trainings._executor._work_queue.qsize() <= 2, "stopped runs leave nothing behind"
    assert len(trainings._runs) <= 3 + queue_module._ENDED_IN_MEMORY
    store.gate.set()
    assert {last_event(run).state for run in (first, second, third)} == {"failed"}
    assert registry.get_sample_value("signet_trainer_runs_total", {"state": "stopped"}) == 200
