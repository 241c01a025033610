"""The runs of one trainer: one at a time, in the order they were asked for; their events, for whoever watches."""

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

from services.trainer.config.train_config import TrainConfig
from services.trainer.runs import messages
from services.trainer.runs.checkpoints import TakenOver
from services.trainer.runs.events import MemberEpoch, RunCallbacks, RunStarted
from services.trainer.runs.listing import RunState, RunSummary, config_to_resume, list_runs
from services.trainer.runs.members import Abandoned
from services.trainer.runs.metrics import TrainerMetrics
from services.trainer.runs.progress import load_progress, resume_hint
from services.trainer.runs.result import Result
from services.trainer.runs.run import new_run_id, resume, run
from signet.errors import Busy, Conflict, NotFound, SignetError, Unavailable
from signet.rpc.gpu import Nvml
from signet.store import ObjectStore

_log = logging.getLogger(__name__)

# How often a run says how far it is.
_TELL_SECONDS = 10.0

# More waiting runs than this are a client's loop, not a plan.
MAX_QUEUED = 100

# Finished runs whose events stay in memory for late watchers; the store keeps the results of all.
_REMEMBERED = 20


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
            changes: of its configuration; see `services.trainer.runs.listing.config_to_resume`.
            corpus_version: for a run that was interrupted before it noted its own.

        Raises:
            NotFound: there is no such run.
            NotReady: it has ended.
            Conflict: this trainer is doing it, or is about to.
            InvalidInput: it is told something that would train something else.
            Busy: too many wait already.
            Unavailable: this trainer is about to end.
        """
        config = config_to_resume(self._store, run_id, changes or {})
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
