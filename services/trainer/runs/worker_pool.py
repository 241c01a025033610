"""Several members trained at the same time, each in a worker process of its own.

A worker trains and reports; it does not know the store. It ends when this process ends, whatever ends this process. A
member's result does not depend on the members that are trained at the same time.

Neither `concurrent.futures` nor `pebble` replaces this module: their jobs have one result, at the end. Epochs, states
and commands would need these pipes all the same, and an executor ends all its workers when one of them dies.
"""

import logging
import logging.handlers
import multiprocessing
import os
import signal
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import torch

from services.trainer.config.train_config import TrainConfig
from services.trainer.data.members import Member, MemberKey
from services.trainer.model.build import WeightInitialiser
from services.trainer.runs.checkpoints import STATE_TIME_SHARE
from services.trainer.runs.events import RunCallbacks
from services.trainer.runs.member_training import MemberEvent, RunAborted, StateReady, train_member
from services.trainer.training.callbacks import TrainingCallbacks
from signet.datasets.snapshot import Dataset, Manifest
from signet.errors import SignetError

_log = logging.getLogger(__name__)

# A command to stop is noticed after this time at the latest.
_POLL_SECONDS = 0.1

# How often a worker reports its batches. Prometheus asks every few seconds.
_REPORT_SECONDS = 1.0

# The time that workers have to send a last state, after a command to abort, before they are killed.
_ABORT_SECONDS = 20.0


class Command(Enum):
    """End the member after its current epoch (STOP), or before its next batch (ABORT)."""

    STOP = "stop"
    ABORT = "abort"


@dataclass(frozen=True)
class MemberJob:
    """A member to train, and the state to continue from (None: from its start)."""

    member: Member
    state: bytes | None


@dataclass(frozen=True)
class JobEnded:
    """The end of a worker's job: without an error, the member was trained to its end or the parent ended it."""

    error: SignetError | None = None


@dataclass(frozen=True)
class CallbackEvent:
    """Calls of `TrainingCallbacks` in a worker, to be repeated in the parent."""

    batches: int = 0
    memory_split: bool = False
    nonfinite_loss: bool = False
    recovery_action: str | None = None
    throttling: bool | None = None
    throttled_seconds: float | None = None

    def repeat(self, callbacks: TrainingCallbacks) -> None:
        """Make the same calls."""
        for _ in range(self.batches):
            callbacks.on_batch()
        if self.memory_split:
            callbacks.on_memory_split()
        if self.nonfinite_loss:
            callbacks.on_nonfinite_loss()
        if self.recovery_action is not None:
            callbacks.on_recovery_action(self.recovery_action)
        if self.throttling is not None:
            callbacks.on_throttling(self.throttling)
        if self.throttled_seconds is not None:
            callbacks.on_throttled_seconds(self.throttled_seconds)


@dataclass(frozen=True)
class WorkerContext:
    """What a worker process gets once, at its start."""

    manifest: Manifest
    samples: Path
    config: TrainConfig
    device: str
    threads: int
    state_seconds: float
    initialise: WeightInitialiser | None


Message = MemberEvent | CallbackEvent | JobEnded | logging.LogRecord


def train_in_worker_pool(
    dataset: Dataset,
    config: TrainConfig,
    members: Sequence[Member],
    device: torch.device,
    load_state: Callable[[MemberKey], bytes | None],
    callbacks: RunCallbacks,
    state_seconds: float,
    initialise: WeightInitialiser | None = None,
) -> Iterator[MemberEvent]:
    """Train members, `config.jobs` at a time, and yield their events as they happen.

    Args:
        dataset: the run's snapshot.
        config: the run's configuration.
        members: the members to train.
        device: the device on which all of them are trained.
        load_state: gives the state that a member continues from; None if it starts anew.
        callbacks: its `should_stop` and `should_abort` are polled, and `training` gets the events within epochs.
        state_seconds: the least time between two states of a member.
        initialise: as in `services.trainer.runs.member_training.train_member`; it is pickled for the workers.

    Raises:
        RunAborted: `should_abort` was True.
        SignetError: a member cannot go on, or its process died. The last states of the others are yielded before.
    """
    with tempfile.TemporaryDirectory(prefix="signet-") as folder:
        samples = Path(folder, "samples.npy")
        np.save(samples, dataset.samples)
        threads = torch.get_num_threads()
        context = WorkerContext(dataset.manifest, samples, config, str(device), threads, state_seconds, initialise)
        workers = [_Worker(context) for _ in range(min(config.jobs, len(members)))]
        try:
            yield from _events(workers, deque(members), load_state, callbacks)
        finally:
            for worker in workers:
                worker.kill()


