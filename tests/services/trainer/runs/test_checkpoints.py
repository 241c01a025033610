"""What is kept of a run while it goes on: whole or not at all, of one process at a time, store or no store."""

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from services.trainer.runs import store_retry
from services.trainer.runs.checkpoints import Checkpoints, TakenOver, create_checkpoints, take_over_checkpoints
from services.trainer.runs.members import Member
from services.trainer.runs.progress import RunProgress, load_progress, resume_hint
from services.trainer.training.epoch import Epoch
from services.trainer.training.validate import NO_SCORE
from signet.errors import Conflict, DataLoss, Unavailable
from signet.store import DirectoryStore, ObjectStore, keys

ONE = (Member(0, 3, (), ()),)
TWO = (Member(0, 3, (), ()), Member(1, 3, (), ()))


def start(
    store: ObjectStore, members: tuple[Member, ...] = ONE, should_abandon: Callable[[], bool] = lambda: False
) -> Checkpoints:
    return create_checkpoints(
        store,
        "r",
        members,
        dataset_name="wlasl",
        dataset_version="v1",
        corpus_version="7",
        should_abandon=should_abandon,
    )


def go_on(store: ObjectStore, members: tuple[Member, ...] = ONE) -> Checkpoints:
    progress = load_progress(store, "r")
    assert progress is not None
    return take_over_checkpoints(store, "r", members, progress, lambda: False)


def epoch(number: int) -> Epoch:
    return Epoch(number, 1 / number, NO_SCORE, 0.1, best=False)


def train(kept: Checkpoints, first: int, last: int, member_key: tuple[int, int] = (0, 3)) -> None:
    for number in range(first, last + 1):
        kept.add_epoch(member_key, epoch(number))


def files(store: ObjectStore) -> set[str]:
    return {info.key.removeprefix("runs/r/") for info in store.list("runs/r/")}


def test_a_run_goes_on_from_its_latest_whole_state(object_store: ObjectStore) -> None:
    kept = start(object_store)
    train(kept, 1, 2)
    assert kept.save_state((0, 3), b"two")
    train(kept, 3, 4)
    assert kept.save_state((0, 3), b"four")
    train(kept, 5, 6)
    kept.write_history((0, 3))  # for those who watch: no state has seen these
    assert files(object_store) == {"progress.json", "history.jsonl", "state-000004.safetensors"}

    again = go_on(object_store)
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


def test_a_process_that_is_killed_between_two_writes_leaves_the_state_before(directory_store: DirectoryStore) -> None:
    """It dies before each of the writes of a state in turn; what is kept then is always one that is whole."""

    seen = []
    for writes in range(6):
        shutil.rmtree(directory_store.root / "runs", ignore_errors=True)
        store = Mortal(directory_store.root)
        store.writes = []
        kept = start(store)
        train(kept, 1, 2)
        kept.save_state((0, 3), b"two")
        train(kept, 3, 4)
        store.left = writes
        died = False
        try:
            kept.save_state((0, 3), b"four")
        except Killed:
            died = True
        again = go_on(directory_store)
        state, epochs = again.load_state((0, 3)), len(again.histories[0, 3])
        assert (state, epochs) in {(b"two", 2), (b"four", 4)}
        seen.append((died, epochs))
        again.save_weights((0, 3), b"weights", "")
        assert not [name for name in files(directory_store) if name.startswith("state")], "no orphan is left"
    assert seen == [(True, 2), (True, 2), (True, 2), (True, 4), (False, 4), (False, 4)]


def test_members_keep_apart_and_those_that_are_trained_are_known(object_store: ObjectStore) -> None:
    kept = start(object_store, TWO)
    train(kept, 1, 3)
    kept.save_weights((0, 3), b"weights", "val")
    train(kept, 1, 2, (1, 3))
    kept.save_state((1, 3), b"state")
    assert files(object_store) == {
        "progress.json", "members/0-3/history.jsonl", "members/0-3/weights.safetensors",
        "members/1-3/history.jsonl", "members/1-3/state-000002.safetensors",
    }  # fmt: skip
    again = go_on(object_store, TWO)
    assert (again.progress.done, again.progress.epochs) == (1, 5)
    assert again.load_weights((0, 3)) == b"weights"
    assert again.member_progress((0, 3)).selected_on == "val"
    assert again.resume_hint() == (
        "`signet train --resume r` goes on: 1 of 2 members are trained, and 5 epochs in all are saved."
    )


@pytest.mark.parametrize("how", ["damaged", "gone", "history"])
def test_a_state_that_is_not_what_was_written_is_not_believed(directory_store: DirectoryStore, how: str) -> None:
    kept = start(directory_store)
    train(kept, 1, 2)
    kept.save_state((0, 3), b"two")
    state, history = keys.run("r", "state-000002.safetensors"), keys.run("r", "history.jsonl")
    if how == "damaged":
        directory_store.put(state, b"tw0")
    elif how == "gone":
        directory_store.delete(state)
    else:
        directory_store.put(history, directory_store.get(history).splitlines()[0])
    with pytest.raises(DataLoss, match=r"Delete runs/r/progress\.json, and the run begins from its first epoch"):
        go_on(directory_store).load_state((0, 3))


