"""The checkpoints of a run: complete or absent, of one process at a time, with and without the store."""

import logging
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from services.trainer.data.members import Member
from services.trainer.runs import store_retry
from services.trainer.runs.checkpoints import Checkpoints, TakenOver, create_checkpoints, take_over_checkpoints
from services.trainer.runs.progress import load_progress
from services.trainer.training.epoch import EpochResult
from services.trainer.training.validate import NO_SCORE
from signet.errors import Conflict, DataLoss, Unavailable
from signet.store import DirectoryStore, ObjectStore, keys

ONE = (Member(0, 3, (), ()),)
TWO = (Member(0, 3, (), ()), Member(1, 3, (), ()))


def start(
    store: ObjectStore, members: tuple[Member, ...] = ONE, should_abort: Callable[[], bool] = lambda: False
) -> Checkpoints:
    return create_checkpoints(
        store,
        "r",
        members,
        dataset_name="wlasl",
        dataset_version="v1",
        corpus_version="7",
        should_abort=should_abort,
    )


def resume(store: ObjectStore, members: tuple[Member, ...] = ONE) -> Checkpoints:
    progress = load_progress(store, "r")
    assert progress is not None
    return take_over_checkpoints(store, "r", members, progress, lambda: False)


def epoch(number: int) -> EpochResult:
    return EpochResult(number, 1 / number, NO_SCORE, 0.1, best=False)


def train(checkpoints: Checkpoints, first: int, last: int, member_key: tuple[int, int] = (0, 3)) -> None:
    for number in range(first, last + 1):
        checkpoints.add_epoch(member_key, epoch(number))


def files(store: ObjectStore) -> set[str]:
    return {info.key.removeprefix("runs/r/") for info in store.list("runs/r/")}


def test_a_run_resumes_from_its_latest_complete_state(object_store: ObjectStore) -> None:
    checkpoints = start(object_store)
    train(checkpoints, 1, 2)
    assert checkpoints.save_state((0, 3), b"two")
    train(checkpoints, 3, 4)
    assert checkpoints.save_state((0, 3), b"four")
    train(checkpoints, 5, 6)
    checkpoints.write_history((0, 3))  # these epochs are in no state
    assert files(object_store) == {"progress.json", "history.jsonl", "state-000004.safetensors"}

    again = resume(object_store)
    assert again.load_state((0, 3)) == b"four"
    assert [one.number for one in again.histories[0, 3]] == [1, 2, 3, 4]
    assert again.progress.corpus_version == "7"


class Killed(BaseException):
    """Stands for SIGKILL."""


class Mortal(DirectoryStore):
    """A store whose process dies before the write with this number."""

    left = 10**9
    writes: list[str]

    def put(self, key: str, data: bytes) -> None:
        self.spend(f"put {key.rpartition('/')[2]}")
        super().put(key, data)

    def delete(self, key: str) -> None:
        self.spend(f"delete {key.rpartition('/')[2]}")
        super().delete(key)

    def spend(self, write: str) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1
        self.writes.append(write)


def test_a_process_that_is_killed_while_it_saves_a_state_leaves_the_old_one_or_the_new_one(
    directory_store: DirectoryStore,
) -> None:
    """It is killed before each write in turn."""

    seen = []
    for writes in range(6):
        shutil.rmtree(directory_store.root / "runs", ignore_errors=True)
        store = Mortal(directory_store.root)
        store.writes = []
        checkpoints = start(store)
        train(checkpoints, 1, 2)
        checkpoints.save_state((0, 3), b"two")
        train(checkpoints, 3, 4)
        store.left = writes
        died = False
        try:
            checkpoints.save_state((0, 3), b"four")
        except Killed:
            died = True
        again = resume(directory_store)
        state, epochs = again.load_state((0, 3)), len(again.histories[0, 3])
        assert (state, epochs) in {(b"two", 2), (b"four", 4)}
        seen.append((died, epochs))
        again.save_weights((0, 3), b"weights", "")
        assert not [name for name in files(directory_store) if name.startswith("state")], "no orphan is left"
    assert seen == [(True, 2), (True, 2), (True, 2), (True, 4), (False, 4), (False, 4)]


