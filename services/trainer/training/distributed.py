"""One training on several processes, usually one for each GPU, with the result of one process.

    torchrun --nproc-per-node 4 -m services.cli train --store ...

torchrun starts the same command several times, each with its rank. Rank 0 leads: it does the run, and it alone reads
flags, writes to the console and the store, and publishes. The others follow (`services.trainer.training.follower`).

Every process draws the same batches and computes its share of each batch. A share's gradient is divided by the totals
of the whole batch, so that the sum over the processes is the gradient of the whole batch: the loss curve is that of one
process up to rounding. Only the masks of dropout differ between the processes.

When one process ends early, the next exchange of the others fails, and they end too.
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
from services.trainer.training.optimizer import fill_missing_gradients
from signet.errors import NotReady, SignetError

# How long a process waits for another that is alive: the leader may wait for the store, or for a GPU to cool. A process
# that is dead is noticed at once.
_TIMEOUT = timedelta(hours=6)

_END, _CONTINUE = 0, 1


class _Torchrun(BaseSettings):
    """The environment of each process that torchrun starts. The names are torchrun's."""

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1


class FollowerTask(BaseModel):
    """A training that the followers take part in."""

    model_config = ConfigDict(frozen=True)

    config: str  # its configuration, as JSON
    dataset_name: str  # its snapshot, which is in the store
    dataset_version: str  # the snapshot's version
    train: tuple[str, ...]  # the ids of the training clips, in their order
    held_out: tuple[str, ...]  # the ids of the clips to evaluate on


@dataclass(frozen=True)
class Ranks:
    """The processes of a training, as one of them sees them. A single process is its own leader."""

    rank: int = 0  # of this process; 0 leads
    size: int = 1  # the number of processes

    @property
    def leads(self) -> bool:
        """Whether this process evaluates, decides, writes and publishes."""
        return self.rank == 0

    def share(self, batch: Batch) -> Batch | None:
        """This process's share of a batch; None if the batch has fewer sequences than there are processes."""
        if self.size == 1:
            return batch
        shares = batch.split(self.size)
        return shares[self.rank] if self.rank < len(shares) else None

    def seed_own_dropout(self, seed: int, epoch: int) -> None:
        """Give a follower random numbers of its own for an epoch, so that its dropout masks are not the leader's.

        The leader's stay as they are, because the training's state includes them.
        """
        if not self.leads:
            torch.manual_seed((seed + 1_000_003 * epoch + 7_919 * self.rank) % 2**63)

    def sum_gradients(self, parameters: Sequence[torch.nn.Parameter], loss: Tensor) -> Tensor:
        """Replace each gradient by its sum over the processes, and return the sum of the losses, float32 [N]."""
        if self.size == 1:
            return loss
        gradients = fill_missing_gradients(parameters)
        flat = torch.cat([*(gradient.flatten() for gradient in gradients), loss])
        with _explain_lost_process():
            dist.all_reduce(flat)
        *summed, loss = torch.split(flat, [*(gradient.numel() for gradient in gradients), len(loss)])
        for parameter, gradient in zip(parameters, summed, strict=True):
            parameter.grad = gradient.view_as(parameter)
        return loss

    def broadcast(self, value: float) -> float:
        """The leader's value, in every process."""
        if self.size == 1:
            return value
        received = torch.tensor([value], dtype=torch.float64)
        with _explain_lost_process():
            dist.broadcast(received, src=0)
        return float(received)

    @contextmanager
    def leading(self, make_task: Callable[[], tuple[FollowerTask, bytes]]) -> Iterator[Callable[[], None]]:
        """Let the followers take part in a training for as long as this context lasts.

        The context gives what the leader must call before each epoch. `make_task` is called only if there are
        followers.
        """
        if self.size == 1 or not self.leads:
            yield lambda: None
            return
        task, state = make_task()
        self.broadcast(_CONTINUE)
        self._send(task.model_dump_json().encode())
        self._send(state)
        with suppress(GeneratorExit):  # the iterator of epochs was closed
            yield self._announce_epoch
        # Not after an error: then the followers are within an epoch, and they end when this process does.
        self.broadcast(_END)

    def leader_continues(self) -> bool:
        """For a follower: whether the leader starts another training or, within one, another epoch."""
        return self.broadcast(_END) == _CONTINUE

    def receive_task(self) -> tuple[FollowerTask, bytes]:
        """For a follower: the training that the leader starts, and the state to start from."""
        return FollowerTask.model_validate_json(self._receive()), self._receive()

    def dismiss_followers(self) -> None:
        """Tell the followers that no more trainings come."""
        if self.size > 1 and self.leads:
            self.broadcast(_END)

    def _announce_epoch(self) -> None:
        self.broadcast(_CONTINUE)

    def _send(self, data: bytes) -> None:
        self.broadcast(len(data))
        with _explain_lost_process():
            dist.broadcast(torch.frombuffer(bytearray(data), dtype=torch.uint8), src=0)

    def _receive(self) -> bytes:
        data = torch.empty(int(self.broadcast(0)), dtype=torch.uint8)
        with _explain_lost_process():
            dist.broadcast(data, src=0)
        return data.numpy().tobytes()


def current_ranks() -> Ranks:
    """The processes of this training; this process alone outside of `process_group`."""
    if not dist.is_available() or not dist.is_initialized():
        return Ranks()
    return Ranks(dist.get_rank(), dist.get_world_size())


@contextmanager
def process_group() -> Iterator[Ranks]:
    """Join the processes that torchrun has started. Without torchrun, this process is alone.

    Raises:
        NotReady: there are more processes than GPUs.
        SignetError: another process cannot be reached, or has ended.
    """
    torchrun = _Torchrun()
    if torchrun.world_size == 1:
        yield Ranks()
        return
    backend = "gloo"
    if torch.cuda.is_available():
        gpus = torch.cuda.device_count()
        if torchrun.local_rank >= gpus:
            raise NotReady(
                f"torchrun started a process for GPU {torchrun.local_rank}, and this machine has {gpus}. Give "
                f"--nproc-per-node {gpus}; or hide the GPUs (CUDA_VISIBLE_DEVICES=) to train on CPUs."
            )
        # Tasks and counts are exchanged in CPU memory, gradients on the GPU.
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(torchrun.local_rank)
    with _explain_lost_process():
        dist.init_process_group(backend, timeout=_TIMEOUT)
    try:
        ranks = Ranks(torchrun.rank, torchrun.world_size)
        yield ranks
        ranks.dismiss_followers()
    finally:
        with suppress(RuntimeError):  # the error that matters was raised before
            dist.destroy_process_group()


@contextmanager
def _explain_lost_process() -> Iterator[None]:
    """Raise a SignetError in place of the RuntimeError of a failed exchange."""
    try:
        yield
    except torch.cuda.OutOfMemoryError:
        raise
    except RuntimeError as error:  # gloo has no narrower one
        raise SignetError(
            "another process of this training has ended or cannot be reached, so this process ends too. The cause is "
            "in the other process's output. `signet train --resume <run>` continues from the last saved state. "
            f"({str(error).splitlines()[0]})"
        ) from error
