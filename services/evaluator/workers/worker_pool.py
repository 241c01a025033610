"""The pool of worker processes: it loads models into each of them, shares out batches, and replaces those that end."""

import itertools
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, cast

from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.serving.loaded_model import Frames
from services.evaluator.serving.pipeline import ClipRequest, ProcessedClip
from services.evaluator.serving.servable_model import ServableModel
from services.evaluator.serving.stored_version import StoredVersion
from services.evaluator.workers.worker_process import WorkerDied, WorkerProcess
from signet.errors import DataLoss, SignetError, Unavailable
from signet.registry import ModelCard
from signet.store import ObjectStore

_log = logging.getLogger(__name__)

# A batch is computed again if its worker ends, and a model is loaded again. If the second worker ends too, the batch or
# the model may be the reason.
_ATTEMPTS = 2
# A call waits so long for a worker if all have ended. A new one starts within a second.
_WAIT_SECONDS = 10.0
_RETRY_SECONDS = 1.0
# A worker that needs longer is killed. Its own watchdog ends a run of a model after 51 s at most.
_LOAD_SECONDS, _COMPUTE_SECONDS = 120.0, 120.0
# How often the supervisor looks for workers that have ended while idle, or that need too long.
_CHECK_SECONDS = 0.5
# A worker that ends sooner after its start counts as a failed start. The next start waits longer after each.
_SETTLED_SECONDS = 10.0
_MAX_PAUSE_SECONDS = 10.0


class WorkersAway(Unavailable):
    """No worker process could compute a call."""

    retry_seconds = _RETRY_SECONDS


class WorkerModel(ServableModel):
    """A model that is loaded in the workers of a pool."""

    def __init__(self, card: ModelCard, memory_bytes: int, key: int) -> None:
        super().__init__(card, memory_bytes)
        self.key = key


@dataclass(eq=False)
class _Slot:
    """The place of one worker. `ModelWorkerPool._changed` guards it."""

    worker: WorkerProcess | None = None  # None after it has ended, until its successor is ready
    busy: bool = False
    wanted: int = 0  # threads that wait for this worker, and for no other one
    failures: int = 0  # starts in sequence that have failed
    start_at: float = 0.0  # when the next start may be tried (monotonic seconds)


@dataclass(frozen=True)
class _LoadedVersion:
    """What a new worker needs in order to load a model."""

    card: str
    graph: bytes = field(repr=False)


