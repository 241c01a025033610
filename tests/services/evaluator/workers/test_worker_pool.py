"""The pool of worker processes: same answers as in one process, and no call is lost when a worker ends."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.serving.loaded_model import LoadedModel
from services.evaluator.serving.pipeline import ClipRequest, ProcessedClip
from services.evaluator.workers import worker_pool as module
from services.evaluator.workers.worker_pool import ModelWorkerPool, WorkerModel, WorkersAway
from services.evaluator.workers.worker_process import WorkerProcess
from signet import landmarks
from signet.datasets.snapshot import Dataset
from signet.errors import DataLoss, InvalidInput, NotFound, NotReady
from signet.landmarks import to_model_input
from signet.registry import ModelCard
from tests.services.evaluator.conftest import GLOSSES, place_of

if TYPE_CHECKING:
    from tests.services.evaluator.conftest import World

SECONDS = 30.0


class Scene:
    """A pool, a model in it, and its metrics."""

    def __init__(self, world: "World", card: ModelCard, count: int = 2) -> None:
        self.collected = CollectorRegistry()
        self.pool = ModelWorkerPool(count, EvaluatorMetrics(self.collected))
        self.model = self.pool.load(world.store, card.name, card.version)

    def sample(self, name: str) -> float | None:
        return self.collected.get_sample_value(f"signet_evaluator_{name}")

    def guess(self, clip: ClipRequest) -> str:
        """The best gloss for a clip."""
        (answer,) = self.pool.process(self.model, [clip])
        assert isinstance(answer, ProcessedClip)
        assert answer.decoded is not None
        return self.model.vocabulary[int(answer.decoded.posterior.argmax())]


@pytest.fixture
def scene(world: "World", card: ModelCard) -> Iterator[Scene]:
    made = Scene(world, card)
    yield made
    made.pool.close()


@pytest.fixture
def drink(sign: Any) -> ClipRequest:
    return ClipRequest(landmarks.dump(sign("new", "", place_of(2, 6), frames=40)), "landmarks")


def until(what: Callable[[], bool]) -> None:
    latest = time.monotonic() + SECONDS
    while not what():
        assert time.monotonic() < latest
        time.sleep(0.02)


def runs(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_workers_give_the_answers_of_one_process(world: "World", card: ModelCard, scene: Scene, sign: Any) -> None:
    here = LoadedModel.load(world.store, card.name, card.version, threads=1)
    clips = [sign(f"c{index}", "", place_of(index, 6), frames=24 + 5 * index) for index in range(6)]
    requests = [ClipRequest(landmarks.dump(clip), clip.record.clip_id) for clip in clips]
    answers = scene.pool.process(scene.model, [*requests, ClipRequest(b"<html>", "a page")])
    inputs = [to_model_input(clip) for clip in clips]
    for answer, frames, gloss in zip(answers, inputs, GLOSSES, strict=False):
        assert isinstance(answer, ProcessedClip)
        assert answer.decoded is not None
        expected = here.decode(*here.log_probs([frames]))
        np.testing.assert_allclose(answer.decoded.posterior, expected.posterior, atol=1e-5)
        assert answer.decoded.greedy == expected.greedy == (gloss,)
        assert answer.seconds.keys() == {"prepare", "model", "decode"}
    assert isinstance(answers[-1], InvalidInput)
    assert "a page" in str(answers[-1])
    assert scene.sample("batch_clips_sum") == 6

    for log_probs, frames in zip(scene.pool.log_probs(scene.model, inputs), inputs, strict=True):
        np.testing.assert_allclose(log_probs, here.log_probs([frames])[0], atol=1e-5)
    assert scene.sample("batch_clips_sum") == 12
    assert (scene.sample("compute_memory_bytes") or 0) > 2 * 30e6
    assert (scene.model.name, scene.model.vocabulary) == (here.name, here.vocabulary)
    assert scene.model.memory_bytes > 2 * here.memory_bytes, "the copies of both workers are counted"


def test_an_unusable_batch_is_an_error_and_the_worker_goes_on(scene: Scene, drink: ClipRequest) -> None:
    before = scene.pool.worker_ids()
    with pytest.raises(RuntimeError, match="Traceback"):
        scene.pool.log_probs(scene.model, [np.zeros((9, 75, 2), np.float32)])
    assert scene.guess(drink) == "drink"
    assert scene.pool.worker_ids() == before


def test_an_idle_worker_that_is_killed_is_replaced(scene: Scene, drink: ClipRequest) -> None:
    before = scene.pool.worker_ids()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not any(map(runs, before)))
    assert scene.guess(drink) == "drink"
    until(lambda: len(scene.pool.worker_ids()) == 2 and not {*before} & {*scene.pool.worker_ids()})
    assert scene.sample("compute_process_ends_total") == 2
    until(lambda: scene.sample("compute_processes") == 2)
    assert scene.guess(drink) == "drink"


def test_the_batch_of_a_worker_that_is_killed_is_computed_by_another_one(scene: Scene, drink: ClipRequest) -> None:
    """A stopped process never answers, so the kill comes in the middle of the batch."""
    first, _ = scene.pool.worker_ids()
    os.kill(first, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as thread:
        call = thread.submit(scene.guess, drink)
        time.sleep(0.2)
        assert not call.done()
        os.kill(first, signal.SIGKILL)
        assert call.result(SECONDS) == "drink"
    assert scene.sample("compute_process_ends_total") == 1


def test_a_worker_that_does_not_answer_is_killed(
    world: "World", card: ModelCard, drink: ClipRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(world, card)
    monkeypatch.setattr(module, "_COMPUTE_SECONDS", 1.0)
    first, _ = scene.pool.worker_ids()
    os.kill(first, signal.SIGSTOP)
    # More bytes than the connection holds: the call hangs while it sends.
    unread = ClipRequest(bytes(5_000_000), "zeros")
    (answer,) = scene.pool.process(scene.model, [unread])
    assert isinstance(answer, InvalidInput)
    assert not runs(first)
    scene.pool.close()


def test_a_batch_whose_workers_end_twice_is_unavailable_with_a_time_to_retry(
    scene: Scene, drink: ClipRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = WorkerProcess.call

    def kill_first(worker: WorkerProcess, seconds: float, method: str, *arguments: Any) -> Any:
        if method == "process":
            worker.kill()
        return call(worker, seconds, method, *arguments)

    monkeypatch.setattr(WorkerProcess, "call", kill_first)
    with pytest.raises(WorkersAway, match="Retry in 1 s") as refused:
        scene.guess(drink)
    assert refused.value.retry_seconds == 1.0
    assert refused.value.code == "UNAVAILABLE"
    monkeypatch.undo()
    assert scene.guess(drink) == "drink"


def test_a_version_that_cannot_be_served_is_refused_as_in_one_process(
    world: "World", snapshot: Dataset, scene: Scene, drink: ClipRequest
) -> None:
    for card in (
        world.publish(snapshot, b"no graph"),
        world.publish(snapshot, smoothing_seconds=9.0),
        world.publish_with_parity(snapshot, error=0.01),
    ):
        with pytest.raises(DataLoss) as expected:
            LoadedModel.load(world.store, card.name, card.version, threads=1)
        with pytest.raises(type(expected.value)) as refused:
            scene.pool.load(world.store, card.name, card.version)
        assert str(refused.value) == str(expected.value)
    with pytest.raises(NotFound):
        scene.pool.load(world.store, "signet", "1999")
    assert scene.guess(drink) == "drink"
    exact = world.publish_with_parity(snapshot)
    assert scene.pool.load(world.store, exact.name, exact.version).has_parity_vector


def test_a_model_that_finds_no_room_is_not_loaded(world: "World", card: ModelCard, scene: Scene) -> None:
    def refuse(needed: int) -> None:
        assert needed > scene.model.memory_bytes // 2
        raise NotReady("no room")

    with pytest.raises(NotReady, match="no room"):
        scene.pool.load(world.store, card.name, card.version, refuse)


def test_a_model_leaves_the_workers_when_no_call_can_use_it(
    world: "World", snapshot: Dataset, scene: Scene, drink: ClipRequest
) -> None:
    newer = world.publish(snapshot)
    model = scene.pool.load(world.store, newer.name, newer.version)
    key = model.key
    stale = WorkerModel(model.card, 0, key)
    assert scene.pool.log_probs(stale, [np.zeros((9, 75, 3), np.float32)])
    del model
    gc.collect()

    def is_unloaded() -> bool:
        try:
            scene.pool.log_probs(stale, [np.zeros((9, 75, 3), np.float32)])
        except RuntimeError as error:
            return "KeyError" in str(error)
        return False

    until(is_unloaded)
    assert scene.guess(drink) == "drink"


def test_a_version_is_loaded_while_workers_are_killed_and_calls_go_on(
    world: "World", snapshot: Dataset, scene: Scene, drink: ClipRequest
) -> None:
    ended = threading.Event()

    def ask() -> int:
        count = 0
        while not ended.is_set():
            assert scene.guess(drink) == "drink"
            count += 1
        return count

    with ThreadPoolExecutor(2) as threads:
        calls = [threads.submit(ask) for _ in range(2)]
        newer = world.publish(snapshot)
        try:
            for _ in range(2):
                until(lambda: len(scene.pool.worker_ids()) == 2)
                os.kill(scene.pool.worker_ids()[0], signal.SIGKILL)
                model = scene.pool.load(world.store, newer.name, newer.version)
                assert len(scene.pool.log_probs(model, [np.zeros((9, 75, 3), np.float32)])) == 1
        finally:
            ended.set()
        assert all(call.result(SECONDS) > 0 for call in calls)


def test_calls_of_a_closed_pool_are_unavailable(scene: Scene, drink: ClipRequest) -> None:
    workers = scene.pool.worker_ids()
    assert scene.pool.is_ready()
    scene.pool.close()
    assert not scene.pool.is_ready()
    assert not any(map(runs, workers))
    with pytest.raises(WorkersAway):
        scene.guess(drink)


OWNER = """
import sys, time
from prometheus_client import CollectorRegistry
from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.workers.worker_pool import ModelWorkerPool
if __name__ == "__main__":
    print(*ModelWorkerPool(2, EvaluatorMetrics(CollectorRegistry())).worker_ids(), flush=True)
    time.sleep(600)
"""


def test_workers_end_with_a_killed_evaluator_and_not_by_ctrl_c() -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    workers = [int(pid) for pid in owner.stdout.readline().split()]
    assert len(workers) == 2

    def ignores_signals(pid: int) -> bool:
        ignored = Path(f"/proc/{pid}/status").read_text().split("SigIgn:")[1].split()[0]
        return all(int(ignored, 16) >> (number - 1) & 1 for number in (signal.SIGINT, signal.SIGTERM))

    until(lambda: all(map(ignores_signals, workers)))
    owner.kill()
    owner.wait()
    until(lambda: not any(map(runs, workers)))
    owner.stdout.close()
