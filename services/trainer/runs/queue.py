"""The runs of one trainer: one at a time, in the order they were asked for; their events, for whoever watches."""

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import ValidationError

from services.trainer.config.train_config import TrainConfig
from services.trainer.runs import messages
from services.trainer.runs.checkpoints import TakenOver
from services.trainer.runs.events import MemberEpoch, RunCallbacks, RunStarted
from services.trainer.runs.members import Abandoned
from services.trainer.runs.metrics import TrainerMetrics
from services.trainer.runs.progress import RunProgress, load_progress, resume_hint
from services.trainer.runs.result import Result
from services.trainer.runs.resume import continued
from services.trainer.runs.run import new_run_id, resume, run
from signet.errors import Busy, Conflict, DataLoss, NotFound, NotReady, SignetError, Unavailable
from signet.rpc.gpu import Nvml
from signet.store import ObjectStore, keys

_log = logging.getLogger(__name__)

# How often a run says how far it is.
_TELL_SECONDS = 10.0

# More waiting runs than this are a client's loop, not a plan.
MAX_QUEUED = 100

# Finished runs whose events stay in memory for late watchers; the store keeps the results of all.
_REMEMBERED = 20

RunState = Literal["queued", "running", "succeeded", "stopped", "failed", "interrupted"]


@dataclass(frozen=True)
class RunFailure:
    """A run that did not come to a result, and why: it failed, or was stopped or interrupted before it had one."""

    message: str
    state: Literal["stopped", "failed", "interrupted"] = "failed"
    # Of the error, as in signet.errors; "" where nothing went wrong.
    code: str = ""


RunEvent = RunStarted | MemberEpoch | Result | RunFailure


@dataclass
class QueuedRun:
    """One run in this process.

    Attributes:
        run_id: its name.
        config: what it was told.
        corpus_version: what state of the corpus it trains on, if whoever started it knows.
        resumed: what it is told otherwise than when it began; None for a run that begins.
        events: all so far, in this process; the last is a Result or a RunFailure once it has ended.
        stop: set to end it after the present epoch.
    """

    run_id: str
    config: TrainConfig
    corpus_version: str = ""
    resumed: Mapping[str, Any] | None = None
    events: list[RunEvent] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def ended(self) -> bool:
        """Whether there will be no more events."""
        return bool(self.events) and isinstance(self.events[-1], Result | RunFailure)

    @property
    def state(self) -> RunState:
        """What the run is doing."""
        last = self.events[-1] if self.events else None
        if isinstance(last, Result | RunFailure):
            return last.state
        return "running" if self.events else "queued"


@dataclass(frozen=True)
class RunSummary:
    """One run as the store knows it.

    Attributes:
        run_id: its name.
        state: what became of it.
        epochs: of its longest member, those that are kept.
        val_accuracy: of the published weights, exact decoding; 0 until it has a result.
        model_version: "" if nothing was published.
        members: how many models it trains.
        members_done: how many of them are trained.
        val_clips: on which that accuracy was measured; 0 where none was.
    """

    run_id: str
    state: RunState
    epochs: int
    val_accuracy: float
    model_version: str
    members: int = 1
    members_done: int = 0
    val_clips: int = 0


