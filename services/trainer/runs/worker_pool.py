"""Members trained side by side, each worker a process of its own: on two cores, two take as long as one.

A worker trains and tells; it knows no store. It ends with this process, however that ends, and what it learns does not
depend on who trains beside it.
"""

import logging
import logging.handlers
import multiprocessing
import os
import signal
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch

from services.trainer.config.train_config import TrainConfig
from services.trainer.model.build import BeginFold
from services.trainer.runs.checkpoints import STATE_SHARE
from services.trainer.runs.members import Abandoned, Done, Kept, Member, Orders, Place, Step, Trained, train
from services.trainer.runtime import gpu_throttle as thermal
from services.trainer.training.callbacks import TrainingCallbacks
from signet.datasets.snapshot import Dataset, Manifest
from signet.errors import SignetError

_log = logging.getLogger(__name__)

# How long an order to stop may go unnoticed.
_NOTICE_SECONDS = 0.1

# How often a worker says how many batches it has learnt from. Prometheus asks every few seconds.
_COUNT_SECONDS = 1.0

# How long workers that are told to give up may take for their last state before they are ended.
_FAREWELL_SECONDS = 20.0

_STOP, _GIVE_UP = "stop", "give up"


@dataclass(frozen=True)
class _Job:
    member: Member
    state: bytes | None


@dataclass(frozen=True)
class _Happened:
    """Something that callbacks is to be told, by the name of its method."""

    what: str
    arguments: tuple[Any, ...] = ()
    times: int = 1


@dataclass(frozen=True)
class _Ended:
    """A worker's job is over; with an error if it did not come to its end."""

    error: SignetError | None = None


@dataclass(frozen=True)
class _Setting:
    """What a worker is given once."""

    manifest: Manifest
    instants: Path
    config: TrainConfig
    device: str
    threads: int
    state_seconds: float
    begin: BeginFold | None


def train_side_by_side(  # noqa: PLR0912  (one loop, and a branch for each thing that a process can tell)
    dataset: Dataset,
    config: TrainConfig,
    members: Sequence[Member],
    device: torch.device,
    state: Callable[[Place], bytes | None],
    *,
    stopped: Callable[[], bool],
    abandoned: Callable[[], bool],
    callbacks: TrainingCallbacks,
    state_seconds: float,
    begin: BeginFold | None = None,
) -> Iterator[Step]:
    """Train members, `config.jobs` at a time; what they tell comes as it happens.

    Args:
        dataset: the run's snapshot.
        config: the run's configuration.
        members: those that are to be trained.
        device: where; all on the same one.
        state: what a member goes on from; None where it begins.
        stopped: asked all the time; True ends those under way after their epoch, and begins no more.
        abandoned: asked all the time; True ends those under way between two batches.
        callbacks: told what happens in all of them.
        state_seconds: how often each gives a state, at least.
        begin: as `services.trainer.runs.members.train` takes it; it must bear being sent to another process.

    Raises:
        Abandoned: the run was given up.
        SignetError: one of them cannot go on, or its process has died. Of the others the state is still given.
    """
    waiting = deque(members)
    with tempfile.TemporaryDirectory(prefix="signet-") as folder:
        instants = Path(folder, "instants.npy")
        np.save(instants, dataset.samples)
        setting = _Setting(
            dataset.manifest, instants, config, str(device), torch.get_num_threads(), state_seconds, begin
        )
        crew = [_Worker(setting) for _ in range(min(config.jobs, len(waiting)))]
        try:
            for worker in crew:
                member = waiting.popleft()
                worker.begin(_Job(member, state(member.place)))
            failure: SignetError | None = None
            deadline = 0.0
            while busy := {worker.connection: worker for worker in crew if worker.place is not None}:
                if stopped():
                    waiting.clear()
                    for worker in busy.values():
                        worker.order(_STOP)
                if (failure is not None or abandoned()) and not deadline:
                    waiting.clear()
                    deadline = time.monotonic() + _FAREWELL_SECONDS
                    for worker in busy.values():
                        worker.order(_GIVE_UP)
                if deadline and time.monotonic() > deadline:
                    break
                for connection in wait(list(busy), timeout=_NOTICE_SECONDS):
                    worker = busy[connection]  # type: ignore[index]
                    message = worker.heard()
                    if isinstance(message, Trained | Kept | Done):
                        yield message
                    elif isinstance(message, _Happened):
                        for _ in range(message.times):
                            getattr(callbacks, message.what)(*message.arguments)
                    elif isinstance(message, logging.LogRecord):
                        logging.getLogger(message.name).handle(message)
                    else:
                        worker.place = None
                        if message.error is None and waiting:
                            member = waiting.popleft()
                            worker.begin(_Job(member, state(member.place)))
                        elif message.error is not None and not isinstance(message.error, Abandoned):
                            failure = failure or message.error
            if failure is not None:
                raise failure
            if deadline:
                raise Abandoned("the run was given up before it was trained; nothing is published.")
        finally:
            for worker in crew:
                worker.end()


