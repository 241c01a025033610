"""What a training consists of, and how all of it is saved and restored.

`BaseTraining` is the base of the two loops, `services.trainer.training.loop.Training` and
`services.trainer.training.pretraining_loop.Pretraining`. It holds the clips, the model, the optimiser, the moving
average, the random generators and the progress.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from services.trainer.config.train_config import TrainConfig
from services.trainer.data.augmentation import Augmentation
from services.trainer.data.batches import Batch, Clips, Sampler
from services.trainer.data.clip_requirements import require_clips
from services.trainer.data.recombination import Recombinations
from services.trainer.data.signing_sampler import SigningSampler
from services.trainer.model.build import WeightInitialiser, new_model
from services.trainer.model.sign_model import SignModel
from services.trainer.runtime.autocast import select_autocast
from services.trainer.runtime.oom import MemorySplitter, explain_out_of_memory
from services.trainer.runtime.rng import RngStream
from services.trainer.training import distributed
from services.trainer.training.averaging import MovingAverage
from services.trainer.training.callbacks import TrainingCallbacks, no_op
from services.trainer.training.optimizer import make_optimizer, optimizer_tensors, restore_optimizer
from services.trainer.training.recovery import lower_learning_rate
from services.trainer.training.schedule import one_cycle
from services.trainer.training.state import LoopProgress, TrainingIdentity, TrainingState, load_state
from signet.datasets.snapshot import VAL, Dataset, DatasetClip
from signet.errors import DataLoss, InvalidInput


class BaseTraining:
    """One model that is trained on one snapshot.

    Args:
        dataset: the snapshot.
        config: the run's configuration.
        device: where to train.
        train: the clips to train on; the snapshot's training clips unless given.
        held_out: the clips to evaluate on; the snapshot's val split unless given.
        between_batches: called before each batch. An exception that it raises ends the training.
        callbacks: receives the events within an epoch.
        initialise: replaces the random weights of the new model.

    Attributes:
        longest_sequence: the number of clips in the longest training sequence.

    Raises:
        InvalidInput: the clips are not enough to train on; the message says what is missing.
    """

    longest_sequence: ClassVar[int]

    @explain_out_of_memory()
    def __init__(
        self,
        dataset: Dataset,
        config: TrainConfig,
        device: torch.device,
        *,
        train: Sequence[DatasetClip] | None = None,
        held_out: Sequence[DatasetClip] | None = None,
        between_batches: Callable[[], None] = no_op,
        callbacks: TrainingCallbacks | None = None,
        initialise: WeightInitialiser | None = None,
    ) -> None:
        train_clips = list(dataset.manifest.training_clips if train is None else train)
        val_clips = list(dataset.split(VAL) if held_out is None else held_out)
        require_clips(dataset, train_clips, gloss_may_lack_clips=config.folds > 0 or config.pretrain)
        self._dataset = dataset
        self._config = config
        self._between_batches = between_batches
        self._callbacks = callbacks or TrainingCallbacks()
        self._ranks = distributed.current_ranks()
        self._autocast = select_autocast(config.precision, device)
        self._train_ids = tuple(clip.clip_id for clip in train_clips)
        self._val_ids = tuple(clip.clip_id for clip in val_clips)
        self._identity = TrainingIdentity.of(config, dataset, self._train_ids, self._val_ids, device.type)

        self._rng = RngStream(config.seed, device)
        self._generator = torch.Generator(device).manual_seed(config.seed)
        with self._rng.active():
            self._model = new_model(config, len(dataset.manifest.vocabulary)).to(device)
        self._model.penalise_blank(config.blank_penalty)
        clips = Clips.from_dataset(dataset, [*train_clips, *val_clips], device)
        self._train, self._val = clips.select(slice(len(train_clips))), clips.select(slice(len(train_clips), None))
        sampler = SigningSampler if config.signing and not config.pretrain else Sampler
        self._sampler = sampler(
            self._train,
            self._model.features,
            config.batch_size,
            self.longest_sequence,
            Augmentation(),
            self._generator,
        )
        self._recombinations = Recombinations(self._sampler, len(dataset.manifest.vocabulary))
        self._model.standardise(self._sampler.epoch_features())
        if initialise is not None:
            initialise(self._model, dataset.manifest.vocabulary)

        self._average = MovingAverage(self._model, config.ema_decay)
        self._parameters = self._model.trained_parameters()
        self._optimizer = make_optimizer(self._parameters, config)
        self._steps_per_epoch = math.ceil(self._sampler.batches_per_epoch / config.accumulate)
        on_split = self._callbacks.on_memory_split
        self._training_memory = MemorySplitter("training", on_split, release=self._optimizer.zero_grad)
        self._validation_memory = MemorySplitter("validation", on_split, release=no_op)
        self._progress = LoopProgress()
        self._saved = self._copy_state()

    @property
    def model(self) -> SignModel:
        """The model with the averaged weights, as it is evaluated and published."""
        return self._average.model

    @property
    def epoch(self) -> int:
        """The number of epochs trained."""
        return self._progress.epoch

    @property
    def selected_on(self) -> str:
        """The split that influenced which weights `model` has; "" if none did. A published model must name it."""
        return VAL if self._progress.ended else ""

    def state(self) -> bytes:
        """What another process needs to continue after the last finished epoch, also in the middle of the next one."""
        return self._saved.dump()

    def restore(self, data: bytes) -> None:
        """Continue from what `state` returned. If it is refused, the training stays as it was.

        Raises:
            DataLoss: it is damaged.
            InvalidInput: it belongs to another configuration, other clips, another kind of device or another version
                of Signet; the message names every difference.
        """
        state = load_state(data)
        if differences := state.identity.differences(self._identity):
            raise InvalidInput(
                f"a training must continue with its own settings and clips, but this one was given "
                f"{'; '.join(differences)}. Undo the change, or start a new run."
            )
        before = self._saved
        try:
            self._load(state)
        except (KeyError, ValueError, RuntimeError) as error:
            self._load(before)
            raise DataLoss(
                f"a training state does not fit its own configuration ({error}): it is damaged, or another version of "
                "Signet wrote it. Start the run again."
            ) from error

    def _train_until_finite(self, train_epoch: Callable[[], float]) -> tuple[float, tuple[str, ...]]:
        """Train an epoch. While its mean loss is not finite, repeat it from its start with a lower learning rate.

        Returns:
            The mean loss, and a sentence for each repetition.
        """
        actions: list[str] = []
        while True:
            with self._rng.active():
                self._ranks.seed_own_dropout(self._config.seed, self.epoch)
                loss = train_epoch()
            if math.isfinite(loss):
                return loss, tuple(actions)
            progress, action = lower_learning_rate(self._progress, loss, self._config, self._callbacks)
            self._load(self._saved)
            self._progress = progress
            actions.append(action)

    def _learning_rate(self, step: int) -> float:
        """The learning rate of a step, 0 for the first of the training."""
        steps = self._config.num_epochs * self._steps_per_epoch
        return self._progress.rate_factor * one_cycle(self._config.lr, step, steps)

    def _parts(self, batch: Batch, count: int) -> Iterator[Batch]:
        """This process's share of a batch, in at least `count` parts of sequences of similar length."""
        share = self._ranks.share(batch)
        for part in share.split(count) if share else []:
            yield from part.split_by_length()

    def _finish_epoch(self, **progress: float) -> None:
        """Count the epoch, change further fields of `LoopProgress`, and save the state to continue from."""
        counted = {"epoch": self._progress.epoch + 1, "steps": self._progress.steps + self._steps_per_epoch}
        self._progress = self._progress.model_copy(update=counted | progress)
        self._saved = self._copy_state()

    def _follower_task(self) -> tuple[distributed.FollowerTask, bytes]:
        """What follower processes need to take part."""
        task = distributed.FollowerTask(
            config=self._config.model_dump_json(),
            dataset_name=self._dataset.manifest.name,
            dataset_version=self._dataset.manifest.version,
            train=self._train_ids,
            held_out=self._val_ids,
        )
        return task, self.state()

    def _copy_state(self) -> TrainingState:
        """A deep copy of the training's state."""
        tensors = {f"model.{name}": tensor.clone() for name, tensor in self._model.state_dict().items()}
        tensors |= self._average.state()
        tensors |= optimizer_tensors(self._optimizer)
        tensors["sampler"] = self._generator.get_state()
        tensors |= {f"randomness.{name}": stream for name, stream in self._rng.state().items()}
        return TrainingState(self._identity, self._progress, tensors)

    def _load(self, state: TrainingState) -> None:
        """Put the training into this state."""
        tensors = state.tensors
        self._model.load_state_dict({name: tensors[f"model.{name}"] for name in self._model.state_dict()})
        self._average.restore(tensors)
        restore_optimizer(self._optimizer, tensors)
        self._generator.set_state(tensors["sampler"])
        prefix = "randomness."
        self._rng.restore({name.removeprefix(prefix): tensors[name] for name in tensors if name.startswith(prefix)})
        self._progress = state.progress
        self._saved = state


def finite_mean(losses: Sequence[Tensor], norms: Sequence[Tensor]) -> float:
    """The mean of the steps' losses [1]; NaN if a loss, or the length of a gradient [1], was not finite.

    A gradient can overflow although its loss is finite. This is the only moment of an epoch that waits for a GPU.
    """
    finite = torch.cat([*losses, *norms]).isfinite().all()
    return float(torch.where(finite, torch.cat(list(losses)).mean(), torch.nan))