def test_whoever_goes_on_with_a_run_takes_it_and_the_other_process_stops(directory_store: DirectoryStore) -> None:
    first = start(directory_store)
    train(first, 1, 2)
    first.save_state((0, 3), b"two")
    second = go_on(directory_store)
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
    """Takes the store's runs away, and gives them back."""
    there, away = directory_store.root / "runs", directory_store.root / "away"

    def lose(lost: bool) -> None:
        if lost:
            there.rename(away)
            there.write_text("where a directory should be")
        else:
            there.unlink()
            away.rename(there)

    return lose


def test_a_lost_store_does_not_end_a_training_and_gets_the_state_when_it_is_back(
    directory_store: DirectoryStore, lost_store: Callable[[bool], None], caplog: pytest.LogCaptureFixture
) -> None:
    kept = start(directory_store)
    train(kept, 1, 2)
    kept.save_state((0, 3), b"two")
    lost_store(True)
    train(kept, 3, 4)
    with caplog.at_level(logging.WARNING):
        assert not kept.save_state((0, 3), b"four")
    assert "its state cannot be written now" in caplog.text
    lost_store(False)
    assert go_on_reading(directory_store) == 2
    train(kept, 5, 5)
    assert kept.save_state((0, 3), b"five")
    assert "the store is back" in caplog.text
    assert go_on_reading(directory_store) == 5


def go_on_reading(store: ObjectStore) -> int:
    progress = load_progress(store, "r")
    return progress.epochs if progress else 0


