"""Members trained side by side: the same members, and nobody left behind."""

import time
from collections.abc import Callable

import psutil
import pytest
import torch

from services.trainer.config.train_config import TrainConfig
from services.trainer.runs.members import Abandoned, Done, Kept, Orders, Place, Step, Trained, plan, train
from services.trainer.runs.worker_pool import train_side_by_side
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


def side_by_side(
    dataset: Dataset,
    config: TrainConfig = CONFIG,
    *,
    heard: Callable[[Step], None] = lambda _: None,
    abandoned: Callable[[], bool] = lambda: False,
    callbacks: TrainingCallbacks | None = None,
    state_seconds: float = 0.0,
) -> list[Step]:
    steps: list[Step] = []
    for step in train_side_by_side(
        dataset,
        config,
        plan(dataset, config),
        CPU,
        lambda _: None,
        stopped=lambda: False,
        abandoned=abandoned,
        callbacks=callbacks or TrainingCallbacks(),
        state_seconds=state_seconds,
    ):
        steps.append(step)
        heard(step)
    return steps


def test_members_that_are_trained_side_by_side_are_those_that_are_trained_alone(
    small_dataset: Dataset, workers: Workers
) -> None:
    told = Counted()
    steps = side_by_side(small_dataset, callbacks=told)
    done = {step.place: step for step in steps if isinstance(step, Done)}
    alone = Orders(lambda: False, lambda: False, lambda: None, TrainingCallbacks())
    for member in plan(small_dataset, CONFIG):
        *_, expected = train(small_dataset, CONFIG, member, CPU, None, alone)
        assert done[member.place] == expected
    for place in done:
        assert [step.epoch.number for step in steps if isinstance(step, Trained) and step.place == place] == [1, 2, 3]
    assert told.batches == 3 * 3 * 3, "of all members, three a epoch"
    assert {step.place for step in steps if isinstance(step, Kept)} == {(0, 0), (0, 1), (0, 2)}
    assert not alive(workers())


def test_a_crew_that_is_given_up_leaves_the_state_of_each_and_ends(small_dataset: Dataset, workers: Workers) -> None:
    seen: dict[Place, int] = {}
    kept: dict[Place, bytes] = {}

    def heard(step: Step) -> None:
        if isinstance(step, Trained):
            seen[step.place] = step.epoch.number
        elif isinstance(step, Kept):
            kept[step.place] = step.state

    config = CONFIG.model_copy(update={"num_epochs": 100_000})
    with pytest.raises(Abandoned):
        side_by_side(small_dataset, config, heard=heard, abandoned=lambda: len(seen) == 2, state_seconds=1e6)
    assert kept.keys() == {(0, 0), (0, 1)}, "the third had not begun"
    assert not alive(workers())


def test_a_worker_that_dies_is_noticed_and_the_others_leave_their_state(
    small_dataset: Dataset, workers: Workers
) -> None:
    kept: list[Place] = []
    killed: list[psutil.Process] = []
    trained: set[Place] = set()

    def heard(step: Step) -> None:
        if isinstance(step, Trained):
            trained.add(step.place)
            # Both have something to keep.
            if len(trained) == 2 and not killed:
                killed.append(workers()[0])
                killed[0].kill()
        elif isinstance(step, Kept):
            kept.append(step.place)

    config = CONFIG.model_copy(update={"num_epochs": 100_000})
    started = time.monotonic()
    with pytest.raises(SignetError, match=r"ended by itself \(status -9\).*--jobs"):
        side_by_side(small_dataset, config, heard=heard, state_seconds=1e6)
    assert len(kept) == 1
    assert time.monotonic() - started < 60
    assert not alive(workers())
