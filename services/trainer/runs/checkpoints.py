"""What a run leaves in the store while it goes on, so that it can be continued after any end of its process.

    runs/<run_id>/progress.json                     how far each member is, and whose the run is; always written last
    runs/<run_id>/[members/<fold>-<seed>/]
        history.jsonl                               every epoch so far, and perhaps a few that the state has not seen
        state-<epoch>.safetensors                   weights, optimiser, schedule, sampler and randomness of that epoch
        weights.safetensors                         instead of the state, once the member is trained

A run of one member keeps its files in the run's own folder. A state that progress.json does not name, or whose sha256
is another, is none. Whoever continues a run takes it over: a process that finds another's name in progress.json stops.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from services.trainer.runs import history
from services.trainer.runs.members import Member, Place
from services.trainer.runs.progress import PROGRESS, MemberProgress, RunOwner, RunProgress, load_progress, resume_hint
from services.trainer.runs.store_retry import StoreRetry
from services.trainer.training.epoch import Epoch
from signet.errors import Conflict, DataLoss, NotFound, SignetError
from signet.store import ObjectStore, keys

WEIGHTS = "weights.safetensors"

# History is one object, written whole; an epoch takes a tenth of a second, and a reader can wait this long.
_HISTORY_SECONDS = 5.0

# A state may be written as often as that costs this share of the time, and not more often than is of use.
STATE_SHARE = 0.02
LEAST_SECONDS = 1.0

# While the store is away, an attempt to write may take seconds; it is made no more often than that.
_AWAY_SECONDS = 60.0


class TakenOver(Conflict):
    """Another process continues this run; this one stops."""


class Checkpoints:
    """One run's record in the store, as long as this process trains it.

    Args:
        store: where the run is.
        run_id: its name.
        members: all its members, those that are trained included.
        progress: how far it is, this process its owner.
        given_up: whether nobody waits for the run any more.

    Attributes:
        histories: the epochs of each member, in order; those that are trained by and by included.
        parallel_members: how many members are trained at a time.
    """

    def __init__(
        self,
        store: ObjectStore,
        run_id: str,
        members: Sequence[Member],
        progress: RunProgress,
        given_up: Callable[[], bool],
    ) -> None:
        self._store = store
        self._run_id = run_id
        self._members = tuple(members)
        self._progress = progress
        self._store_retry = StoreRetry(run_id, given_up)
        self._begun = time.monotonic() - progress.seconds
        self.parallel_members = 1
        self.histories: dict[Place, list[Epoch]] = {}
        self._told: dict[Place, float] = {}
        self._next_write: dict[Place, float] = {}
        self._refuse_other_plan()
        for member in self._members:
            self.histories[member.place] = self._history(member)

    @property
    def progress(self) -> RunProgress:
        """How far the run is, as the store knows it or is to know it."""
        return self._progress

    @property
    def seconds(self) -> float:
        """Spent on the run so far, by all processes together."""
        return time.monotonic() - self._begun

    def member_progress(self, place: Place) -> MemberProgress:
        """How far a member is."""
        return next(one for one in self._progress.members if (one.fold, one.seed) == place)

    def load_state(self, place: Place) -> bytes | None:
        """What a member can go on from; None if it has to begin.

        Raises:
            DataLoss: it is not what was written.
        """
        return self._file(place) if self.member_progress(place).file else None

    def load_weights(self, place: Place) -> bytes:
        """What a member that is trained has learnt.

        Raises:
            DataLoss: it is not what was written.
        """
        return self._file(place)

    def claim(self) -> None:
        """Write that the run is this process's."""
        self._write_progress()

    def add_epoch(self, place: Place, epoch: Epoch) -> None:
        """A member has trained an epoch."""
        self.histories[place].append(epoch)
        if time.monotonic() - self._told.setdefault(place, time.monotonic()) > _HISTORY_SECONDS:
            self._told[place] = time.monotonic()
            self._store_retry.try_write("history", lambda: self.write_history(place))

    def write_history(self, place: Place) -> None:
        """Write all epochs of a member."""
        self._store.put(self._key(place, "history.jsonl"), history.dump_history(self.histories[place]))

    def is_state_due(self, place: Place) -> bool:
        """Whether a member's next state is worth its writing."""
        return time.monotonic() >= self._next_write.get(place, 0.0)

    def save_state(self, place: Place, state: bytes, seconds: float = 0.0) -> bool:
        """Write what a member can go on from after its latest epoch.

        A store that is away is waited for by nobody: the next state will do.

        Args:
            place: which one.
            state: what it can go on from.
            seconds: how long that took to make.

        Returns:
            whether it is written.

        Raises:
            TakenOver: another process continues this run.
        """
        epochs = self.histories[place][-1].number
        name = f"state-{epochs:06d}.safetensors"
        before = self.member_progress(place)

        def write() -> None:
            self.check_owner()
            self.write_history(place)
            self._store.put(self._key(place, name), state)
            self._write_progress(
                place, before.model_copy(update={"epochs": epochs, "file": name, "sha256": _sha256(state)})
            )
            # Only now: until then it was the one that counts.
            if before.file and before.file != name:
                self._store.delete(self._key(place, before.file))

        started = time.monotonic()
        written = self._store_retry.try_write("state", write)
        cost = seconds + time.monotonic() - started
        # Those that are trained side by side share this process.
        pause = max(LEAST_SECONDS, cost / STATE_SHARE) * self.parallel_members
        self._next_write[place] = time.monotonic() + (pause if written else min(pause, _AWAY_SECONDS))
        return written

    def save_weights(self, place: Place, weights: bytes, selected_on: str) -> None:
        """Write what a member has learnt, in place of its state.

        Args:
            place: which one.
            weights: what it has learnt.
            selected_on: the split that had a say in which weights these are; "" if none had.

        Raises:
            Unavailable: the store was away for longer than anybody waits; the message says how to go on.
            TakenOver: another process continues this run.
        """
        done = self.member_progress(place).model_copy(
            update={
                "epochs": self.histories[place][-1].number,
                "file": WEIGHTS,
                "sha256": _sha256(weights),
                "done": True,
                "selected_on": selected_on,
            }
        )

        def write() -> None:
            self.check_owner()
            self.write_history(place)
            self._store.put(self._key(place, done.file), weights)
            self._write_progress(place, done)
            self._delete_states(place)

        self.write_with_retry(write)

    def save_partial_weights(self, place: Place, weights: bytes) -> None:
        """Write what a member that was stopped on its way had learnt, to begin with: it is not trained by that.

        Raises:
            Unavailable, TakenOver: as `save_weights`.
        """

        def write() -> None:
            self.check_owner()
            self._store.put(self._key(place, WEIGHTS), weights)

        self.write_with_retry(write)

    def delete_states(self) -> None:
        """Remove all states: the run has a result, and does not go on."""
        for member in self._members:
            self._delete_states(member.place)

    def write_with_retry(self, write: Callable[[], None]) -> None:
        """Write, and wait for a store that is away: what is to be written took a whole training.

        Raises:
            Unavailable: it stays away, or the run was given up; the message says how to go on.
        """
        self._store_retry.write_until_done(write, self.resume_hint)

    def release(self) -> None:
        """Note that this process trains the run no longer, so that another need not ask whether it is still there."""
        self._progress = self._progress.model_copy(update={"owner": self._progress.owner.gone()})
        self._store_retry.try_write("end", self._write_own_progress)

    def record_failure(self, error: SignetError) -> None:
        """Note why the run cannot go on as it is, so that nobody continues it unasked."""
        self._progress = self._progress.model_copy(update={"failure": str(error)})
        self.release()

    def resume_hint(self) -> str:
        """What is kept of the run, and how it goes on: a sentence for people."""
        return resume_hint(self._run_id, self._progress)

    def _file(self, place: Place) -> bytes:
        member = self.member_progress(place)
        key = self._key(place, member.file)
        try:
            data = self._store.get(key)
        except NotFound:
            data = b""
        if _sha256(data) != member.sha256:
            raise DataLoss(
                f"{self._store.url}/{key} is {'damaged' if data else 'gone'}. Delete "
                f"{keys.run(self._run_id, PROGRESS)}, and the run begins from its first epoch."
            )
        return data

    def _history(self, member: Member) -> list[Epoch]:
        """The epochs that the member's state has seen."""
        epochs = self.member_progress(member.place).epochs
        if not epochs:
            return []
        key = self._key(member.place, "history.jsonl")
        try:
            known = history.load_history(self._store.get(key), key)[:epochs]
        except NotFound:
            known = []
        if [epoch.number for epoch in known] != list(range(1, epochs + 1)):
            raise DataLoss(
                f"{self._store.url}/{key} does not hold epochs 1 to {epochs}, which its state has seen. Delete "
                f"{keys.run(self._run_id, PROGRESS)}, and the run begins from its first epoch."
            )
        return known

    def _refuse_other_plan(self) -> None:
        kept = [(member.fold, member.seed) for member in self._progress.members]
        planned = [member.place for member in self._members]
        if kept != planned:
            raise Conflict(
                f"run {self._run_id}: what is kept of it has {len(kept)} members, and its configuration plans others. "
                "It was begun by another version: begin a new run."
            )

    def _write_own_progress(self) -> None:
        self.check_owner()
        self._write_progress()

    def _delete_states(self, place: Place) -> None:
        for info in list(self._store.list(self._key(place, "state-"))):
            self._store.delete(info.key)

    def _write_progress(self, place: Place | None = None, member: MemberProgress | None = None) -> None:
        members = tuple(
            member if member is not None and (one.fold, one.seed) == place else one for one in self._progress.members
        )
        now = datetime.now(UTC).isoformat(timespec="seconds")
        written = self._progress.model_copy(update={"members": members, "seconds": self.seconds, "updated": now})
        self._store.put(keys.run(self._run_id, PROGRESS), written.model_dump_json(by_alias=True, indent=1).encode())
        self._progress = written

    def check_owner(self) -> None:
        """See that the run is still this process's.

        Raises:
            TakenOver: it is another's.
        """
        there = load_progress(self._store, self._run_id)
        if there is not None and there.owner.token != self._progress.owner.token:
            raise TakenOver(
                f"run {self._run_id} is continued by process {there.owner.pid} on {there.owner.host}; this process "
                "stops. Nothing is lost."
            )

    def _key(self, place: Place, name: str) -> str:
        return keys.run(self._run_id, member_file_name(len(self._members), place, name))