def _events(
    workers: Sequence["_Worker"],
    waiting: deque[Member],
    load_state: Callable[[MemberKey], bytes | None],
    callbacks: RunCallbacks,
) -> Iterator[MemberEvent]:
    """Give each idle worker the next member, and yield the events of all, until no worker has a member."""
    failure: SignetError | None = None
    stopping, deadline = False, 0.0
    for worker in workers:
        _start_next(worker, waiting, load_state)
    while busy := {worker.connection: worker for worker in workers if worker.busy}:
        if not stopping and callbacks.should_stop():
            stopping = True
            _send_to_all(Command.STOP, busy.values(), waiting)
        if not deadline and (failure is not None or callbacks.should_abort()):
            deadline = time.monotonic() + _ABORT_SECONDS
            _send_to_all(Command.ABORT, busy.values(), waiting)
        if deadline and time.monotonic() > deadline:
            break
        for connection in wait(list(busy), timeout=_POLL_SECONDS):
            worker = busy[connection]  # type: ignore[index]
            message = worker.receive()
            if isinstance(message, JobEnded):
                worker.busy = False
                failure = failure or message.error
                if failure is None:
                    _start_next(worker, waiting, load_state)
            elif isinstance(message, CallbackEvent):
                message.repeat(callbacks.training)
            elif isinstance(message, logging.LogRecord):
                logging.getLogger(message.name).handle(message)
            else:
                yield message
    if failure is not None or deadline:
        raise failure or RunAborted("the run was aborted")


def _start_next(worker: "_Worker", waiting: deque[Member], load_state: Callable[[MemberKey], bytes | None]) -> None:
    if waiting:
        member = waiting.popleft()
        worker.start(MemberJob(member, load_state(member.key)))


def _send_to_all(command: Command, workers: Iterable["_Worker"], waiting: deque[Member]) -> None:
    """Send a command to all workers, and start no more members."""
    waiting.clear()
    for worker in workers:
        worker.send(command)


class _Worker:
    """A worker process, as the parent sees it."""

    def __init__(self, context: WorkerContext) -> None:
        # Not fork: the threads of torch and gRPC do not survive it.
        spawn = multiprocessing.get_context("spawn")
        self.connection, worker_end = spawn.Pipe()
        self.busy = False  # whether it has a member to train
        self._process: BaseProcess = spawn.Process(target=_work, args=(worker_end, context), daemon=True)
        self._process.start()
        # Only the worker may hold its end: the parent then notices when the worker dies.
        worker_end.close()

    def start(self, job: MemberJob) -> None:
        """Train a member."""
        self.busy = True
        self.send(job)

    def send(self, message: MemberJob | Command) -> None:
        """Send a job or a command. A dead worker is noticed in `receive`."""
        with suppress(OSError):
            self.connection.send(message)

    def receive(self) -> Message:
        """The next message; the end of the job if the process has died."""
        try:
            message: Message = self.connection.recv()
        except (EOFError, OSError):
            self._process.join(_ABORT_SECONDS)
            return JobEnded(
                SignetError(
                    f"a worker process ended by itself (status {self._process.exitcode}). The machine may have run out "
                    "of memory. Use fewer --jobs."
                )
            )
        return message

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.join()
        self.connection.close()