def test_what_was_trained_waits_for_a_lost_store_and_at_last_says_how_to_go_on(
    directory_store: DirectoryStore,
    lost_store: Callable[[bool], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(store_retry, "_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(store_retry, "_GIVE_UP_SECONDS", 0.1)
    kept = start(directory_store)
    train(kept, 1, 2)
    kept.save_state((0, 3), b"two")
    train(kept, 3, 3)
    lost_store(True)
    with pytest.raises(Unavailable, match=r"cannot write.*`signet train --resume r` goes on after epoch 2\."):
        kept.save_weights((0, 3), b"weights", "")
    assert "the training is finished and waits for the store" in caplog.text
    lost_store(False)
    kept.save_weights((0, 3), b"weights", "")
    assert go_on(directory_store).load_weights((0, 3)) == b"weights"


def owned(pid: int, host: str, updated: str, began: str = "") -> RunProgress:
    return RunProgress.model_validate(
        {
            "dataset_name": "d", "dataset_version": "v", "corpus_version": "", "seconds": 1, "members": (),
            "owner": {"token": "t", "host": host, "pid": pid, "began": began}, "updated": updated,
        }
    )  # fmt: skip


def test_a_run_is_live_as_long_as_its_process_is_or_may_be(directory_store: DirectoryStore) -> None:
    here = start(directory_store).progress.owner.host
    long_ago, ever = "2026-01-01T00:00:00+00:00", "2999-01-01T00:00:00+00:00"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        assert owned(other.pid, here, long_ago).is_live()
        assert not owned(other.pid, here, ever, began="1").is_live(), "another process has the number now"
        other.terminate()
        other.wait(10)
        assert not owned(other.pid, here, ever).is_live()
    assert owned(1, "another", ever).is_live()
    assert not owned(1, "another", long_ago).is_live()


def test_a_process_that_lets_go_or_has_this_ones_number_does_not_hold_a_run(directory_store: DirectoryStore) -> None:
    kept = start(directory_store)
    assert not kept.progress.is_live(), "a container that is restarted is on the same host, and process 1 again"
    kept.release()
    progress = load_progress(directory_store, "r")
    assert progress is not None
    assert progress.owner.pid == 0
    assert not progress.is_live()


def test_states_are_written_no_more_often_than_they_may_cost(
    directory_store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("services.trainer.runs.checkpoints.time.monotonic", lambda: now[0])

    class Slow(DirectoryStore):
        def put(self, key: str, data: bytes) -> None:
            now[0] += 0.1
            super().put(key, data)

    kept = start(Slow(directory_store.root))
    assert kept.is_state_due((0, 3))
    train(kept, 1, 1)
    kept.save_state((0, 3), b"one", seconds=0.1)  # 0.3 s for history, state and progress
    now[0] += 19.9
    assert not kept.is_state_due((0, 3))
    assert kept.is_state_due((1, 3)), "another one's is no reason to wait"
    now[0] += 0.2
    assert kept.is_state_due((0, 3)), "0.4 s in 20 s are 2 %"


def test_the_way_back_is_said_of_every_run() -> None:
    assert resume_hint("r", None) == "`signet train --resume r` begins it again."
    assert "begins it again" in resume_hint("r", owned(1, "h", "2026-01-01T00:00:00+00:00"))


def test_nothing_is_left_of_states_once_there_is_a_result(directory_store: DirectoryStore, tmp_path: Path) -> None:
    kept = start(directory_store, TWO)
    for member_key in ((0, 3), (1, 3)):
        train(kept, 1, 2, member_key)
        kept.save_state(member_key, b"state")
    kept.delete_states()
    assert not [name for name in files(directory_store) if "state" in name]


def away(owner_host: str, seconds_ago: float) -> RunProgress:
    return owned(1, owner_host, (datetime.now(UTC) - timedelta(seconds=seconds_ago)).isoformat())


def test_a_process_on_another_machine_is_taken_for_dead_after_two_silent_minutes() -> None:
    assert away("another", 110).is_live()
    assert not away("another", 130).is_live()


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
    kept = start(directory_store, TWO)
    train(kept, 1, 1)
    kept.save_state((0, 3), b"one")
    before = directory_store.get(keys.run("r", "progress.json"))
    with pytest.raises(Conflict, match="its progress has 2 members, and its configuration plans others"):
        go_on(directory_store, planned)
    assert directory_store.get(keys.run("r", "progress.json")) == before, "its owner still has it"


def test_a_state_that_is_saved_twice_for_the_same_epoch_stays(directory_store: DirectoryStore) -> None:
    kept = start(directory_store)
    train(kept, 1, 2)
    assert kept.save_state((0, 3), b"two")
    assert kept.save_state((0, 3), b"two again")
    assert go_on(directory_store).load_state((0, 3)) == b"two again"


def test_a_process_that_is_killed_while_it_saves_weights_leaves_the_state_or_the_weights(
    directory_store: DirectoryStore,
) -> None:
    seen = []
    for writes in range(5):
        shutil.rmtree(directory_store.root / "runs", ignore_errors=True)
        store = Mortal(directory_store.root)
        store.writes = []
        kept = start(store)
        train(kept, 1, 2)
        kept.save_state((0, 3), b"two")
        train(kept, 3, 3)
        store.left, store.writes = writes, []
        with suppress(Killed):
            kept.save_weights((0, 3), b"weights", "")
        again = go_on(directory_store)
        seen.append((again.member_progress((0, 3)).done, again.load_state((0, 3)), len(again.histories[0, 3])))
    assert seen == [(False, b"two", 2)] * 3 + [(True, b"weights", 3)] * 2
    assert store.writes == [
        "put history.jsonl", "put weights.safetensors", "put progress.json", "delete state-000002.safetensors",
    ]  # fmt: skip


def test_a_process_that_no_longer_owns_the_run_writes_nothing_at_its_end(directory_store: DirectoryStore) -> None:
    first = start(directory_store)
    train(first, 1, 1)
    second = go_on(directory_store)
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
    assert go_on(directory_store).progress.failure == ""
    resumed = load_progress(directory_store, "r")
    assert resumed is not None
    assert (resumed.failure, resumed.owner.pid) == ("", os.getpid())


def test_the_time_of_the_last_write_is_stored(directory_store: DirectoryStore) -> None:
    kept = start(directory_store)
    train(kept, 1, 1)
    kept.progress = kept.progress.model_copy(update={"updated": "2026-01-01T00:00:00+00:00"})
    kept.save_state((0, 3), b"one")
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
    second = go_on(directory_store)
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

    def seconds_until_due(kept: Checkpoints, seconds: float) -> float:
        kept.save_state((0, 3), b"state", seconds)
        waited = 0.0
        while not kept.is_state_due((0, 3)):
            now[0] += 0.5
            waited += 0.5
        return waited

    kept = start(directory_store)
    train(kept, 1, 1)
    assert seconds_until_due(kept, 0.0) == 1, "the least pause"
    assert seconds_until_due(kept, 0.1) == 5, "2 % of 5 s"
    kept.parallel_members = 3
    assert seconds_until_due(kept, 0.1) == 15
    assert seconds_until_due(kept, 10.0) == 1500
    lost_store(True)
    assert seconds_until_due(kept, 10.0) == 60, "tried again within a minute"
    assert seconds_until_due(kept, 0.1) == 15
    lost_store(False)


def test_a_history_is_written_every_few_seconds_and_not_every_epoch(
    directory_store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("services.trainer.runs.checkpoints.time.monotonic", lambda: now[0])
    kept = start(directory_store)
    written = []
    for number in range(1, 13):
        kept.add_epoch((0, 3), epoch(number))
        stored = directory_store.stat(keys.run("r", "history.jsonl"))
        data = directory_store.get(keys.run("r", "history.jsonl")) if stored else b""
        written.append(len(data.splitlines()))
        now[0] += 1.0
    assert written == [0, 0, 0, 0, 0, 0, 7, 7, 7, 7, 7, 7]
