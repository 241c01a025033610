"""The files of an unfinished run in the store, from which it can be resumed after any end of its process.

    runs/<run_id>/progress.json                     how far each member is, and who trains the run; always written last
    runs/<run_id>/[members/<fold>-<seed>/]
        history.jsonl                               all epochs so far, perhaps some that the state does not contain
        state-<epoch>.safetensors                   weights, optimizer, schedule, sampler and random streams
        weights.safetensors                         instead of the state, once the member is trained

A run of one member keeps its files in the run's own folder. A state that progress.json does not name, or whose sha256
differs, is ignored. A process that resumes a run becomes its owner; a process that finds another owner in progress.json
stops.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from services.trainer.data.members import Member, MemberKey
from services.trainer.runs.history import dump_history, load_history
from services.trainer.runs.progress import PROGRESS, MemberProgress, RunOwner, RunProgress, load_progress, resume_hint
from services.trainer.runs.store_retry import StoreRetry, Written
from services.trainer.training.epoch import EpochResult
from signet.errors import Conflict, DataLoss, NotFound
from signet.store import ObjectStore, keys

WEIGHTS = "weights.safetensors"
_HISTORY = "history.jsonl"

# The least time between two writes of a history. It is one object, written whole, and an epoch may take only 0.1 s.
_HISTORY_SECONDS = 5.0

# Writing states may take this share of the time of a training. A shorter pause than MIN_STATE_SECONDS is of no use.
STATE_TIME_SHARE = 0.02
MIN_STATE_SECONDS = 1.0

# The longest time until a failed write is tried again. An attempt may take seconds while the store is unavailable.
_MAX_RETRY_SECONDS = 60.0


class TakenOver(Conflict):
    """Another process has resumed this run; this process stops."""


class Checkpoints:
    """Writes and reads the files of one run that this process trains.

    Attributes:
        progress: how far the run is, as it was last written.
        histories: the epochs of each member, in order.
        parallel_members: how many members are trained at the same time.

    Raises:
        Conflict: the progress is of other members than `members`, which are in the order of the plan.
        DataLoss: a history does not hold the epochs of its state.
    """

    def __init__(
        self,
        store: ObjectStore,
        run_id: str,
        members: Sequence[Member],
        progress: RunProgress,
        should_abort: Callable[[], bool],
    ) -> None:
        self._store = store
        self._run_id = run_id
        self._members = tuple(members)
        self.progress = progress
        self._retry = StoreRetry(run_id, should_abort)
        self._started = time.monotonic() - progress.seconds
        self._next_history: dict[MemberKey, float] = {}
        self._next_state: dict[MemberKey, float] = {}
        self.parallel_members = 1
        if [(member.fold, member.seed) for member in progress.members] != [member.key for member in self._members]:
            raise Conflict(
                f"run {run_id} cannot be resumed: its progress has {len(progress.members)} members, and its "
                "configuration plans others. Another version of Signet started it. Start a new run."
            )
        self.histories: dict[MemberKey, list[EpochResult]] = {
            member.key: self._load_history(member.key) for member in self._members
        }

    @property
    def seconds(self) -> float:
        """Spent on the run so far, by all processes together."""
        return time.monotonic() - self._started

    def member_progress(self, member_key: MemberKey) -> MemberProgress:
        """How far a member is."""
        return next(member for member in self.progress.members if (member.fold, member.seed) == member_key)

    def load_state(self, member_key: MemberKey) -> bytes | None:
        """The state from which a member continues; None if it has none. DataLoss if it is not what was written."""
        return self._load_file(member_key) if self.member_progress(member_key).file else None

    def load_weights(self, member_key: MemberKey) -> bytes:
        """The weights of a member that is done. DataLoss if they are not what was written."""
        return self._load_file(member_key)

    def add_epoch(self, member_key: MemberKey, epoch: EpochResult) -> None:
        """Append an epoch to a member's history, and write the history if the last write was some time ago."""
        self.histories[member_key].append(epoch)
        now = time.monotonic()
        if now > self._next_history.setdefault(member_key, now + _HISTORY_SECONDS):
            self._next_history[member_key] = now + _HISTORY_SECONDS
            self._retry.try_write("history", lambda: self.write_history(member_key))

    def write_history(self, member_key: MemberKey) -> None:
        """Write all epochs of a member."""
        self._store.put(self._key(member_key, _HISTORY), dump_history(self.histories[member_key]))

    def is_state_due(self, member_key: MemberKey) -> bool:
        """Whether it is time to save a member's state again."""
        return time.monotonic() >= self._next_state.get(member_key, 0.0)

    def save_state(self, member_key: MemberKey, state: bytes, seconds: float = 0.0) -> bool:
        """Write the state of a member after its latest epoch. It is not tried again: the next state will do.

        Args:
            member_key: the member.
            state: as `Training.state` gives it.
            seconds: how long it took to make the state.

        Returns:
            Whether it was written. Raises TakenOver if another process has resumed this run.
        """
        before = self.member_progress(member_key)
        epochs = self.histories[member_key][-1].number
        update = {"epochs": epochs, "file": f"state-{epochs:06d}.safetensors", "sha256": _sha256(state)}
        saved = before.model_copy(update=update)

        def write() -> None:
            self._write_member(member_key, saved, state)
            # The old state is deleted last: it counts until progress.json names the new one.
            if before.file and before.file != saved.file:
                self._store.delete(self._key(member_key, before.file))

        started = time.monotonic()
        written = self._retry.try_write("state", write)
        cost = seconds + time.monotonic() - started
        # Members that are trained at the same time share this process.
        pause = max(MIN_STATE_SECONDS, cost / STATE_TIME_SHARE) * self.parallel_members
        self._next_state[member_key] = time.monotonic() + (pause if written else min(pause, _MAX_RETRY_SECONDS))
        return written

    def save_weights(self, member_key: MemberKey, weights: bytes, selected_on: str) -> None:
        """Write the weights of a member that is trained to its end, and delete its states.

        Raises:
            Unavailable: the store stays unavailable; the message says how to resume.
            TakenOver: another process has resumed this run.
        """
        update = {
            "epochs": self.histories[member_key][-1].number,
            "file": WEIGHTS,
            "sha256": _sha256(weights),
            "done": True,
            "selected_on": selected_on,
        }
        done = self.member_progress(member_key).model_copy(update=update)

        def write() -> None:
            self._write_member(member_key, done, weights)
            self._delete_states(member_key)

        self.write_with_retry(write)

    def save_partial_weights(self, member_key: MemberKey, weights: bytes) -> None:
        """Write the weights of a member that was stopped, for a warm start of another run. The member is not done."""

        def write() -> None:
            self.check_owner()
            self._store.put(self._key(member_key, WEIGHTS), weights)

        self.write_with_retry(write)

    def delete_states(self) -> None:
        """Delete all states, after the run has a result."""
        for member in self._members:
            self._delete_states(member.key)

    def write_with_retry(self, write: Callable[[], Written]) -> Written:
        """Call `write` until the store is available; at last raise Unavailable with a resume hint."""
        return self._retry.write_until_done(write, self.resume_hint)

    def release(self, failure: str = "") -> None:
        """Write that this process no longer trains the run: another process can resume it at once.

        A `failure` says why the run cannot be resumed as it is. The service does not resume it automatically then.
        """
        released = self.progress.model_copy(update={"owner": self.progress.owner.released(), "failure": failure})

        def write() -> None:
            self.check_owner()
            self.write_progress(released)

        self._retry.try_write("end", write)

    def resume_hint(self) -> str:
        """A sentence for people: how to resume the run, and what of it is saved."""
        return resume_hint(self._run_id, self.progress)

    def write_progress(self, progress: RunProgress) -> None:
        """Write progress.json."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        written = progress.model_copy(update={"seconds": self.seconds, "updated": now})
        self._store.put(keys.run(self._run_id, PROGRESS), written.model_dump_json(by_alias=True, indent=1).encode())
        self.progress = written

    def check_owner(self) -> None:
        """Raise TakenOver if another process owns the run now."""
        stored = load_progress(self._store, self._run_id)
        if stored is not None and stored.owner.token != self.progress.owner.token:
            raise TakenOver(
                f"run {self._run_id} was resumed by process {stored.owner.pid} on {stored.owner.host}; this process "
                "stops. Nothing is lost."
            )

    def _write_member(self, member_key: MemberKey, member: MemberProgress, data: bytes) -> None:
        """Write a member's history and file, then progress.json, which makes them count."""
        self.check_owner()
        self.write_history(member_key)
        self._store.put(self._key(member_key, member.file), data)
        members = tuple(member if (old.fold, old.seed) == member_key else old for old in self.progress.members)
        self.write_progress(self.progress.model_copy(update={"members": members}))

    def _load_file(self, member_key: MemberKey) -> bytes:
        member = self.member_progress(member_key)
        key = self._key(member_key, member.file)
        try:
            data = self._store.get(key)
        except NotFound:
            data = b""
        if _sha256(data) != member.sha256:
            raise self._data_loss(f"{key} is {'damaged' if data else 'missing'}")
        return data

    def _load_history(self, member_key: MemberKey) -> list[EpochResult]:
        """The epochs that the member's state contains. Later ones are dropped: they are trained again."""
        epochs = self.member_progress(member_key).epochs
        if not epochs:
            return []
        key = self._key(member_key, _HISTORY)
        try:
            history = load_history(self._store.get(key), key)[:epochs]
        except NotFound:
            history = []
        if [epoch.number for epoch in history] != list(range(1, epochs + 1)):
            raise self._data_loss(f"{key} does not hold epochs 1 to {epochs}, which the member's state contains")
        return history

    def _data_loss(self, fault: str) -> DataLoss:
        progress = keys.run(self._run_id, PROGRESS)
        return DataLoss(f"{self._store.url}/{fault}. Delete {progress}, and the run begins from its first epoch.")

    def _delete_states(self, member_key: MemberKey) -> None:
        for info in list(self._store.list(self._key(member_key, "state-"))):
            self._store.delete(info.key)

    def _key(self, member_key: MemberKey, name: str) -> str:
        return keys.run(self._run_id, member_file_name(len(self._members), member_key, name))


