"""Which models a run trains, and on what."""

from collections import Counter

import pytest
import torch

from services.trainer.config.train_config import TrainConfig
from services.trainer.runs.events import RunCallbacks
from services.trainer.runs.members import (
    EpochDone,
    MemberDone,
    MemberEvent,
    RunAborted,
    StateReady,
    is_target_met,
    plan_members,
    train_member,
)
from services.trainer.training.epoch import EpochResult
from services.trainer.training.validate import Score
from signet.datasets.snapshot import Dataset
from signet.errors import InvalidInput

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


def test_a_run_of_one_seed_trains_on_train_and_is_evaluated_on_val(small_dataset: Dataset) -> None:
    (only,) = plan_members(small_dataset.manifest, TrainConfig(seed=5))
    assert only.key == (0, 5)
    assert (list(only.train), list(only.held_out)) == (small_dataset.split("train"), small_dataset.split("val"))


def test_seeds_follow_one_another(small_dataset: Dataset) -> None:
    assert [member.key for member in plan_members(small_dataset.manifest, TrainConfig(seed=5, seeds=3))] == [
        (0, 5),
        (0, 6),
        (0, 7),
    ]


def test_folds_hold_out_every_clip_once_for_every_seed_and_no_signer_is_on_both_sides(small_dataset: Dataset) -> None:
    members = plan_members(small_dataset.manifest, TrainConfig(seeds=2, folds=4))
    assert [member.key for member in members] == [(fold, seed) for seed in (0, 1) for fold in range(4)]
    for seed in (0, 1):
        held_out = Counter(clip.clip_id for one in members if one.seed == seed for clip in one.held_out)
        assert held_out == Counter(clip.clip_id for clip in small_dataset.manifest.clips)
    for member in members:
        assert len(member.train) + len(member.held_out) == 24
        assert not {clip.signer for clip in member.train} & {clip.signer for clip in member.held_out}


def test_a_fold_parts_all_clips_and_no_duplicates(small_dataset: Dataset) -> None:
    """Two clips of different signers that show the same recording are held out together."""
    manifest = small_dataset.manifest
    config = TrainConfig(folds=4)
    apart = [member for member in plan_members(manifest, config) if "book-0" in {c.clip_id for c in member.held_out}]
    other = next(clip for clip in apart[0].train if clip.signer != "0")
    audit = manifest.audit.model_copy(update={"near_identical": (("book-0", other.clip_id),)})
    members = plan_members(manifest.model_copy(update={"audit": audit}), config.model_copy(update={"folds": 3}))
    for member in members:
        held_out, train = ({clip.clip_id for clip in clips} for clips in (member.held_out, member.train))
        assert held_out | train == {clip.clip_id for clip in manifest.clips}
        assert not held_out & train
        assert len({"book-0", other.clip_id} & held_out) in {0, 2}


def test_clips_of_another_split_belong_to_no_member(small_dataset: Dataset) -> None:
    first, *rest = small_dataset.manifest.clips
    test_clip = first.model_copy(update={"split": "test"})
    manifest = small_dataset.manifest.model_copy(update={"clips": (test_clip, *rest)})
    for config in (TrainConfig(), TrainConfig(folds=2)):
        for member in plan_members(manifest, config):
            assert test_clip.clip_id not in {clip.clip_id for clip in (*member.train, *member.held_out)}


def test_more_folds_than_signers_are_refused(small_dataset: Dataset) -> None:
    with pytest.raises(InvalidInput, match="5 folds of 24 clips: they have only 4 signers"):
        plan_members(small_dataset.manifest, TrainConfig(folds=5))


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
