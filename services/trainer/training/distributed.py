"""One training on several processes, usually one for each GPU, that computes what one process would.

    torchrun --nproc-per-node 4 -m services.cli train --store ...

torchrun starts the same command several times, each with its rank. Rank 0 leads: it does the run, and alone reads
flags, tells, writes and publishes. The others follow (`follow`): they are told each training, and compute their share.
Every rank draws the same batches, takes its part of each one's sequences, and the gradients of the parts, each divided
by the normalisers of the whole batch, add up to the gradient of the whole: the loss curve is that of one process up to
rounding. Only dropout's masks are each rank's own.

A rank that ends before the others ends them all: their next exchange fails.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

import torch
from pydantic import BaseModel, ConfigDict
from pydantic_settings import BaseSettings
from torch import Tensor
from torch import distributed as dist

from services.trainer.data.batches import Batch
from services.trainer.training.optimizer import gradients_of
from signet.errors import NotReady, SignetError

# How long a rank waits for another that is alive: the leader may be waiting for a store that is away, or for a GPU to
# cool. One that is dead is noticed at once.
_PATIENCE = timedelta(hours=6)

_END, _GO_ON = 0, 1


class _Torchrun(BaseSettings):
    """What torchrun tells each process that it starts; its names are torchrun's."""

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1


class Task(BaseModel):
    """A training that followers are to take part in.

    Attributes:
        config: its configuration, as JSON.
        dataset_name: its snapshot, which is in the store.
        dataset_version: and its version.
        train: ids of the clips to learn from, in their order.
        held_out: ids of the clips to judge by.
    """

    model_config = ConfigDict(frozen=True)

    config: str
    dataset_name: str
    dataset_version: str
    train: tuple[str, ...]
    held_out: tuple[str, ...]


@dataclass(frozen=True)
class Ranks:
    """The processes of a training, as one of them sees them. A process alone is its own leader.

    Attributes:
        rank: of this one; 0 leads.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process is the one that judges, decides, writes and tells."""
        return self.rank == 0

    def share(self, batch: Batch) -> Batch | None:
        """This process's part of a batch; None if it has fewer sequences than there are processes."""
        if self.size == 1:
            return batch
        parts = batch.split(self.size)
        return parts[self.rank] if self.rank < len(parts) else None

    def part_ways(self, seed: int, epoch: int) -> None:
        """Let this process's global randomness be its own in this epoch, or dropout's masks would be those of all.

        The leader's stays as it is: alone it is part of the training's state.
        """
        if not self.leads:
            torch.manual_seed((seed + 1_000_003 * epoch + 7_919 * self.rank) % 2**63)

    def add_up(self, parameters: Sequence[torch.nn.Parameter], more: Tensor) -> Tensor:
        """Let each process have the sum of all processes' gradients; the sum of `more`, [N] float32, is returned."""
        if self.size == 1:
            return more
        gradients = gradients_of(parameters)
        flat = torch.cat([*(gradient.flatten() for gradient in gradients), more])
        with _together():
            dist.all_reduce(flat)
        *summed, more = torch.split(flat, [*(gradient.numel() for gradient in gradients), len(more)])
        for one, gradient in zip(parameters, summed, strict=True):
            one.grad = gradient.view_as(one)
        return more

    def agree(self, *values: float) -> tuple[float, ...]:
        """The leader's values: what follows from them must be the same everywhere."""
        if self.size == 1:
            return values
        told = torch.tensor(values, dtype=torch.float64)
        with _together():
            dist.broadcast(told, src=0)
        return tuple(told.tolist())

    @contextmanager
    def leading(self, task: Callable[[], tuple[Task, bytes]]) -> Iterator[Callable[[], None]]:
        """The followers take part in a training, as long as this lasts.

        Args:
            task: what they are told, and the state that they begin from. It is asked for only if there are followers.

        Yields:
            What the leader calls before each epoch. Within an epoch nothing but an epoch's end parts the ranks.
        """
        if self.size == 1 or not self.leads:
            yield lambda: None
            return
        told, state = task()
        self._tell(_GO_ON)
        self._send(told.model_dump_json().encode())
        self._send(state)
        with suppress(GeneratorExit):  # nobody asks for more epochs
            yield lambda: self._tell(_GO_ON)
        # Not after an error: then the followers are within an epoch, and end since this process does.
        self._tell(_END)

    def told_to_go_on(self) -> bool:
        """For a follower: whether the leader begins another training, or within one another epoch."""
        return bool(self.agree(_END)[0])

    def received(self) -> tuple[Task, bytes]:
        """For a follower: the training that the leader begins, and the state that it begins from."""
        return Task.model_validate_json(self._receive()), self._receive()

    def dismiss(self) -> None:
        """The leader begins no more trainings: the followers end."""
        if self.size > 1 and self.leads:
            self._tell(_END)

    def _tell(self, what: int) -> None:
        self.agree(what)

    def _send(self, data: bytes) -> None:
        self.agree(len(data))
        with _together():
            dist.broadcast(torch.frombuffer(bytearray(data), dtype=torch.uint8), src=0)

    def _receive(self) -> bytes:
        (length,) = self.agree(0)
        data = torch.empty(int(length), dtype=torch.uint8)
        with _together():
            dist.broadcast(data, src=0)
        return data.numpy().tobytes()


def present() -> Ranks:
    """The processes of this one's group; itself alone outside of `group`."""
    if not dist.is_available() or not dist.is_initialized():
        return Ranks()
    return Ranks(dist.get_rank(), dist.get_world_size())


@contextmanager
def group() -> Iterator[Ranks]:
    """Be one of the processes that torchrun has started; without torchrun, a process alone.

    Raises:
        NotReady: there are more processes than GPUs.
        SignetError: the others cannot be reached, or one of them has ended.
    """
    torchrun = _Torchrun()
    if torchrun.world_size == 1:
        yield Ranks()
        return
    backend = "gloo"
    if torch.cuda.is_available():
        there = torch.cuda.device_count()
        if torchrun.local_rank >= there:
            raise NotReady(
                f"torchrun started a process for GPU {torchrun.local_rank}, and this machine has {there}. Give "
                f"--nproc-per-node {there}; or hide the GPUs (CUDA_VISIBLE_DEVICES=) to train on CPUs."
            )
        # What processes tell one another lies in CPU memory, gradients on the GPU.
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(torchrun.local_rank)
    with _together():
        dist.init_process_group(backend, timeout=_PATIENCE)
    try:
        ranks = Ranks(torchrun.rank, torchrun.world_size)
        yield ranks
        ranks.dismiss()
    finally:
        with suppress(RuntimeError):  # what was wrong with it has been said
            dist.destroy_process_group()


@contextmanager
def _together() -> Iterator[None]:
    """Say what it means that an exchange failed."""
    try:
        yield
    except torch.cuda.OutOfMemoryError:
        raise
    except RuntimeError as error:  # gloo has no narrower one
        raise SignetError(
            "another process of this training has ended, or cannot be reached, and so this one ends too. What went "
            "wrong is in that process's own output. `signet train --resume <run>` goes on from the last state that "
            f"was kept. ({str(error).splitlines()[0]})"
        ) from error