def create_checkpoints(
    store: ObjectStore,
    run_id: str,
    members: Sequence[Member],
    *,
    dataset_name: str,
    dataset_version: str,
    corpus_version: str,
    given_up: Callable[[], bool],
) -> Checkpoints:
    """The record of a run that begins."""
    progress = RunProgress(
        dataset_name=dataset_name,
        dataset_version=dataset_version,
        corpus_version=corpus_version,
        owner=RunOwner.this_process(),
        updated=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=0.0,
        members=tuple(MemberProgress(fold=member.fold, seed=member.seed) for member in members),
    )
    checkpoints = Checkpoints(store, run_id, members, progress, given_up)
    checkpoints.claim()
    return checkpoints


def take_over_checkpoints(
    store: ObjectStore, run_id: str, members: Sequence[Member], progress: RunProgress, given_up: Callable[[], bool]
) -> Checkpoints:
    """The record of a run that another process began, now this one's.

    Raises:
        DataLoss: it is damaged.
        Conflict: it is of another plan.
    """
    mine = progress.model_copy(update={"owner": RunOwner.this_process(), "failure": ""})
    checkpoints = Checkpoints(store, run_id, members, mine, given_up)
    checkpoints.claim()
    return checkpoints


def member_file_name(members: int, place: Place, name: str) -> str:
    """Where, among the files of a run of so many members, one of a member's own is."""
    return name if members == 1 else f"members/{place[0]}-{place[1]}/{name}"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