def create_checkpoints(
    store: ObjectStore,
    run_id: str,
    members: Sequence[Member],
    *,
    dataset_name: str,
    dataset_version: str,
    corpus_version: str,
    should_abort: Callable[[], bool],
) -> Checkpoints:
    """The checkpoints of a new run. Its progress.json is written."""
    progress = RunProgress(
        dataset_name=dataset_name,
        dataset_version=dataset_version,
        corpus_version=corpus_version,
        owner=RunOwner.this_process(),
        updated=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=0.0,
        members=tuple(MemberProgress(fold=member.fold, seed=member.seed) for member in members),
    )
    checkpoints = Checkpoints(store, run_id, members, progress, should_abort)
    checkpoints.write_progress(progress)
    return checkpoints


def take_over_checkpoints(
    store: ObjectStore,
    run_id: str,
    members: Sequence[Member],
    progress: RunProgress,
    should_abort: Callable[[], bool],
) -> Checkpoints:
    """The checkpoints of a run that another process started. This process becomes its owner."""
    owned = progress.model_copy(update={"owner": RunOwner.this_process(), "failure": ""})
    checkpoints = Checkpoints(store, run_id, members, owned, should_abort)
    checkpoints.write_progress(owned)
    return checkpoints


def member_file_name(members: int, member_key: MemberKey, name: str) -> str:
    """The path of a member's file in the folder of a run with this number of members."""
    return name if members == 1 else f"members/{member_key[0]}-{member_key[1]}/{name}"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
