"""Members in worker processes: the results are those of one process, and no process is left over."""

import logging
import multiprocessing
import time
from collections.abc import Callable

import psutil
import pytest
import torch

from services.trainer.config.train_config import TrainConfig
from services.trainer.data.members import Member, MemberKey, plan_members
from services.trainer.runs.events import RunCallbacks
from services.trainer.runs.member_training import (
    EpochDone,
    MemberDone,
    MemberEvent,
    RunAborted,
    StateReady,
    train_member,
)
from services.trainer.runs.worker_pool import (
    CallbackEvent,
    Command,
    JobEnded,
    MemberJob,
    _ForwardingCallbacks,
    _ParentChannel,
    train_in_worker_pool,
)
from services.trainer.training.callbacks import TrainingCallbacks
from signet.datasets.snapshot import Dataset
from signet.errors import SignetError
from tests.conftest import alive

CPU = torch.device("cpu")
CONFIG = TrainConfig(num_epochs=3, hidden_dim=4, batch_size=8, seeds=3, jobs=2)


Workers = Callable[[], list[psutil.Process]]


def spawned() -> list[psutil.Process]:
    """The processes that multiprocessing began here; it keeps another one for itself."""
    return [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


@pytest.fixture
def workers() -> Workers:
    """Those that train: begun since the test was."""
    before = set(spawned())
    return lambda: [worker for worker in spawned() if worker not in before]


class Counted(TrainingCallbacks):
    def __init__(self) -> None:
        self.batches = 0

    def on_batch(self) -> None:
        self.batches += 1


def train_members(
    dataset: Dataset,
    config: TrainConfig = CONFIG,
    *,
    on_step: Callable[[MemberEvent], None] = lambda _: None,
    callbacks: RunCallbacks | None = None,
    state_seconds: float = 0.0,
) -> list[MemberEvent]:
    steps: list[MemberEvent] = []
    for step in train_in_worker_pool(
        dataset,
        config,
        plan_members(dataset.manifest, config),
        CPU,
        lambda _: None,
        callbacks or RunCallbacks(),
        state_seconds=state_seconds,
    ):
        steps.append(step)
        on_step(step)
    return steps


def test_members_of_a_worker_pool_are_those_that_one_process_trains(small_dataset: Dataset, workers: Workers) -> None:
    counted = Counted()
    steps = train_members(small_dataset, callbacks=RunCallbacks(training=counted))
    done = {step.key: step for step in steps if isinstance(step, MemberDone)}
    for member in plan_members(small_dataset.manifest, CONFIG):
        *_, expected = train_member(small_dataset, CONFIG, member, CPU, None, RunCallbacks(), lambda: False)
        assert done[member.key] == expected
    for place in done:
        assert [step.epoch.number for step in steps if isinstance(step, EpochDone) and step.key == place] == [1, 2, 3]
    assert counted.batches == 3 * 3 * 3, "of all members, three a epoch"
    assert {step.key for step in steps if isinstance(step, StateReady)} == {(0, 0), (0, 1), (0, 2)}
    assert not alive(workers())


def test_an_aborted_worker_pool_leaves_the_state_of_each_member_and_ends(
    small_dataset: Dataset, workers: Workers
) -> None:
    seen: dict[MemberKey, int] = {}
    states: dict[MemberKey, bytes] = {}

    def on_step(step: MemberEvent) -> None:
        if isinstance(step, EpochDone):
            seen[step.key] = step.epoch.number
        elif isinstance(step, StateReady):
            states[step.key] = step.state

    config = CONFIG.model_copy(update={"num_epochs": 100_000})
    with pytest.raises(RunAborted):
        train_members(
            small_dataset,
            config,
            on_step=on_step,
            callbacks=RunCallbacks(should_abort=lambda: len(seen) == 2),
            state_seconds=1e6,
        )
    assert states.keys() == {(0, 0), (0, 1)}, "the third had not begun"
    assert not alive(workers())


def test_a_worker_that_dies_ends_the_run_after_the_state_of_the_other(small_dataset: Dataset, workers: Workers) -> None:
    states: list[MemberKey] = []
    killed: list[psutil.Process] = []
    trained: set[MemberKey] = set()

    def on_step(step: MemberEvent) -> None:
        if isinstance(step, EpochDone):
            trained.add(step.key)
            # Both have something to keep.
            if len(trained) == 2 and not killed:
                killed.append(workers()[0])
                killed[0].kill()
        elif isinstance(step, StateReady):
            states.append(step.key)

    config = CONFIG.model_copy(update={"num_epochs": 100_000})
    started = time.monotonic()
    with pytest.raises(SignetError, match=r"ended by itself \(status -9\).*fewer --jobs"):
        train_members(small_dataset, config, on_step=on_step, state_seconds=1e6)
    assert len(states) == 1
    assert time.monotonic() - started < 60
    assert not alive(workers())


def test_a_stopped_worker_pool_ends_each_member_after_its_epoch_and_starts_no_more(
    small_dataset: Dataset, workers: Workers
) -> None:
    seen: set[MemberKey] = set()
    config = CONFIG.model_copy(update={"num_epochs": 100_000})
    steps = train_members(
        small_dataset,
        config,
        on_step=lambda step: seen.add(step.key),
        callbacks=RunCallbacks(should_stop=lambda: len(seen) == 2),
    )
    done = {step.key: step.complete for step in steps if isinstance(step, MemberDone)}
    assert done == {(0, 0): False, (0, 1): False}, "the third had not begun"
    assert not alive(workers())


def test_a_member_that_cannot_be_trained_ends_the_run_and_its_log_is_written_here(
    small_dataset: Dataset, workers: Workers, caplog: pytest.LogCaptureFixture
) -> None:
    config = CONFIG.model_copy(update={"lr": 1e30, "gradient_norm": 0.0, "optimizer": "sgd", "num_epochs": 50})
    recovered = Recovered()
    with pytest.raises(SignetError, match="a lower --lr"), caplog.at_level(logging.WARNING):
        train_members(small_dataset, config, callbacks=RunCallbacks(training=recovered))
    assert caplog.messages[0].startswith("the loss of epoch 1 was not finite: went back"), "a worker's log line"
    assert recovered.actions[:3] == ["recovery"] * 3
    assert recovered.failures
    assert not alive(workers())


class Recovered(TrainingCallbacks):
    def __init__(self) -> None:
        self.actions: list[str] = []
        self.failures = 0

    def on_recovery_action(self, action: str) -> None:
        self.actions.append(action)

    def on_nonfinite_loss(self) -> None:
        self.failures += 1


class Recorded(TrainingCallbacks):
    def __init__(self) -> None:
        self.calls: list[object] = []

    def on_batch(self) -> None:
        self.calls.append("batch")

    def on_memory_split(self) -> None:
        self.calls.append("split")

    def on_nonfinite_loss(self) -> None:
        self.calls.append("nonfinite")

    def on_recovery_action(self, action: str) -> None:
        self.calls.append(action)

    def on_throttling(self, paused: bool) -> None:
        self.calls.append(paused)

    def on_throttled_seconds(self, seconds: float) -> None:
        self.calls.append(seconds)


def test_each_callback_of_a_worker_is_repeated_in_the_parent() -> None:
    here, worker_end = multiprocessing.Pipe()
    callbacks, recorded = _ForwardingCallbacks(_ParentChannel(worker_end)), Recorded()
    callbacks.on_batch()
    callbacks.on_batch()
    callbacks.on_memory_split()
    callbacks.on_nonfinite_loss()
    callbacks.on_recovery_action("recovery")
    callbacks.on_throttling(True)
    callbacks.on_throttling(False)
    callbacks.on_throttled_seconds(0.0)
    callbacks.flush()
    callbacks.flush()
    while here.poll():
        event = here.recv()
        assert isinstance(event, CallbackEvent)
        event.repeat(recorded)
    assert recorded.calls == ["split", "nonfinite", "recovery", True, False, 0.0, "batch", "batch"]
    assert set(vars(Recorded)) >= {name for name in vars(TrainingCallbacks) if name.startswith("on_")}


def test_an_order_for_the_job_before_does_not_end_the_next_one() -> None:
    here, worker_end = multiprocessing.Pipe()
    parent = _ParentChannel(worker_end)
    member = Member(0, 3, (), ())
    here.send(Command.STOP)
    here.send(MemberJob(member, b"state"))
    assert parent.wait_for_job() == MemberJob(member, b"state")
    assert not parent.commands
    here.send(Command.STOP)
    here.send(Command.ABORT)
    assert parent.poll_abort()
    assert parent.commands == {Command.STOP, Command.ABORT}
    parent.send(JobEnded())
    assert here.recv() == JobEnded(None)