class TrainingQueue:
    """Starts, watches, stops and lists runs.

    Args:
        store: holds landmarks, runs and models.
        metrics: told of everything.
        nvml: the process's connection, for runs on a GPU; without it each makes its own.
    """

    def __init__(self, store: ObjectStore, metrics: TrainerMetrics, nvml: Nvml | None = None) -> None:
        self._store = store
        self._metrics = metrics
        self._nvml = nvml
        self._runs: dict[str, QueuedRun] = {}
        self._lock = threading.Lock()
        # One thread: two trainings at once would each take more than twice as long on the same device.
        self._executor = ThreadPoolExecutor(1, "training")
        self._closing = threading.Event()

    def start(self, config: TrainConfig, corpus_version: str = "") -> QueuedRun:
        """Queue a run.

        Args:
            config: what it is told.
            corpus_version: what state of the corpus it trains on, to be kept with its result.

        Raises:
            Busy: too many wait already.
            Unavailable: this trainer is about to end.
        """
        return self._queue(QueuedRun(new_run_id(), config, corpus_version))

    def resume(self, run_id: str, changes: Mapping[str, Any] | None = None, corpus_version: str = "") -> QueuedRun:
        """Queue a run that was interrupted, to go on from where it was.

        Args:
            run_id: its name.
            changes: of its configuration; see `services.trainer.runs.resume.continued`.
            corpus_version: for a run that was interrupted before it noted its own.

        Raises:
            NotFound: there is no such run.
            NotReady: it has ended.
            Conflict: this trainer is doing it, or is about to.
            InvalidInput: it is told something that would train something else.
            Busy: too many wait already.
            Unavailable: this trainer is about to end.
        """
        config = continued(self._store, run_id, changes or {})
        return self._queue(QueuedRun(run_id, config, corpus_version, resumed=changes or {}))

    def _queue(self, new: QueuedRun) -> QueuedRun:
        with self._lock:
            if self._closing.is_set():
                raise Unavailable("this trainer was told to stop and begins no more runs. Start it when it is back.")
            if self._waiting() >= MAX_QUEUED:
                raise Busy(f"{MAX_QUEUED} runs wait already. Stop some, or come back when they are done.")
            same = self._runs.pop(new.run_id, None)
            if same is not None and not same.ended:
                self._runs[new.run_id] = same
                raise Conflict(f"run {new.run_id} is {same.state} here already. Trainer.WatchRun follows it.")
            # Last, as it will end last.
            self._runs[new.run_id] = new
            for old in [one.run_id for one in self._runs.values() if one.ended][:-_REMEMBERED]:
                del self._runs[old]
            self._executor.submit(self._run, new)
        self._metrics.queued(self._waiting())
        return new

    def find(self, run_id: str) -> QueuedRun:
        """A run of this process.

        Raises:
            NotFound: it has none of this id.
        """
        try:
            return self._runs[run_id]
        except KeyError:
            raise NotFound(
                f"run {run_id!r} is not one that this trainer is doing or has just done. Trainer.ListRuns and "
                "`signet runs` list those in the store."
            ) from None

    def ahead(self, of: QueuedRun) -> int:
        """How many runs have to end before this one begins."""
        count = 0
        for one in list(self._runs.values()):
            if one is of:
                break
            count += not one.ended
        return count

    def stop(self, run_id: str) -> QueuedRun:
        """End a run after its present epoch; a queued one ends at once when its turn comes."""
        found = self.find(run_id)
        found.stop.set()
        return found

    def list(self) -> Iterator[RunSummary]:
        """All runs that the store knows, newest first."""
        return list_runs(self._store, {one.run_id: one.state for one in list(self._runs.values())})

    def close(self) -> None:
        """Give up the present run before its next batch, drop those that wait, and return when that is done.

        A half-trained model must not become `latest` because a process was restarted. Its state is kept, and the run
        can go on. A model that is trained already, and is only being exported, is published first.
        """
        with self._lock:
            self._closing.set()
        self._executor.shutdown(wait=True)

    def _waiting(self) -> int:
        return sum(one.state == "queued" for one in list(self._runs.values()))

    def _run(self, this: QueuedRun) -> None:
        ending = self._ending(this)
        if isinstance(ending, Result):
            for line in messages.end_messages(ending, this.run_id):
                _log.info("run %s: %s", this.run_id, line)
        # Before the event: whoever has seen a run end finds it counted.
        self._metrics.ended(ending.state)
        this.events.append(ending)
        self._metrics.queued(self._waiting())

    def _ending(self, this: QueuedRun) -> Result | RunFailure:  # noqa: PLR0911  (a run ends in as many ways)
        """Do a run; how it ended."""
        if this.stop.is_set():
            return RunFailure("stopped before it began", "stopped")
        if self._closing.is_set():
            again = resume_hint(this.run_id, None) if this.resumed is not None else "Start it again."
            return RunFailure(f"the trainer was told to stop before this run began. {again}", "interrupted")

        told = 0.0
        begun: RunStarted | None = None

        def started(event: RunStarted) -> None:
            nonlocal begun
            begun = event
            for line in messages.start_messages(event):
                _log.info("run %s: %s", this.run_id, line)
            self._metrics.started(this.run_id, this.config.model_name, event)
            this.events.append(event)
            self._metrics.queued(self._waiting())

        def epoch(event: MemberEpoch) -> None:
            nonlocal told
            assert begun is not None  # noqa: S101  (nothing is trained before it has begun)
            if time.monotonic() - told > _TELL_SECONDS:
                told = time.monotonic()
                _log.info("run %s: %s", this.run_id, messages.epoch_message(event, begun))
            self._metrics.epoch(event)
            this.events.append(event)

        callbacks = RunCallbacks(started, epoch, this.stop.is_set, self._closing.is_set, self._metrics, self._nvml)
        try:
            if this.resumed is not None:
                return resume(self._store, this.run_id, callbacks, this.resumed, this.corpus_version)
            return run(self._store, this.config, this.run_id, callbacks, this.corpus_version)
        except Abandoned:
            _log.warning("run %s interrupted: the trainer was told to stop. Nothing was published", this.run_id)
            return RunFailure(
                "the trainer was told to stop while this run was training. Nothing was published. "
                f"{self._resume_hint(this.run_id)}",
                "interrupted",
            )
        except TakenOver as error:
            _log.warning("%s", error)
            return RunFailure(str(error), "interrupted", code=error.code)
        except SignetError as error:
            _log.error("run %s failed: %s", this.run_id, error)
            return RunFailure(str(error), code=error.code)
        except Exception as error:  # noqa: BLE001  (a watcher must learn of the end, whatever it was)
            _log.exception("run %s failed", this.run_id)
            return RunFailure(
                f"unexpected {type(error).__name__}: {error}; see the trainer's log.", code=SignetError.code
            )

    def _resume_hint(self, run_id: str) -> str:
        try:
            return resume_hint(run_id, load_progress(self._store, run_id))
        except SignetError as error:
            return str(error)


