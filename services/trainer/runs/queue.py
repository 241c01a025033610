"""The queue of trainings that the service runs: one at a time, in the order of the requests, with their events."""

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from services.trainer.config.train_config import TrainConfig
from services.trainer.runs import messages
from services.trainer.runs.checkpoints import TakenOver
from services.trainer.runs.events import MemberEpoch, RunCallbacks, RunStarted
from services.trainer.runs.listing import RunState, RunSummary, config_to_resume, list_runs
from services.trainer.runs.member_training import RunAborted
from services.trainer.runs.metrics import TrainerMetrics
from services.trainer.runs.progress import load_progress, resume_hint
from services.trainer.runs.result import Result
from services.trainer.runs.run import new_run_id, resume, run
from signet.errors import Busy, Conflict, NotFound, SignetError, Unavailable, quote
from signet.rpc.gpu import Nvml
from signet.store import ObjectStore

_log = logging.getLogger(__name__)

# The least time between two epochs of a run in the log.
_EPOCH_LOG_SECONDS = 10.0

# More waiting runs than this come from a loop in a client by mistake.
MAX_QUEUED = 100
# When to try again if so many are waiting: a training takes minutes.
_RETRY_SECONDS = 60.0

# The number of ended runs whose events stay in memory for late watchers. The store keeps the results of all runs.
_ENDED_IN_MEMORY = 20


@dataclass(frozen=True)
class RunFailure:
    """A run that ended without a result."""

    message: str
    state: Literal["stopped", "failed", "interrupted"] = "failed"
    code: str = ""  # of the error, as in signet.errors; "" if there was no error


_STOPPED_EARLY = RunFailure("the run was stopped before it started", "stopped")

RunEvent = RunStarted | MemberEpoch | Result | RunFailure