def test_each_member_has_its_own_files_and_its_own_progress(object_store: ObjectStore) -> None:
    checkpoints = start(object_store, TWO)
    train(checkpoints, 1, 3)
    checkpoints.save_weights((0, 3), b"weights", "val")
    train(checkpoints, 1, 2, (1, 3))
    checkpoints.save_state((1, 3), b"state")
    assert files(object_store) == {
        "progress.json", "members/0-3/history.jsonl", "members/0-3/weights.safetensors",
        "members/1-3/history.jsonl", "members/1-3/state-000002.safetensors",
    }  # fmt: skip
    again = resume(object_store, TWO)
    assert (again.progress.done, again.progress.epochs) == (1, 5)
    assert again.load_weights((0, 3)) == b"weights"
    assert again.member_progress((0, 3)).selected_on == "val"
    assert again.resume_hint() == (
        "`signet train --resume r` goes on: 1 of 2 members are trained, and 5 epochs in all are saved."
    )


@pytest.mark.parametrize("how", ["damaged", "gone", "history"])
def test_a_state_or_history_that_is_not_what_was_written_is_refused(directory_store: DirectoryStore, how: str) -> None:
    checkpoints = start(directory_store)
    train(checkpoints, 1, 2)
    checkpoints.save_state((0, 3), b"two")
    state, history = keys.run("r", "state-000002.safetensors"), keys.run("r", "history.jsonl")
    if how == "damaged":
        directory_store.put(state, b"tw0")
    elif how == "gone":
        directory_store.delete(state)
    else:
        directory_store.put(history, directory_store.get(history).splitlines()[0])
    with pytest.raises(DataLoss, match=r"Delete runs/r/progress\.json, and the run begins from its first epoch"):
        resume(directory_store).load_state((0, 3))


def test_a_process_that_resumes_a_run_owns_it_and_the_process_before_stops(directory_store: DirectoryStore) -> None:
    first = start(directory_store)
    train(first, 1, 2)
    first.save_state((0, 3), b"two")
    second = resume(directory_store)
    train(first, 3, 3)
    with pytest.raises(TakenOver, match="was resumed by process"):
        first.save_state((0, 3), b"three")
    with pytest.raises(TakenOver):
        first.save_weights((0, 3), b"weights", "")
    assert second.load_state((0, 3)) == b"two"
    train(second, 3, 3)
    assert second.save_state((0, 3), b"three")


@pytest.fixture
def lost_store(directory_store: DirectoryStore) -> Callable[[bool], None]:
    """Makes the store's runs unavailable, and available again."""
    runs_folder, away = directory_store.root / "runs", directory_store.root / "away"

    def lose(lost: bool) -> None:
        if lost:
            runs_folder.rename(away)
            runs_folder.write_text("where a directory should be")
        else:
            runs_folder.unlink()
            away.rename(runs_folder)

    return lose