def find_unfinished_runs(store: ObjectStore) -> Iterator[tuple[str, TrainConfig, RunProgress | None]]:
    """TrainingQueue that have no result, newest first: their configuration, and how far they are.

    Those whose files this version cannot read are left out, and logged.
    """
    for run_id, names in sorted(_files(store).items(), reverse=True):
        if "result.json" in names or "config.json" not in names:
            continue
        try:
            yield run_id, continued(store, run_id, {}), load_progress(store, run_id)
        except (DataLoss, NotFound, NotReady) as error:
            _log.warning("run %s is left out: %s", run_id, error)


def find_latest_unfinished_run(store: ObjectStore) -> str:
    """The newest run that was interrupted, or has failed: what `signet train --resume latest` means.

    Raises:
        NotFound: there is none.
        NotReady: it seems to be under way.
    """
    for run_id, _, progress in find_unfinished_runs(store):
        if progress is not None and progress.is_live():
            owner = progress.owner
            raise NotReady(
                f"run {run_id} is the latest without a result, and process {owner.pid} on {owner.host} seems to train "
                f"it. Stop that first; or let it go on here, whatever that one does, with --resume {run_id}."
            )
        return run_id
    raise NotFound(f"{store.url}: no run was interrupted. `signet runs` lists them all.")


def find_succeeded_runs(store: ObjectStore) -> Iterator[tuple[TrainConfig, Result]]:
    """What every run in the store that was trained to its end was told, and what came of it; oldest first.

    A run whose files this version cannot read is left out, and logged.
    """
    for run_id, names in sorted(_files(store).items()):
        if "result.json" not in names:
            continue
        try:
            result = Result.model_validate_json(store.get(keys.run(run_id, "result.json")))
            config = TrainConfig.stored(store.get(keys.run(run_id, "config.json")))
        except (ValidationError, NotFound) as error:
            _log.warning("%s/runs/%s/: not a run of this version, and left out (%s)", store.url, run_id, error)
            continue
        if result.state == "succeeded":
            yield config, result


def list_runs(store: ObjectStore, live: dict[str, RunState]) -> Iterator[RunSummary]:
    """All runs in the store, newest first; one without a result that is not live was interrupted."""
    found = _files(store)
    for run_id in sorted(found.keys() | live.keys(), reverse=True):
        if "result.json" in found.get(run_id, ()):
            yield _ended(store, run_id)
        else:
            yield _open(store, run_id, live.get(run_id))


def _ended(store: ObjectStore, run_id: str) -> RunSummary:
    key = keys.run(run_id, "result.json")
    try:
        result = Result.model_validate_json(store.get(key))
    except ValidationError as error:
        raise DataLoss(f"{store.url}/{key}: not a run's result ({error.error_count()} faults). Delete it.") from error
    members = max(1, len(result.members))
    return RunSummary(
        run_id,
        result.state,
        result.epochs,
        result.val_accuracy,
        result.model_version,
        members,
        members_done=members,
        val_clips=result.val_clips,
    )


def _open(store: ObjectStore, run_id: str, state: RunState | None) -> RunSummary:
    """A run without a result: what it does in this process, if anything, or what the store knows."""
    progress = load_progress(store, run_id)
    if progress is None:
        return RunSummary(run_id, state or "interrupted", 0, 0.0, "")
    if state is None:
        state = "running" if progress.is_live() else "failed" if progress.failure else "interrupted"
    epochs = max((member.epochs for member in progress.members), default=0)
    return RunSummary(run_id, state, epochs, 0.0, "", len(progress.members), progress.done)


def _files(store: ObjectStore) -> dict[str, set[str]]:
    """The names of each run's files."""
    found: dict[str, set[str]] = {}
    for info in store.list("runs/"):
        _, run_id, name = info.key.split("/", 2)
        found.setdefault(run_id, set()).add(name)
    return found