@dataclass
class QueuedRun:
    """One run in this process. Its last event is a Result or a RunFailure once it has ended."""

    run_id: str
    config: TrainConfig
    corpus_version: str = ""  # "" if the caller does not know it
    resume_changes: Mapping[str, Any] | None = None  # to the configuration of a resumed run; None for a new run
    events: list[RunEvent] = field(default_factory=list)  # in this process
    stop: threading.Event = field(default_factory=threading.Event)  # set to end the run after its current epoch
    begun: bool = False  # whether the thread of the queue has taken it

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
    """Starts, resumes, stops and lists runs. The metrics receive all events.

    Without an NVML connection of the process, each run on a GPU opens its own.
    """

    def __init__(self, store: ObjectStore, metrics: TrainerMetrics, nvml: Nvml | None = None) -> None:
        self._store = store
        self._metrics = metrics
        self._nvml = nvml
        self._runs: dict[str, QueuedRun] = {}
        self._lock = threading.Lock()
        # Calls of `_execute_next` that have not begun. There are never more of them than waiting runs.
        self._turns = 0
        # One thread: two trainings at once on the same device would each take more than twice as long.
        self._executor = ThreadPoolExecutor(1, "training")
        self._closing = threading.Event()
        self._next_epoch_log = 0.0

    def start(self, config: TrainConfig, corpus_version: str = "") -> QueuedRun:
        """Queue a new run.

        Raises:
            Busy: too many runs are waiting.
            Unavailable: this trainer is shutting down.
        """
        return self._enqueue(QueuedRun(new_run_id(), config, corpus_version))

    def resume(self, run_id: str, changes: Mapping[str, Any] | None = None, corpus_version: str = "") -> QueuedRun:
        """Queue an interrupted run, to continue after the last epoch whose state was saved.

        Args:
            run_id: its name.
            changes: to its configuration; see `services.trainer.runs.listing.config_to_resume`.
            corpus_version: for a run that was interrupted before it stored its own.

        Raises:
            Conflict: it is queued or running in this trainer.
            SignetError: it cannot be resumed (see `config_to_resume`) or queued (see `start`).
        """
        config = config_to_resume(self._store, run_id, changes or {})
        return self._enqueue(QueuedRun(run_id, config, corpus_version, resume_changes=changes or {}))

    def find(self, run_id: str) -> QueuedRun:
        """A run of this process.

        Raises:
            NotFound: this process has no run of this name.
        """
        try:
            return self._runs[run_id]
        except KeyError:
            raise NotFound(
                f"run {quote(run_id)} is not queued or running here, and did not end here recently. "
                "Trainer.ListRuns and `signet runs` list the runs in the store."
            ) from None

    def count_runs_ahead(self, run: QueuedRun) -> int:
        """The number of runs that have to end before this one starts."""
        count = 0
        for other in list(self._runs.values()):
            if other is run:
                break
            count += not other.ended
        return count

    def stop(self, run_id: str) -> QueuedRun:
        """End a run after its current epoch. A queued run ends at once, and makes room for another."""
        with self._lock:
            run = self.find(run_id)
            run.stop.set()
            if not run.begun and not run.ended:
                self._metrics.record_unstarted(_STOPPED_EARLY.state)
                run.events.append(_STOPPED_EARLY)
        self._metrics.set_queued_runs(self._count_queued())
        return run

    def list_runs(self) -> Iterator[RunSummary]:
        """All runs in the store, newest first."""
        return list_runs(self._store, {run.run_id: run.state for run in list(self._runs.values())})

    def close(self) -> None:
        """Interrupt the current run before its next batch, drop the queued runs, and return when that is done.

        The interrupted run publishes nothing: a restart of the process must not make a half-trained model `latest`. Its
        state is saved, and it can be resumed. A run that has finished training and is being exported still publishes.
        """
        with self._lock:
            self._closing.set()
        self._executor.shutdown(wait=True)

    def _enqueue(self, new: QueuedRun) -> QueuedRun:
        with self._lock:
            if self._closing.is_set():
                raise Unavailable(
                    "this trainer is shutting down and starts no more runs. Start the run when it is back."
                )
            if self._count_queued() >= MAX_QUEUED:
                raise Busy(
                    f"{MAX_QUEUED} runs are waiting. Stop some of them, or try again when they have ended.",
                    _RETRY_SECONDS,
                )
            same = self._runs.get(new.run_id)
            if same is not None and not same.ended:
                raise Conflict(
                    f"run {new.run_id} is already {same.state} in this trainer. Trainer.WatchRun follows it."
                )
            # A resumed run moves to the end of the dictionary, whose order is the order of execution.
            self._runs.pop(new.run_id, None)
            self._runs[new.run_id] = new
            for old in [run.run_id for run in self._runs.values() if run.ended][:-_ENDED_IN_MEMORY]:
                del self._runs[old]
            if self._turns < sum(not run.begun and not run.ended for run in self._runs.values()):
                self._turns += 1
                self._executor.submit(self._execute_next)
        self._metrics.set_queued_runs(self._count_queued())
        return new

    def _count_queued(self) -> int:
        return sum(run.state == "queued" for run in list(self._runs.values()))

    def _execute_next(self) -> None:
        """Train the first run that waits, if it was not stopped."""
        with self._lock:
            self._turns -= 1
            queued = next((run for run in self._runs.values() if not run.begun and not run.ended), None)
            if queued is None:
                return
            queued.begun = True
        ending = self._train(queued)
        if isinstance(ending, Result):
            for line in messages.end_messages(ending, queued.run_id):
                _log.info("run %s: %s", queued.run_id, line)
        # The metrics come before the event: a client that has seen the end of a run finds it counted.
        self._metrics.record_end(ending.state)
        queued.events.append(ending)
        self._metrics.set_queued_runs(self._count_queued())

    def _train(self, queued: QueuedRun) -> Result | RunFailure:
        run_id = queued.run_id
        if queued.stop.is_set():
            return _STOPPED_EARLY
        if self._closing.is_set():
            hint = resume_hint(run_id, None) if queued.resume_changes is not None else "Start it again."
            return RunFailure(f"the trainer was stopped before this run started. {hint}", "interrupted")
        callbacks = RunCallbacks(
            on_start=partial(self._record_start, queued),
            on_epoch=partial(self._record_epoch, queued),
            should_stop=queued.stop.is_set,
            should_abort=self._closing.is_set,
            training=self._metrics,
            nvml=self._nvml,
        )
        try:
            if queued.resume_changes is not None:
                return resume(self._store, run_id, callbacks, queued.resume_changes, queued.corpus_version)
            return run(self._store, queued.config, run_id, callbacks, queued.corpus_version)
        except Exception as error:  # noqa: BLE001  (every error becomes the run's last event)
            return self._failure(run_id, error)

    def _record_start(self, queued: QueuedRun, event: RunStarted) -> None:
        for line in messages.start_messages(event):
            _log.info("run %s: %s", queued.run_id, line)
        self._next_epoch_log = 0.0
        self._metrics.record_start(queued.run_id, queued.config.model_name, event)
        queued.events.append(event)
        self._metrics.set_queued_runs(self._count_queued())

    def _record_epoch(self, queued: QueuedRun, event: MemberEpoch) -> None:
        started = queued.events[0]
        if isinstance(started, RunStarted) and time.monotonic() > self._next_epoch_log:
            self._next_epoch_log = time.monotonic() + _EPOCH_LOG_SECONDS
            _log.info("run %s: %s", queued.run_id, messages.epoch_message(event, started))
        self._metrics.record_epoch(event)
        queued.events.append(event)

    def _failure(self, run_id: str, error: Exception) -> RunFailure:
        """The last event of a run that ended with an error, which is also logged."""
        if isinstance(error, RunAborted):
            message = "the trainer was stopped while this run was training. Nothing was published."
            _log.warning("run %s was interrupted: %s", run_id, message)
            return RunFailure(f"{message} {self._hint(run_id)}", "interrupted")
        if isinstance(error, TakenOver):
            _log.warning("%s", error)
            return RunFailure(str(error), "interrupted", code=error.code)
        if isinstance(error, SignetError):
            _log.error("run %s failed: %s", run_id, error)
            return RunFailure(str(error), code=error.code)
        _log.error("run %s failed", run_id, exc_info=error)
        return RunFailure(f"unexpected {type(error).__name__}: {error}; see the trainer's log.", code=SignetError.code)

    def _hint(self, run_id: str) -> str:
        try:
            return resume_hint(run_id, load_progress(self._store, run_id))
        except SignetError as error:
            return str(error)
