"""The runs of one trainer: one at a time, in the order they were asked for; their events, for whoever watches."""

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

from pydantic import ValidationError

from services.trainer import narration
from services.trainer.config import TrainConfig
from services.trainer.metrics import TrainerMetrics
from services.trainer.run import Abandoned, Result, Started, new_run_id, run
from services.trainer.training import Epoch
from signet import layout
from signet.errors import Busy, DataLoss, NotFound, SignetError, Unavailable
from signet.gpu import Nvml
from signet.store import ObjectStore

_log = logging.getLogger(__name__)

# How often a run says how far it is.
_TELL_SECONDS = 10.0

# More waiting runs than this are a client's loop, not a plan.
MAX_QUEUED = 100

# Finished runs whose events stay in memory for late watchers; the store keeps the results of all.
_REMEMBERED = 20

State = Literal["queued", "running", "succeeded", "stopped", "failed", "interrupted"]


@dataclass(frozen=True)
class Failure:
    """A run that did not come to a result, and why: it failed, or was stopped or interrupted before it had one."""

    message: str
    state: Literal["stopped", "failed", "interrupted"] = "failed"
    # Of the error, as in signet.errors; "" where nothing went wrong.
    code: str = ""


Event = Started | Epoch | Result | Failure


@dataclass
class Run:
    """One run in this process.

    Attributes:
        run_id: its name.
        config: what it was told.
        corpus_version: what state of the corpus it trains on, if whoever started it knows.
        events: all so far; the last is a Result or a Failure once it has ended.
        stop: set to end it after the present epoch.
    """

    run_id: str
    config: TrainConfig
    corpus_version: str = ""
    events: list[Event] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def ended(self) -> bool:
        """Whether there will be no more events."""
        return bool(self.events) and isinstance(self.events[-1], Result | Failure)

    @property
    def state(self) -> State:
        """What the run is doing."""
        last = self.events[-1] if self.events else None
        if isinstance(last, Result | Failure):
            return last.state
        return "running" if self.events else "queued"


@dataclass(frozen=True)
class Summary:
    """One run as the store knows it."""

    run_id: str
    state: State
    epochs: int
    val_accuracy: float
    model_version: str