class _Worker:
    """A process, as this one sees it.

    Attributes:
        connection: where it tells.
        place: the member that it trains; None while it has none.
    """

    def __init__(self, setting: _Setting) -> None:
        # Not fork: torch's and gRPC's threads do not survive one.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.place: Place | None = None
        self._ordered: set[str] = set()
        self._process: BaseProcess = context.Process(target=_work, args=(theirs, setting), daemon=True)
        self._process.start()
        # Theirs alone: its end is then noticed by whoever listens.
        theirs.close()

    def begin(self, job: _Job) -> None:
        """Train a member."""
        self.place = job.member.place
        self._ordered.clear()
        with suppress(OSError):
            self.connection.send(job)

    def order(self, what: str) -> None:
        """Tell it something, once."""
        if what not in self._ordered:
            self._ordered.add(what)
            with suppress(OSError):
                self.connection.send(what)

    def heard(self) -> "Step | _Happened | _Ended | logging.LogRecord":
        """What it says next."""
        try:
            message: Step | _Happened | _Ended | logging.LogRecord = self.connection.recv()
        except (EOFError, OSError):
            self._process.join(_FAREWELL_SECONDS)
            return _Ended(
                SignetError(
                    f"a process that trained beside others ended by itself (status {self._process.exitcode}); memory "
                    "may have run out. Take fewer --jobs."
                )
            )
        return message

    def end(self) -> None:
        """End it at once, whatever it does."""
        self._process.kill()
        self._process.join()
        self.connection.close()


class _Boss:
    """The process that a worker works for, as the worker sees it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.stopped = self.given_up = False

    def tell(self, message: object) -> None:
        """Say something."""
        self._connection.send(message)

    def listen(self) -> None:
        """Take note of orders. Ends this process if there is nobody to give any."""
        while self._connection.poll():
            try:
                order = self._connection.recv()
            except (EOFError, OSError):
                os._exit(1)
            self.stopped |= order == _STOP
            self.given_up |= order == _GIVE_UP

    def job(self) -> _Job:
        """The next job, when it comes. What was ordered during the one before is over."""
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                os._exit(0)
            if isinstance(message, _Job):
                self.stopped = self.given_up = False
                return message


class _Told(TrainingCallbacks):
    """Passes on what happens within an epoch, batches by the second."""

    def __init__(self, boss: _Boss) -> None:
        self._boss = boss
        self._batches = 0
        self._next = time.monotonic() + _COUNT_SECONDS

    def on_batch(self) -> None:
        self._batches += 1
        if time.monotonic() >= self._next:
            self.flush()

    def flush(self) -> None:
        """Say how many batches there were since it was said last."""
        if self._batches:
            self._boss.tell(_Happened("on_batch", times=self._batches))
        self._batches = 0
        self._next = time.monotonic() + _COUNT_SECONDS

    def on_memory_split(self) -> None:
        self._boss.tell(_Happened("on_memory_split"))

    def on_nonfinite_loss(self) -> None:
        self._boss.tell(_Happened("on_nonfinite_loss"))

    def on_recovery_action(self, what: str) -> None:
        self._boss.tell(_Happened("on_recovery_action", (what,)))

    def on_throttling(self, paused: bool) -> None:
        self._boss.tell(_Happened("on_throttling", (paused,)))

    def on_throttled_seconds(self, seconds: float) -> None:
        self._boss.tell(_Happened("on_throttled_seconds", (seconds,)))


class _Passed(logging.handlers.QueueHandler):
    """Lets the boss write the log, so that lines do not meet."""

    def __init__(self, boss: _Boss) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self._boss = boss

    def enqueue(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            self._boss.tell(record)


def _work(connection: Connection, setting: _Setting) -> None:
    """What a worker does: one job after the other, until nobody has any."""
    # Ctrl-C reaches everybody; what it means is for the boss to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(setting.threads)
    boss = _Boss(connection)
    logging.basicConfig(level="INFO", handlers=[_Passed(boss)])
    dataset = Dataset(setting.manifest, np.load(setting.instants, mmap_mode="c"))
    while True:
        job = boss.job()
        try:
            _do(job, dataset, setting, boss)
        except SignetError as error:
            boss.tell(_Ended(error))
        except OSError:
            os._exit(1)  # nobody listens
        except Exception as error:  # noqa: BLE001  (the run must learn of the end, whatever it was)
            _log.exception("a member's training failed")
            boss.tell(_Ended(SignetError(f"unexpected {type(error).__name__}: {error}; see the log.")))
        else:
            boss.tell(_Ended())


def _do(job: _Job, dataset: Dataset, setting: _Setting, boss: _Boss) -> None:
    told = _Told(boss)
    device = torch.device(setting.device)
    cool_down = thermal.make_gpu_throttle(
        device,
        setting.config.max_gpu_temperature,
        None,
        released=lambda: boss.stopped or boss.given_up,
        callbacks=told,
    )

    def between_batches() -> None:
        cool_down()
        boss.listen()
        if boss.given_up:
            raise Abandoned("given up")

    next_state = time.monotonic() + setting.state_seconds

    orders = Orders(
        stopped=lambda: boss.stopped,
        due=lambda: time.monotonic() >= next_state,
        between_batches=between_batches,
        callbacks=told,
    )
    for step in train(dataset, setting.config, job.member, device, job.state, orders, setting.begin):
        told.flush()
        boss.tell(step)
        if isinstance(step, Kept):
            next_state = time.monotonic() + max(setting.state_seconds, step.seconds / STATE_SHARE)