def test_a_training_goes_on_without_the_store_and_saves_its_state_when_the_store_is_back(
    directory_store: DirectoryStore, lost_store: Callable[[bool], None], caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = start(directory_store)
    train(checkpoints, 1, 2)
    checkpoints.save_state((0, 3), b"two")
    lost_store(True)
    train(checkpoints, 3, 4)
    with caplog.at_level(logging.WARNING):
        assert not checkpoints.save_state((0, 3), b"four")
    assert "its state cannot be written now" in caplog.text
    lost_store(False)
    assert saved_epochs(directory_store) == 2
    train(checkpoints, 5, 5)
    assert checkpoints.save_state((0, 3), b"five")
    assert "the store is back" in caplog.text
    assert saved_epochs(directory_store) == 5


def saved_epochs(store: ObjectStore) -> int:
    progress = load_progress(store, "r")
    return progress.epochs if progress else 0


def test_weights_wait_for_the_store_and_at_last_the_error_says_how_to_resume(
    directory_store: DirectoryStore,
    lost_store: Callable[[bool], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(store_retry, "_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(store_retry, "_GIVE_UP_SECONDS", 0.1)
    checkpoints = start(directory_store)
    train(checkpoints, 1, 2)
    checkpoints.save_state((0, 3), b"two")
    train(checkpoints, 3, 3)
    lost_store(True)
    with pytest.raises(Unavailable, match=r"cannot write.*`signet train --resume r` goes on after epoch 2\."):
        checkpoints.save_weights((0, 3), b"weights", "")
    assert "the training is finished and waits for the store" in caplog.text
    lost_store(False)
    checkpoints.save_weights((0, 3), b"weights", "")
    assert resume(directory_store).load_weights((0, 3)) == b"weights"


def test_writing_states_takes_two_percent_of_the_time(
    directory_store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("services.trainer.runs.checkpoints.time.monotonic", lambda: now[0])

    class Slow(DirectoryStore):
        def put(self, key: str, data: bytes) -> None:
            now[0] += 0.1
            super().put(key, data)

    checkpoints = start(Slow(directory_store.root))
    assert checkpoints.is_state_due((0, 3))
    train(checkpoints, 1, 1)
    checkpoints.save_state((0, 3), b"one", seconds=0.1)  # 0.3 s for history, state and progress
    now[0] += 19.9
    assert not checkpoints.is_state_due((0, 3))
    assert checkpoints.is_state_due((1, 3)), "members do not wait for one another"
    now[0] += 0.2
    assert checkpoints.is_state_due((0, 3)), "0.4 s in 20 s are 2 %"


def test_a_run_with_a_result_has_no_states(directory_store: DirectoryStore) -> None:
    checkpoints = start(directory_store, TWO)
    for member_key in ((0, 3), (1, 3)):
        train(checkpoints, 1, 2, member_key)
        checkpoints.save_state(member_key, b"state")
    checkpoints.delete_states()
    assert not [name for name in files(directory_store) if "state" in name]


@pytest.mark.parametrize(
    "planned",
    [
        (Member(0, 3, (), ()), Member(1, 4, (), ())),
        (Member(1, 3, (), ()), Member(0, 3, (), ())),
        (Member(0, 3, (), ()),),
    ],
    ids=["another seed", "another order", "fewer members"],
)
def test_a_run_is_not_resumed_with_other_members_than_it_was_started_with(
    directory_store: DirectoryStore, planned: tuple[Member, ...]
) -> None:
    checkpoints = start(directory_store, TWO)
    train(checkpoints, 1, 1)
    checkpoints.save_state((0, 3), b"one")
    before = directory_store.get(keys.run("r", "progress.json"))
    with pytest.raises(Conflict, match="its progress has 2 members, and its configuration plans others"):
        resume(directory_store, planned)
    assert directory_store.get(keys.run("r", "progress.json")) == before, "its owner still has it"


def test_a_state_that_is_saved_twice_for_the_same_epoch_stays(directory_store: DirectoryStore) -> None:
    checkpoints = start(directory_store)
    train(checkpoints, 1, 2)
    assert checkpoints.save_state((0, 3), b"two")
    assert checkpoints.save_state((0, 3), b"two again")
    assert resume(directory_store).load_state((0, 3)) == b"two again"


def test_a_process_that_is_killed_while_it_saves_weights_leaves_the_state_or_the_weights(
    directory_store: DirectoryStore,
) -> None:
    seen = []
    for writes in range(5):
        shutil.rmtree(directory_store.root / "runs", ignore_errors=True)
        store = Mortal(directory_store.root)
        store.writes = []
        checkpoints = start(store)
        train(checkpoints, 1, 2)
        checkpoints.save_state((0, 3), b"two")
        train(checkpoints, 3, 3)
        store.left, store.writes = writes, []
        with suppress(Killed):
            checkpoints.save_weights((0, 3), b"weights", "")
        again = resume(directory_store)
        seen.append((again.member_progress((0, 3)).done, again.load_state((0, 3)), len(again.histories[0, 3])))
    assert seen == [(False, b"two", 2)] * 3 + [(True, b"weights", 3)] * 2
    assert store.writes == [
        "put history.jsonl", "put weights.safetensors", "put progress.json", "delete state-000002.safetensors",
    ]  # fmt: skip


def test_a_process_that_no_longer_owns_the_run_writes_nothing_at_its_end(directory_store: DirectoryStore) -> None:
    first = start(directory_store)
    train(first, 1, 1)
    second = resume(directory_store)
    before = {info.key: directory_store.get(info.key) for info in directory_store.list("runs/")}
    writes: list[Callable[[], None]] = [
        partial(first.release, failure="the loss"),
        partial(first.save_partial_weights, (0, 3), b"weights"),
        partial(first.save_weights, (0, 3), b"weights", ""),
    ]
    for write in writes:
        with pytest.raises(TakenOver):
            write()
    assert {info.key: directory_store.get(info.key) for info in directory_store.list("runs/")} == before
    second.release()


def test_a_failure_is_stored_and_is_over_when_the_run_is_resumed(directory_store: DirectoryStore) -> None:
    start(directory_store).release(failure="the loss is not finite")
    progress = load_progress(directory_store, "r")
    assert progress is not None
    assert (progress.failure, progress.owner.pid) == ("the loss is not finite", 0)
    assert resume(directory_store).progress.failure == ""
    resumed = load_progress(directory_store, "r")
    assert resumed is not None
    assert (resumed.failure, resumed.owner.pid) == ("", os.getpid())


def test_the_time_of_the_last_write_is_stored(directory_store: DirectoryStore) -> None:
    checkpoints = start(directory_store)
    train(checkpoints, 1, 1)
    checkpoints.progress = checkpoints.progress.model_copy(update={"updated": "2026-01-01T00:00:00+00:00"})
    checkpoints.save_state((0, 3), b"one")
    progress = load_progress(directory_store, "r")
    assert progress is not None
    assert datetime.now(UTC) - datetime.fromisoformat(progress.updated) < timedelta(minutes=2)


def test_the_time_of_a_run_is_that_of_all_its_processes(
    directory_store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("services.trainer.runs.checkpoints.time.monotonic", lambda: now[0])
    first = start(directory_store)
    now[0] += 50
    first.release()
    now[0] += 1000
    second = resume(directory_store)
    now[0] += 20
    assert second.seconds == 70
    second.release()
    progress = load_progress(directory_store, "r")
    assert progress is not None
    assert progress.seconds == 70


def test_states_are_due_later_with_parallel_members_and_sooner_after_a_failed_write(
    directory_store: DirectoryStore, lost_store: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("services.trainer.runs.checkpoints.time.monotonic", lambda: now[0])

    def seconds_until_due(checkpoints: Checkpoints, seconds: float) -> float:
        checkpoints.save_state((0, 3), b"state", seconds)
        waited = 0.0
        while not checkpoints.is_state_due((0, 3)):
            now[0] += 0.5
            waited += 0.5
        return waited

    checkpoints = start(directory_store)
    train(checkpoints, 1, 1)
    assert seconds_until_due(checkpoints, 0.0) == 1, "the least pause"
    assert seconds_until_due(checkpoints, 0.1) == 5, "2 % of 5 s"
    checkpoints.parallel_members = 3
    assert seconds_until_due(checkpoints, 0.1) == 15
    assert seconds_until_due(checkpoints, 10.0) == 1500
    lost_store(True)
    assert seconds_until_due(checkpoints, 10.0) == 60, "tried again within a minute"
    assert seconds_until_due(checkpoints, 0.1) == 15
    lost_store(False)


def test_a_history_is_written_every_few_seconds_and_not_every_epoch(
    directory_store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("services.trainer.runs.checkpoints.time.monotonic", lambda: now[0])
    checkpoints = start(directory_store)
    written = []
    for number in range(1, 13):
        checkpoints.add_epoch((0, 3), epoch(number))
        stored = directory_store.stat(keys.run("r", "history.jsonl"))
        data = directory_store.get(keys.run("r", "history.jsonl")) if stored else b""
        written.append(len(data.splitlines()))
        now[0] += 1.0
    assert written == [0, 0, 0, 0, 0, 0, 7, 7, 7, 7, 7, 7]