class ModelWorkerPool:
    """Computes batches in several processes, one batch at a time in each. See `serving.compute.Compute`.

    A worker that ends is replaced within about a second, and its batch is computed by another one. Workers end when
    this process does, in whatever way.

    Args:
        count: the number of processes.
        metrics: counts the clips of each run, and the workers.
        threads: the number of threads inside one operator of a model.
    """

    def __init__(self, count: int, metrics: EvaluatorMetrics, threads: int = 1) -> None:
        self.parallel = count
        self._metrics = metrics
        self._threads = threads
        self._keys = itertools.count()
        # Guards all that follows. It is notified when a worker becomes free, ends or starts.
        self._changed = threading.Condition()
        self._models: dict[int, _LoadedVersion] = {}
        self._slots = [_Slot(WorkerProcess(threads)) for _ in range(count)]
        self._closing = False
        # Keys of models that no call can use any more; None wakes the supervisor.
        self._unused: SimpleQueue[int | None] = SimpleQueue()
        self._supervisor = threading.Thread(target=self._supervise, name="workers", daemon=True)
        self._supervisor.start()
        metrics.show_workers(count)
        metrics.measure_workers(self.resident_bytes)

    def is_ready(self) -> bool:
        """Whether there is a worker. See `Compute.is_ready`."""
        return not self._closing and any(slot.worker is not None for slot in self._slots)

    def load(
        self, store: ObjectStore, name: str, version: str, make_room: Callable[[int], None] | None = None
    ) -> WorkerModel:
        """Load a version into all workers, one after another. See `Compute.load`."""
        stored = StoredVersion.read(store, name, version)
        # Each worker has a copy, and this process keeps the file for workers that start later.
        needed = stored.measure_memory() * len(self._slots) + len(stored.graph)
        if make_room is not None:
            make_room(needed)
        model = WorkerModel(stored.card, needed, next(self._keys))
        # The queue may be used while this thread has any lock; the finalizer runs in the thread that drops the model.
        weakref.finalize(model, self._unused.put, model.key).atexit = False
        loaded = _LoadedVersion(stored.card.model_dump_json(by_alias=True), stored.graph)
        deaths = 0
        while missing := self._register(model.key, loaded):
            for slot in missing:
                try:
                    with self._claim(slot) as worker:
                        _load(worker, model.key, loaded, stored.parity)
                except WorkerDied as error:
                    deaths += 1
                    if deaths >= _ATTEMPTS:
                        raise DataLoss(
                            f"model {model.name} cannot be served: two processes have ended while they loaded it "
                            f"({error}). Move the alias to another version, or give the evaluator more memory."
                        ) from error
        return model

    def process(self, model: ServableModel, requests: Sequence[ClipRequest]) -> Sequence[ProcessedClip | Exception]:
        """See `Compute.process`."""
        answers: Sequence[ProcessedClip | Exception] = self._compute("process", model, requests)
        return answers

    def log_probs(
        self, model: ServableModel, clips: Sequence[Frames], dominance: Sequence[float] | None = None
    ) -> Sequence[Frames]:
        """See `Compute.log_probs`."""
        answers: Sequence[Frames] = self._compute("log_probs", model, clips, dominance)
        return answers

    def resident_bytes(self) -> int:
        """The memory of all workers."""
        with self._changed:
            return sum(slot.worker.resident_bytes() for slot in self._slots if slot.worker is not None)

    def worker_ids(self) -> list[int]:
        """The ids of the worker processes that are ready or busy."""
        with self._changed:
            return [slot.worker.pid for slot in self._slots if slot.worker is not None]

    def close(self) -> None:
        """End all workers. Calls that are under way raise `WorkersAway`."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for slot in self._slots:
            if (worker := slot.worker) is not None:
                worker.kill()
        self._unused.put(None)
        self._supervisor.join()
        for slot in self._slots:
            if (worker := slot.worker) is not None:
                worker.end()

    def _register(self, key: int, loaded: _LoadedVersion) -> list[_Slot]:
        """The workers that still have to load a model; if there are none, later workers load it before they are ready.

        Raises:
            WorkersAway: all workers have ended.
        """
        with self._changed:
            alive = [slot for slot in self._slots if slot.worker is not None]
            if not alive:
                raise _away()
            missing = [slot for slot in alive if slot.worker is not None and key not in slot.worker.models]
            if not missing:
                self._models[key] = loaded
            return missing

    def _compute(self, method: str, model: ServableModel, payload: Sequence[Any], *arguments: object) -> Any:
        key = cast(WorkerModel, model).key
        for _ in range(_ATTEMPTS):
            try:
                with self._any_worker() as worker:
                    answers, runs = worker.call(_COMPUTE_SECONDS, method, key, payload, *arguments)
            except WorkerDied as error:
                _log.warning("%d clips are computed again: %s", len(payload), error)
                continue
            for clips in runs:
                self._metrics.batch_clips.observe(clips)
            return answers
        raise _away()

    @contextmanager
    def _any_worker(self) -> Iterator[WorkerProcess]:
        """Use the first worker that is free.

        Raises:
            WorkersAway: there has been no worker for some seconds, or the pool is closed.
            WorkerDied: the worker ends meanwhile.
        """
        latest = time.monotonic() + _WAIT_SECONDS
        while True:
            slot = self._wait_for_free(latest)
            if slot.worker is not None and not slot.worker.has_ended():
                break
            # It has ended while it was idle.
            self._remove(slot)
            self._free(slot)
        with self._use(slot) as worker:
            yield worker

    def _wait_for_free(self, latest: float) -> _Slot:
        """Wait for a free worker, and mark its slot as busy."""
        with self._changed:
            while (free := self._find_free()) is None:
                none_left = all(slot.worker is None for slot in self._slots)
                if self._closing or (none_left and time.monotonic() > latest):
                    raise _away()
                self._changed.wait(_CHECK_SECONDS)
            free.busy = True
            return free

    def _find_free(self) -> _Slot | None:
        if self._closing:
            return None
        return next((slot for slot in self._slots if slot.worker and not slot.busy and not slot.wanted), None)

    @contextmanager
    def _claim(self, slot: _Slot) -> Iterator[WorkerProcess]:
        """Use this worker, as soon as it is free.

        Raises:
            WorkerDied: it has ended.
        """
        with self._changed:
            slot.wanted += 1
            try:
                self._changed.wait_for(lambda: not slot.busy)
            finally:
                slot.wanted -= 1
            slot.busy = True
        with self._use(slot) as worker:
            yield worker

    @contextmanager
    def _use(self, slot: _Slot) -> Iterator[WorkerProcess]:
        """Use the worker of a slot that is marked as busy, and mark it as free afterwards.

        Raises:
            WorkerDied: it has ended.
        """
        worker = slot.worker
        if worker is None:
            self._free(slot)
            raise WorkerDied("the process has ended")
        try:
            yield worker
        except WorkerDied:
            self._remove(slot)
            raise
        finally:
            self._free(slot)

    def _free(self, slot: _Slot) -> None:
        with self._changed:
            slot.busy = False
            self._changed.notify_all()

    def _remove(self, slot: _Slot) -> None:
        """Remove the worker of a slot that is marked as busy, and let the supervisor start another one."""
        with self._changed:
            worker, slot.worker = slot.worker, None
        if worker is not None:
            self._count_end(slot, worker)

    def _count_end(self, slot: _Slot, worker: WorkerProcess) -> None:
        worker.end()
        if self._closing:
            return
        now = time.monotonic()
        slot.failures = slot.failures + 1 if now - worker.started_at < _SETTLED_SECONDS else 0
        slot.start_at = now + min(_MAX_PAUSE_SECONDS, 2.0 ** (slot.failures - 1) - 1 if slot.failures else 0)
        self._metrics.count_worker_end()
        self._show()
        self._unused.put(None)

    def _show(self) -> None:
        self._metrics.show_workers(len(self.worker_ids()))

    def _supervise(self) -> None:
        """Start workers in the place of those that have ended, and unload models, until the pool is closed."""
        while True:
            try:
                key = self._unused.get(timeout=_CHECK_SECONDS)
            except Empty:
                key = None
            try:
                if key is not None:
                    self._unload(key)
                for slot in self._slots:
                    if self._closing:
                        return
                    self._check(slot)
            except Exception:  # noqa: BLE001  (without this thread, no worker would be replaced)
                _log.exception("looking after the worker processes failed unexpectedly")

    def _unload(self, key: int) -> None:
        with self._changed:
            self._models.pop(key, None)
        for slot in self._slots:
            try:
                with self._claim(slot) as worker:
                    worker.call(_LOAD_SECONDS, "unload", key)
                    worker.models.discard(key)
            except WorkerDied:
                continue

    def _check(self, slot: _Slot) -> None:
        """Start a worker in an empty slot; kill one that takes too long; find one that has ended while it was idle."""
        worker = slot.worker
        if worker is None:
            if time.monotonic() >= slot.start_at:
                self._start(slot)
            return
        overdue_at = worker.overdue_at
        if overdue_at is not None and time.monotonic() > overdue_at:
            _log.error("worker process %d is killed: it does not answer", worker.pid)
            worker.kill()
        elif worker.has_ended() and self._mark_busy(slot):
            _log.warning("worker process %d has ended, and is replaced", worker.pid)
            self._remove(slot)
            self._free(slot)

    def _mark_busy(self, slot: _Slot) -> bool:
        """Mark a slot as busy, unless it is: then the thread that uses its worker notices the end by itself."""
        with self._changed:
            if slot.busy:
                return False
            slot.busy = True
            return True

    def _start(self, slot: _Slot) -> None:
        """Start a worker, and let it load all models before calls can use it."""
        try:
            worker = WorkerProcess(self._threads)
        except OSError as error:
            slot.start_at = time.monotonic() + _MAX_PAUSE_SECONDS
            _log.error("a worker process cannot be started (%s). It is tried again.", error)
            return
        try:
            while missing := self._seat(slot, worker):
                for key, loaded in missing.items():
                    _load(worker, key, loaded)
        except (WorkerDied, SignetError, RuntimeError) as error:
            if not self._closing:
                _log.error("a worker process cannot be used (%s). Another one is started.", error)
            self._count_end(slot, worker)
            return
        self._show()
        _log.info("worker process %d is ready", worker.pid)

    def _seat(self, slot: _Slot, worker: WorkerProcess) -> dict[int, _LoadedVersion]:
        """Let calls use a worker, if it has loaded all models; otherwise return those that it must load."""
        with self._changed:
            if self._closing:
                raise WorkerDied("the pool is closed")
            missing = {key: loaded for key, loaded in self._models.items() if key not in worker.models}
            if not missing:
                slot.worker = worker
                self._changed.notify_all()
        return missing


def _load(worker: WorkerProcess, key: int, loaded: _LoadedVersion, parity: bytes | None = None) -> None:
    worker.call(_LOAD_SECONDS, "load", key, loaded.card, loaded.graph, parity)
    worker.models.add(key)


def _away() -> WorkersAway:
    return WorkersAway(
        f"the processes that compute have ended, and others are being started. Retry in {_RETRY_SECONDS:g} s."
    )