class Runs:
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
        self._runs: dict[str, Run] = {}
        self._lock = threading.Lock()
        # One thread: two trainings at once would each take more than twice as long on the same device.
        self._executor = ThreadPoolExecutor(1, "training")
        self._closing = threading.Event()

    def start(self, config: TrainConfig, corpus_version: str = "") -> Run:
        """Queue a run.

        Args:
            config: what it is told.
            corpus_version: what state of the corpus it trains on, to be kept with its result.

        Raises:
            Busy: too many wait already.
            Unavailable: this trainer is about to end.
        """
        new = Run(new_run_id(), config, corpus_version)
        with self._lock:
            if self._closing.is_set():
                raise Unavailable("this trainer was told to stop and begins no more runs. Start it when it is back.")
            if self._waiting() >= MAX_QUEUED:
                raise Busy(f"{MAX_QUEUED} runs wait already. Stop some, or come back when they are done.")
            self._runs[new.run_id] = new
            for old in [one.run_id for one in self._runs.values() if one.ended][:-_REMEMBERED]:
                del self._runs[old]
            self._executor.submit(self._run, new)
        self._metrics.queued(self._waiting())
        return new

    def find(self, run_id: str) -> Run:
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

    def ahead(self, of: Run) -> int:
        """How many runs have to end before this one begins."""
        count = 0
        for one in list(self._runs.values()):
            if one is of:
                break
            count += not one.ended
        return count

    def stop(self, run_id: str) -> Run:
        """End a run after its present epoch; a queued one ends at once when its turn comes."""
        found = self.find(run_id)
        found.stop.set()
        return found

    def list(self) -> Iterator[Summary]:
        """All runs that the store knows, newest first."""
        return summaries(self._store, {one.run_id: one.state for one in list(self._runs.values())})

    def close(self) -> None:
        """Give up the present run before its next batch, drop those that wait, and return when that is done.

        A half-trained model must not become `latest` because a process was restarted. A model that is trained already,
        and is only being exported, is published first.
        """
        with self._lock:
            self._closing.set()
        self._executor.shutdown(wait=True)

    def _waiting(self) -> int:
        return sum(one.state == "queued" for one in list(self._runs.values()))

    def _run(self, this: Run) -> None:
        ending = self._ending(this)
        if isinstance(ending, Result):
            for line in narration.closing(ending):
                _log.info("run %s: %s", this.run_id, line)
        # Before the event: whoever has seen a run end finds it counted.
        self._metrics.ended(ending.state)
        this.events.append(ending)
        self._metrics.queued(self._waiting())

    def _ending(self, this: Run) -> Result | Failure:
        """Do a run; how it ended."""
        if this.stop.is_set():
            return Failure("stopped before it began", "stopped")
        if self._closing.is_set():
            return Failure("the trainer was told to stop before this run began. Start it again.", "interrupted")

        told = 0.0

        def started(event: Started) -> None:
            for line in narration.opening(event):
                _log.info("run %s: %s", this.run_id, line)
            self._metrics.started(this.run_id, this.config.model_name, event)
            this.events.append(event)
            self._metrics.queued(self._waiting())

        def epoch(event: Epoch) -> None:
            nonlocal told
            if time.monotonic() - told > _TELL_SECONDS:
                told = time.monotonic()
                _log.info("run %s: %s", this.run_id, narration.epoch_line(event, this.config.num_epochs))
            self._metrics.epoch(event)
            this.events.append(event)

        try:
            return run(
                self._store,
                this.config,
                this.run_id,
                on_start=started,
                on_epoch=epoch,
                stopped=this.stop.is_set,
                abandoned=self._closing.is_set,
                telemetry=self._metrics,
                nvml=self._nvml,
                corpus_version=this.corpus_version,
            )
        except Abandoned:
            _log.warning("run %s interrupted: the trainer was told to stop. Nothing was published", this.run_id)
            return Failure(
                "the trainer was told to stop while this run was training. Nothing was published. Start it again.",
                "interrupted",
            )
        except SignetError as error:
            _log.error("run %s failed: %s", this.run_id, error)
            return Failure(str(error), code=error.code)
        except Exception as error:  # noqa: BLE001  (a watcher must learn of the end, whatever it was)
            _log.exception("run %s failed", this.run_id)
            return Failure(f"unexpected {type(error).__name__}: {error}; see the trainer's log.", code=SignetError.code)


def succeeded(store: ObjectStore) -> Iterator[tuple[TrainConfig, Result]]:
    """What every run in the store that was trained to its end was told, and what came of it; oldest first.

    A run whose files this version cannot read is left out, and logged.
    """
    for run_id, names in sorted(_files(store).items()):
        if "result.json" not in names:
            continue
        try:
            result = Result.model_validate_json(store.get(layout.run(run_id, "result.json")))
            config = TrainConfig.model_validate_json(store.get(layout.run(run_id, "config.json")))
        except (ValidationError, NotFound) as error:
            _log.warning("%s/runs/%s/: not a run of this version, and left out (%s)", store.url, run_id, error)
            continue
        if result.state == "succeeded":
            yield config, result


def summaries(store: ObjectStore, live: dict[str, State]) -> Iterator[Summary]:
    """All runs in the store, newest first; one without a result that is not live was interrupted."""
    found = _files(store)
    for run_id in sorted(found.keys() | live.keys(), reverse=True):
        if "result.json" not in found.get(run_id, ()):
            yield Summary(run_id, live.get(run_id, "interrupted"), 0, 0.0, "")
            continue
        key = layout.run(run_id, "result.json")
        try:
            result = Result.model_validate_json(store.get(key))
        except ValidationError as error:
            raise DataLoss(
                f"{store.url}/{key}: not a run's result ({error.error_count()} faults). Delete it."
            ) from error
        yield Summary(run_id, result.state, result.epochs, result.val_accuracy, result.model_version)


def _files(store: ObjectStore) -> dict[str, set[str]]:
    """The names of each run's files."""
    found: dict[str, set[str]] = {}
    for info in store.list("runs/"):
        _, run_id, name = info.key.split("/", 2)
        found.setdefault(run_id, set()).add(name)
    return found
