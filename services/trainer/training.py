"""The training loop: a flat start, then CTC, one epoch at a time. Reads top to bottom."""

import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from services.trainer.augment import Augmentation
from services.trainer.batches import Batch, Clips, Sampler
from services.trainer.config import TrainConfig
from services.trainer.evaluate import NOTHING, Score, evaluate, together
from services.trainer.loss import frame_weights
from services.trainer.memory import Parts, full_memory_named
from services.trainer.model import Architecture, Recogniser
from services.trainer.objective import loss as objective
from services.trainer.snapshot import TRAIN, VAL
from signet.dataset import Dataset
from signet.errors import InvalidSetting, NotReady, SignetError

# A small model's operations take microseconds: a second thread gains a tenth on idle cores, and on busy ones each waits
# for the other's time slice, many times slower.
DEFAULT_THREADS = 1
THREADS_HELP = "CPU threads to compute with; 0 takes one per core, which pays for models far larger than the default"

# Signs in the longest training sequence.
LONGEST_SEQUENCE = 3

# Weights are published as their moving average over about the last 50 steps: smoother than any one step.
EMA_DECAY = 0.98

# Larger gradients come from a rare batch, and would undo the steps before it.
GRADIENT_NORM = 1.0

# Share of the steps in which the learning rate rises.
WARM_UP = 0.2

SGD_MOMENTUM = 0.9

# Training clips that are judged at most. More would say the same (±3 points) and, with a few thousand glosses, take as
# long as an epoch.
_JUDGED_TRAIN_CLIPS = 1000


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to.

    Attributes:
        number: 1 for the first.
        train_loss: mean over the batches, nats per sign.
        val: how the averaged weights do on the val clips.
        seconds: how long it took, validation and pauses included.
        best: no epoch before it recognised as many val clips.
        train: how the averaged weights do on training clips, where that was asked.
    """

    number: int
    train_loss: float
    val: Score
    seconds: float
    best: bool
    train: Score | None = None


class Telemetry:
    """Is told what happens within an epoch. This one keeps it to itself."""

    def batch(self) -> None:
        """A batch was learnt from."""

    def split(self) -> None:
        """GPU memory was full: from now on batches are taken in twice as many parts."""

    def nonfinite_loss(self) -> None:
        """The run ends since its loss is not finite."""

    def throttling(self, paused: bool) -> None:
        """The run pauses since the GPU is too hot, or goes on."""

    def throttled(self, seconds: float) -> None:
        """The run was paused for so many more seconds."""


def nothing() -> None:
    """What a hook does unless it is given."""


class Training:
    """One model being trained on one snapshot.

    Args:
        dataset: the snapshot.
        config: the run's configuration.
        device: where to train.
        between_batches: called before each batch; what it raises ends the training there.
        telemetry: told what happens within an epoch.

    Attributes:
        model: the averaged weights, which are what is judged and published.
    """

    @full_memory_named()
    def __init__(
        self,
        dataset: Dataset,
        config: TrainConfig,
        device: torch.device,
        *,
        between_batches: Callable[[], None] = nothing,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._config = config
        self._between_batches = between_batches
        self._telemetry = telemetry or Telemetry()
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
        self._learning = Parts("training", self._telemetry.split, release=self._optimizer.zero_grad)
        self._judging = Parts("validation", self._telemetry.split, release=nothing)
        self._judged_train = train.every(-(-len(train) // _JUDGED_TRAIN_CLIPS))

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
            train_loss = self._epoch((number - 1) / self._config.num_epochs)
            val = self._judge(self._val)
            yield Epoch(number, train_loss, val, time.perf_counter() - started, best=val.correct > most)
            most = max(most, val.correct)

    def judge_train(self) -> Score:
        """How the averaged weights do on the training clips as they are; on an even choice of them if they are many."""
        return self._judge(self._judged_train)

    def _judge(self, clips: Clips) -> Score:
        def judge(parts: int) -> Score:
            return together(
                [
                    (evaluate(self.model, part, self._config.blank_penalty), int(part.lengths.sum()))
                    for part in clips.parts(parts)
                ]
            )

        return self._judging.fit(len(clips), judge) if len(clips) else NOTHING

    @full_memory_named()
    def _epoch(self, progress: float) -> float:
        """One pass over the training clips; the mean loss. `progress` is the share of the epochs gone before."""
        self._model.train()
        losses = []
        for batch in self._sampler.epoch():
            self._between_batches()
            loss = self._learning.fit(len(batch), partial(self._gradient, batch, progress))
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), GRADIENT_NORM)
            self._optimizer.step()
            self._schedule.step()
            self._averaged.update_parameters(self._model)
            losses.append(loss)
            self._telemetry.batch()
        mean = float(torch.stack(losses).mean())
        if not math.isfinite(mean):
            self._telemetry.nonfinite_loss()
            raise SignetError(f"the training loss is not finite ({mean}). Lower --lr (now {self._config.lr:g}).")
        return mean

    def _gradient(self, batch: Batch, progress: float, parts: int) -> torch.Tensor:
        """Leave the batch's gradient in the parameters, one part of it after the other; the batch's loss."""
        signs = batch.target_lengths.sum()
        weight = frame_weights(batch.frame_labels, batch.inside).sum()
        self._optimizer.zero_grad()
        total = torch.zeros((), device=signs.device)
        for part in batch.parts(parts):
            log_probs = self._model.encoder(part.hands, part.both, part.lengths)
            loss = objective(log_probs, part, progress, signs, weight)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total


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