class _ParentChannel:
    """The parent process, as a worker sees it. The worker ends when the parent has ended."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.commands: set[Command] = set()

    def send(self, message: Message) -> None:
        """Send a message. Without a parent, the process ends."""
        try:
            self._connection.send(message)
        except OSError:
            os._exit(1)

    def poll_abort(self) -> bool:
        """Receive the commands that have arrived, and return whether one of them is ABORT."""
        while self._connection.poll():
            self._receive()
        return Command.ABORT in self.commands

    def wait_for_job(self) -> MemberJob:
        """The next job. Commands that belong to the job before are dropped."""
        while True:
            message = self._receive()
            if isinstance(message, MemberJob):
                self.commands.clear()
                return message

    def _receive(self) -> "MemberJob | Command":
        try:
            message: MemberJob | Command = self._connection.recv()
        except (EOFError, OSError):
            os._exit(1)
        if isinstance(message, Command):
            self.commands.add(message)
        return message


class _ForwardingCallbacks(TrainingCallbacks):
    """Sends the events within an epoch to the parent; batches are counted and sent once a second."""

    def __init__(self, parent: _ParentChannel) -> None:
        self._parent = parent
        self._batches = 0
        self._next_report = time.monotonic() + _REPORT_SECONDS

    def on_batch(self) -> None:
        self._batches += 1
        if time.monotonic() >= self._next_report:
            self.flush()

    def flush(self) -> None:
        """Send the number of batches since the last report."""
        if self._batches:
            self._parent.send(CallbackEvent(batches=self._batches))
        self._batches = 0
        self._next_report = time.monotonic() + _REPORT_SECONDS

    def on_memory_split(self) -> None:
        self._parent.send(CallbackEvent(memory_split=True))

    def on_nonfinite_loss(self) -> None:
        self._parent.send(CallbackEvent(nonfinite_loss=True))

    def on_recovery_action(self, action: str) -> None:
        self._parent.send(CallbackEvent(recovery_action=action))

    def on_throttling(self, paused: bool) -> None:
        self._parent.send(CallbackEvent(throttling=paused))

    def on_throttled_seconds(self, seconds: float) -> None:
        self._parent.send(CallbackEvent(throttled_seconds=seconds))


class _ForwardingLogHandler(logging.handlers.QueueHandler):
    """Sends log records to the parent, which writes them: lines of several processes do not mix."""

    def __init__(self, parent: _ParentChannel) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self._parent = parent

    def enqueue(self, record: logging.LogRecord) -> None:
        self._parent.send(record)


def _work(connection: Connection, context: WorkerContext) -> None:
    """The main function of a worker process: train one member after the other until the parent ends the process."""
    # Ctrl-C reaches all processes of the terminal. The parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(context.threads)
    parent = _ParentChannel(connection)
    logging.basicConfig(level="INFO", format="%(message)s", handlers=[_ForwardingLogHandler(parent)])
    dataset = Dataset(context.manifest, np.load(context.samples, mmap_mode="c"))
    while True:
        job = parent.wait_for_job()
        failure: SignetError | None = None
        try:
            with suppress(RunAborted):  # the parent requested it
                _train_member(job, dataset, context, parent)
        except SignetError as error:
            failure = error
        except Exception as error:  # noqa: BLE001  (every error ends the job, and the parent must learn of it)
            _log.exception("the training of a member failed")
            failure = SignetError(f"unexpected {type(error).__name__}: {error}; see the log.")
        parent.send(JobEnded(failure))


def _train_member(job: MemberJob, dataset: Dataset, context: WorkerContext, parent: _ParentChannel) -> None:
    next_state = time.monotonic() + context.state_seconds
    forwarding = _ForwardingCallbacks(parent)
    callbacks = RunCallbacks(
        should_stop=lambda: Command.STOP in parent.commands, should_abort=parent.poll_abort, training=forwarding
    )

    def is_state_due() -> bool:
        return time.monotonic() >= next_state

    device = torch.device(context.device)
    for event in train_member(
        dataset, context.config, job.member, device, job.state, callbacks, is_state_due, context.initialise
    ):
        forwarding.flush()
        parent.send(event)
        if isinstance(event, StateReady):
            next_state = time.monotonic() + max(context.state_seconds, event.seconds / STATE_TIME_SHARE)
