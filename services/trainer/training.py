"""The training loop: a flat start, then CTC, one epoch at a time. Reads top to bottom."""

import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from services.trainer.augment import Augmentation
from services.trainer.batches import Batch, Clips, Sampler
from services.trainer.config import TrainConfig
from services.trainer.evaluate import Score, evaluate
from services.trainer.loss import ctc, frame_cross_entropy
from services.trainer.model import Architecture, Recogniser
from services.trainer.snapshot import TRAIN, VAL
from signet.dataset import Dataset
from signet.errors import InvalidSetting, NotReady, SignetError

# A small model's operations take microseconds: a second thread gains a tenth on idle cores, and on busy ones each waits
# for the other's time slice, many times slower.
DEFAULT_THREADS = 1
THREADS_HELP = "CPU threads to compute with; 0 takes one per core, which pays for models far larger than the default"

# Share of the epochs with frame labels alone, and the share over which they then fade into CTC.
FLAT_START = 0.4
FADE = 0.2

# What remains of the frame term beside CTC: enough to keep a sign's moment from spreading out again.
FRAME_WEIGHT = 0.15

# Signs in the longest training sequence.
LONGEST_SEQUENCE = 3

# Weights are published as their moving average over about the last 50 steps: smoother than any one step.
EMA_DECAY = 0.98

# Larger gradients come from a rare batch, and would undo the steps before it.
GRADIENT_NORM = 1.0

# Share of the steps in which the learning rate rises.
WARM_UP = 0.2

SGD_MOMENTUM = 0.9


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to.

    Attributes:
        number: 1 for the first.
        train_loss: mean over the batches, nats per sign.
        val: how the averaged weights do on the val clips.
        seconds: how long it took, validation included.
        best: no epoch before it recognised as many val clips.
    """

    number: int
    train_loss: float
    val: Score
    seconds: float
    best: bool


class Training:
    """One model being trained on one snapshot.

    Args:
        dataset: the snapshot.
        config: the run's configuration.
        device: where to train.

    Attributes:
        model: the averaged weights, which are what is judged and published.
    """

    def __init__(self, dataset: Dataset, config: TrainConfig, device: torch.device) -> None:
        self._config = config
        torch.manual_seed(config.seed)
        generator = torch.Generator(device).manual_seed(config.seed)
        architecture = Architecture(
            classes=len(dataset.manifest.vocabulary) + 1,
            hidden_dim=config.hidden_dim,
            num_layers=config.num_layers,
            dropout=config.dropout,
        )
        self._model = Recogniser(architecture).to(device)
        self._model.penalise_blank(config.blank_penalty)
        self._val = Clips.of(dataset, dataset.split(VAL), device)
        train = Clips.of(dataset, dataset.split(TRAIN), device)
        self._sampler = Sampler(train, config.batch_size, LONGEST_SEQUENCE, Augmentation(), generator)
        self._model.encoder.standardise(*self._sampler.frames())
        self._averaged = AveragedModel(self._model, multi_avg_fn=get_ema_multi_avg_fn(EMA_DECAY))  # type: ignore[no-untyped-call]
        self._optimizer = _optimizer(self._model, config)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer,
            config.lr,
            total_steps=config.num_epochs * self._sampler.batches_per_epoch,
            pct_start=WARM_UP,
            cycle_momentum=False,
        )

    @property
    def model(self) -> Recogniser:
        """The averaged weights, ready to be judged or published."""
        model = self._averaged.module
        assert isinstance(model, Recogniser)  # noqa: S101  (what was put in comes out)
        return model.eval()

    def epochs(self) -> Iterator[Epoch]:
        """Train, an epoch at a time; whoever stops asking stops the training.

        Raises:
            SignetError: the loss is not finite, or the GPU's memory is full; the message says what to change.
        """
        most = -1
        for number in range(1, self._config.num_epochs + 1):
            started = time.perf_counter()
            try:
                train_loss = self._epoch((number - 1) / self._config.num_epochs)
            except torch.cuda.OutOfMemoryError as error:
                raise SignetError(
                    f"the GPU's memory is full at --batch-size {self._config.batch_size}. Train with a smaller one."
                ) from error
            val = evaluate(self.model, self._val, self._config.blank_penalty)
            yield Epoch(number, train_loss, val, time.perf_counter() - started, best=val.correct > most)
            most = max(most, val.correct)

    def _epoch(self, progress: float) -> float:
        """One pass over the training clips; the mean loss. `progress` is the share of the epochs gone before."""
        self._model.train()
        losses = []
        for batch in self._sampler.epoch():
            loss = self._loss(batch, progress)
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), GRADIENT_NORM)
            self._optimizer.step()
            self._schedule.step()
            self._averaged.update_parameters(self._model)
            losses.append(loss.detach())
        mean = float(torch.stack(losses).mean())
        if not math.isfinite(mean):
            raise SignetError(f"the training loss is not finite ({mean}). Lower --lr (now {self._config.lr:g}).")
        return mean

    def _loss(self, batch: Batch, progress: float) -> torch.Tensor:
        log_probs = self._model.encoder(batch.hands, batch.both, batch.lengths)
        frames = frame_cross_entropy(log_probs, batch.frame_labels, batch.inside)
        if progress < FLAT_START:
            return frames
        faded = min(1.0, (progress - FLAT_START) / FADE)
        weight = 1 - (1 - FRAME_WEIGHT) * faded
        return ctc(log_probs, batch.lengths, batch.targets, batch.target_lengths) + weight * frames


def use_threads(threads: int) -> None:
    """Compute with so many CPU threads; 0 takes one per core."""
    torch.set_num_threads(threads or os.cpu_count() or 1)


def find_device(name: str) -> torch.device:
    """The device of this name; "auto" is a GPU if there is one.

    Raises:
        NotReady: a GPU was asked for, and there is none of that number.
        InvalidSetting: the name means nothing.
    """
    available = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if available else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InvalidSetting(f"--device {name}: write auto, cpu, cuda or cuda:<n>.") from error
    if device.type == "cuda" and (not available or (device.index or 0) >= torch.cuda.device_count()):
        found = torch.cuda.device_count() if available else 0
        raise NotReady(f"--device {name}: torch finds {found} GPU(s) here. Use --device cpu, or look at `nvidia-smi`.")
    return device


def _optimizer(model: Recogniser, config: TrainConfig) -> torch.optim.Optimizer:
    if config.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), config.lr, momentum=SGD_MOMENTUM, weight_decay=config.weight_decay)
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(model.parameters(), config.lr, weight_decay=config.weight_decay)
