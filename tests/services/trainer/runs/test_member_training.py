"""The training of one member yields its epochs, its states and its weights."""

import pytest
import torch

from services.trainer.config.train_config import TrainConfig
from services.trainer.data.members import plan_members
from services.trainer.runs.events import RunCallbacks
from services.trainer.runs.member_training import (
    EpochDone,
    MemberDone,
    MemberEvent,
    RunAborted,
    StateReady,
    is_target_met,
    train_member,
)
from services.trainer.training.epoch import EpochResult
from services.trainer.training.validate import Score
from signet.datasets.snapshot import Dataset

CPU = torch.device("cpu")
SHORT = TrainConfig(num_epochs=4, hidden_dim=4, batch_size=8)


def callbacks(stop_after: int = 10**6, abort_at_batch: int = 10**6) -> RunCallbacks:
    epochs = iter(range(1, 10**6))
    batches = iter(range(10**6))
    return RunCallbacks(
        should_stop=lambda: next(epochs) >= stop_after, should_abort=lambda: next(batches) == abort_at_batch
    )


def always() -> bool:
    return True


def test_a_member_yields_each_epoch_and_then_its_weights(small_dataset: Dataset) -> None:
    (member,) = plan_members(small_dataset.manifest, SHORT)
    events = list(train_member(small_dataset, SHORT, member, CPU, None, callbacks(), always))
    assert [type(event) for event in events] == [
        EpochDone,
        StateReady,
        EpochDone,
        StateReady,
        EpochDone,
        StateReady,
        EpochDone,
        MemberDone,
    ]
    *_, last, done = events
    assert isinstance(last, EpochDone)
    assert isinstance(done, MemberDone)
    assert (last.epoch.last, done.complete, done.selected_on) == (True, True, "")
    assert last.epoch.train is not None


def test_a_member_resumes_from_its_state_to_the_same_weights(small_dataset: Dataset) -> None:
    (member,) = plan_members(small_dataset.manifest, SHORT)
    *_, expected = train_member(small_dataset, SHORT, member, CPU, None, callbacks(), always)
    for kept_at in (1, 3):
        first = train_member(small_dataset, SHORT, member, CPU, None, callbacks(), always)
        state = [event.state for event in first if isinstance(event, StateReady)][kept_at - 1]
        rest = list(train_member(small_dataset, SHORT, member, CPU, state, callbacks(), always))
        assert [event.epoch.number for event in rest if isinstance(event, EpochDone)] == list(range(kept_at + 1, 5))
        assert rest[-1] == expected


def test_a_member_that_is_stopped_is_not_complete(small_dataset: Dataset) -> None:
    (member,) = plan_members(small_dataset.manifest, SHORT)
    *_, last, done = train_member(small_dataset, SHORT, member, CPU, None, callbacks(stop_after=2), always)
    assert isinstance(last, EpochDone)
    assert isinstance(done, MemberDone)
    assert (last.epoch.number, last.epoch.last, done.complete) == (2, True, False)


def test_an_aborted_member_yields_the_state_of_its_last_epoch(small_dataset: Dataset) -> None:
    (member,) = plan_members(small_dataset.manifest, SHORT)
    aborted = callbacks(abort_at_batch=7)  # an epoch has three
    events: list[MemberEvent] = []
    training = train_member(small_dataset, SHORT, member, CPU, None, aborted, lambda: False)
    with pytest.raises(RunAborted):
        while True:
            events.append(next(training))
    assert [type(event) for event in events] == [EpochDone, EpochDone, StateReady]


@pytest.mark.parametrize(
    ("update", "epoch", "correct", "met"),
    [
        ({}, 60, 3, True),
        ({}, 60, 2, False),
        ({}, 24, 3, False),
        ({"train_past_target": True}, 60, 3, False),
        ({"target_accuracy": None}, 60, 4, False),
    ],
)
def test_the_target_is_met_by_enough_clips_after_the_flat_start(
    update: dict[str, object], epoch: int, correct: int, met: bool
) -> None:
    config = SHORT.model_copy(update={"target_accuracy": 0.75, "num_epochs": 60, "flat_start": 0.4, **update})
    score = Score(1.0, 4, correct, 4, 4, 0, 0.5)
    assert is_target_met(EpochResult(epoch, 1.0, score, 0.1, best=True), config) is met
