"""The training loop: a flat start, then CTC, one epoch at a time. Reads top to bottom."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice

import torch
from torch import Tensor

from services.trainer.config.train_config import TrainConfig
from services.trainer.data import gloss_ranking as supply
from services.trainer.data.augmentation import Augmentation
from services.trainer.data.batches import Batch, Clips, Sampler
from services.trainer.model.build import WeightInitialiser, new_model
from services.trainer.model.recogniser import Recogniser
from services.trainer.runtime.autocast import select_autocast
from services.trainer.runtime.oom import MemorySplitter, explain_out_of_memory
from services.trainer.runtime.rng import RngStream
from services.trainer.training import distributed
from services.trainer.training import recovery as remedies
from services.trainer.training import state as states
from services.trainer.training.averaging import MovingAverage
from services.trainer.training.callbacks import TrainingCallbacks, no_op
from services.trainer.training.distributed import Task
from services.trainer.training.epoch import Epoch
from services.trainer.training.optimizer import clip_gradient, moments, optimizer_of, restore_moments
from services.trainer.training.schedule import one_cycle
from services.trainer.training.state import Progress, State, Subject
from services.trainer.training.tasks import aim_of
from services.trainer.training.validate import CONTINUOUS_EVERY, NOTHING, Score
from signet.datasets.snapshot import VAL, Dataset, DatasetClip
from signet.errors import DataLoss, InvalidInput

# Training clips that are judged at most. More would say the same (±3 points) and, with a few thousand glosses, take as
# long as an epoch.
_JUDGED_TRAIN_CLIPS = 1000


class Training:
    """One model being trained on one snapshot.

    Args:
        dataset: the snapshot.
        config: the run's configuration.
        device: where to train.
        train: the clips to learn from; all that the snapshot has for that unless given.
        held_out: the clips to judge by; those of the snapshot's val split unless given.
        between_batches: called before each batch; what it raises ends the training there.
        callbacks: told what happens within an epoch.
        initialise: replaces the random weights of the new model.

    Raises:
        InvalidInput: there is nothing to learn from these clips; the message says what is missing.
    """

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
        learnt = list(dataset.manifest.training_clips if train is None else train)
        judged = list(dataset.split(VAL) if held_out is None else held_out)
        supply.check(dataset, learnt, chosen=config.folds > 0 or config.pretrain)
        self._dataset, self._chosen = dataset, (learnt, judged)
        self._config = config
        self._ranks = distributed.present()
        self._precision = select_autocast(config.precision, device)
        self._between_batches = between_batches
        self._callbacks = callbacks or TrainingCallbacks()
        self._subject = Subject.of(config, dataset, learnt, judged, device.type)
        self._rng = RngStream(config.seed, device)
        self._generator = torch.Generator(device).manual_seed(config.seed)
        with self._rng.active():
            self._model = new_model(config, len(dataset.manifest.vocabulary)).to(device)
        self._model.penalise_blank(config.blank_penalty)
        self._aim = aim_of(config, self._model)
        self._train, self._val = _divided(Clips.from_dataset(dataset, [*learnt, *judged], device), len(learnt))
        self._sampler = Sampler(
            self._train, self._model.features, config.batch_size, self._aim.longest, Augmentation(), self._generator
        )
        self._model.standardise(self._sampler.epoch_features())
        if initialise is not None:
            initialise(self._model, dataset.manifest.vocabulary)
        self._averages = MovingAverage(self._model, config.ema_decay)
        self._parameters = self._aim.parameters(self._model)
        self._optimizer = optimizer_of(self._parameters, config)
        self._steps_per_epoch = -(-self._sampler.batches_per_epoch // config.accumulate)
        self._learning = MemorySplitter("training", self._callbacks.on_memory_split, release=self._optimizer.zero_grad)
        self._judging = MemorySplitter("validation", self._callbacks.on_memory_split, release=no_op)
        self._progress = Progress()
        self._state = self._snapshot()

    @property
    def model(self) -> Recogniser:
        """The averaged weights, ready to be judged or published."""
        return self._averages.model

    @property
    def epoch(self) -> int:
        """How many epochs are trained."""
        return self._progress.epoch

    @property
    def selected_on(self) -> str:
        """The split that had a say in which weights `model` has; "" if none had. A published model must name it."""
        return VAL if self._progress.ended else ""

    def epochs(self) -> Iterator[Epoch]:
        """Train, an epoch at a time, from after the last one trained; whoever stops asking stops the training.

        Raises:
            SignetError: the loss stays not finite, or the GPU's memory is full; the message says what to change.
        """
        with self._ranks.leading(self._task) as begin:
            while self.epoch < self._config.num_epochs and not self._progress.ended:
                begin()
                yield self._next()

    def follow(self) -> None:
        """Train along with a leader, for as many epochs as it says."""
        while self._ranks.told_to_go_on():
            self._next()

    def state(self) -> bytes:
        """All that another process needs to go on after the last finished epoch, even in the midst of the next one."""
        return self._state.dump()

    def restore(self, data: bytes) -> None:
        """Go on from what `state` gave. If that is refused, the training is as it was.

        Raises:
            DataLoss: it is damaged.
            InvalidInput: it is of another configuration, other clips, another kind of device or another version of
                Signet; the message names all that differs.
        """
        read = states.read(data)
        differences = read.subject.differences(self._subject)
        if differences:
            raise InvalidInput(
                f"a training can only go on as it began, and this one is told {'; '.join(differences)}. Begin a new "
                "run for that, or leave it as it was."
            )
        before = self._state
        try:
            self._load(read)
        except (KeyError, ValueError, RuntimeError) as error:
            self._load(before)
            raise DataLoss(
                f"a training state does not fit its own configuration ({error}): it is damaged, or of a version of "
                "Signet whose models are built otherwise. Begin the run again."
            ) from error

    def judge_train(self) -> Score:
        """How the averaged weights do on the training clips as they are; on an even choice of them if they are many."""
        return self._judge(self._train.every_nth(-(-len(self._train) // _JUDGED_TRAIN_CLIPS)))

    def _next(self) -> Epoch:
        """Train one epoch more; where its loss is not finite, again from where it began and more slowly."""
        started = time.perf_counter()
        actions: list[str] = []
        while True:
            share = self.epoch / self._config.num_epochs
            with self._rng.active():
                self._ranks.part_ways(self._config.seed, self.epoch)
                loss, rate = self._epoch(share)
            if math.isfinite(loss):
                break
            slower, action = remedies.slowed(self._progress, loss, self._config, self._callbacks)
            self._load(self._state)
            self._progress = slower
            actions.append(action)
        number = self.epoch + 1
        val, correct = self._judged()
        best = correct > self._progress.most_correct and not self._config.pretrain
        best_epoch = number if best else self._progress.best_epoch
        self._progress = self._progress.model_copy(
            update={
                "epoch": number,
                "steps": self._progress.steps + self._steps_per_epoch,
                "most_correct": max(correct, self._progress.most_correct),
                "best_epoch": best_epoch,
                "ended": self._impatient(number, best_epoch),
            }
        )
        self._state = self._snapshot()
        return Epoch(
            number,
            loss,
            val,
            time.perf_counter() - started,
            best=best,
            last=self._progress.ended or number == self._config.num_epochs,
            learning_rate=rate,
            actions=tuple(actions),
        )

    @explain_out_of_memory()
    def _epoch(self, share: float) -> tuple[float, float]:
        """One pass over the training clips: the mean loss and the last learning rate.

        Args:
            share: of the epochs, those gone before.
        """
        self._model.train()
        losses: list[Tensor] = []
        norms: list[Tensor] = []
        rate, step = math.nan, self._progress.steps
        batches = (self._aim.prepared(batch, self._generator) for batch in self._sampler.epoch())
        while group := list(islice(batches, self._config.accumulate)):
            most = max(len(batch) for batch in group)
            learnt = self._learning.run(most, partial(self._gradient, group, share))
            losses.append(self._ranks.add_up(self._parameters, learnt))
            norms.append(clip_gradient(self._parameters, self._config.gradient_norm))
            rate = self._rate(step)
            for parameters in self._optimizer.param_groups:
                parameters["lr"] = rate
            self._optimizer.step()
            self._averages.update(step)
            step += 1
            for _ in group:
                self._callbacks.on_batch()
        # The one moment of an epoch in which a GPU is waited for. A gradient may be too large where its loss was not.
        finite = torch.cat([*losses, *norms]).isfinite().all()
        mean = torch.where(finite, torch.cat(losses).mean(), torch.nan)
        return float(mean), rate

    def _gradient(self, group: Sequence[Batch], share: float, parts: int) -> Tensor:
        """Leave the gradient of some batches' mean loss in the parameters, one part after the other; that loss, [1]."""
        self._optimizer.zero_grad()
        total = torch.zeros(1, device=group[0].lengths.device)
        for batch in group:
            self._between_batches()
            totals = self._aim.totals(batch, len(group))
            mine = self._ranks.share(batch)
            fitting = mine.split(parts) if mine else []
            for part in (alike for some in fitting for alike in some.split_by_length()):
                with self._precision():
                    answer = self._aim.answer(self._model, part)
                loss = self._aim.loss(answer, part, share, totals)
                loss.backward()  # type: ignore[no-untyped-call]
                total += loss.detach()
        return total

    def _rate(self, step: int) -> float:
        """The learning rate of a step."""
        steps = self._config.num_epochs * self._steps_per_epoch
        return self._progress.rate_factor * one_cycle(self._config.lr, step, steps)

    def _impatient(self, number: int, best_epoch: int) -> bool:
        """Whether too many epochs since the flat start have recognised no more val clips."""
        if not self._config.patience or not len(self._val):
            return False
        since = max(best_epoch, math.ceil(self._config.start * self._config.num_epochs))
        return number - since >= self._config.patience

    def _judged(self) -> tuple[Score, int]:
        """How the averaged weights do on the held-out clips, and how many of these every rank takes for recognised.

        The leader judges; its followers are told what it decides by.
        """
        score = self._judge(self._val) if self._ranks.leads else NOTHING
        (correct,) = self._ranks.agree(score.correct)
        return score, int(correct)

    def _task(self) -> tuple[Task, bytes]:
        """What followers are told of this training."""
        manifest = self._dataset.manifest
        train, held_out = (tuple(clip.clip_id for clip in clips) for clips in self._chosen)
        task = Task(
            config=self._config.model_dump_json(),
            dataset_name=manifest.name,
            dataset_version=manifest.version,
            train=train,
            held_out=held_out,
        )
        return task, self.state()

    def _judge(self, clips: Clips) -> Score:
        searched = self.epoch % CONTINUOUS_EVERY == CONTINUOUS_EVERY - 1 or self.epoch == self._config.num_epochs - 1

        def judge(parts: int) -> Score:
            return self._aim.judge(self.model, clips, parts, searched)

        return self._judging.run(len(clips), judge) if len(clips) else NOTHING

    def _snapshot(self) -> State:
        """The training as it is, apart from what it will be."""
        tensors = {f"model.{name}": tensor.clone() for name, tensor in self._model.state_dict().items()}
        tensors |= self._averages.state()
        tensors |= moments(self._optimizer)
        tensors["sampler"] = self._generator.get_state()
        tensors |= {f"randomness.{name}": stream for name, stream in self._rng.state().items()}
        return State(self._subject, self._progress, tensors)

    def _load(self, state: State) -> None:
        """Be as it was then."""
        tensors = state.tensors
        names = self._model.state_dict()
        self._model.load_state_dict({name: tensors[f"model.{name}"] for name in names})
        self._averages.restore(tensors)
        restore_moments(self._optimizer, tensors)
        self._generator.set_state(tensors["sampler"])
        self._rng.restore(
            {name.removeprefix("randomness."): tensors[name] for name in tensors if name.startswith("randomness.")}
        )
        self._progress = state.progress
        self._state = state


def _divided(clips: Clips, count: int) -> tuple[Clips, Clips]:
    """The first so many clips, and the others; the frames of all are held once."""
    columns = (clips.starts, clips.lengths, clips.labels)
    first, others = zip(*((column[:count], column[count:]) for column in columns), strict=True)
    return tuple(  # type: ignore[return-value]
        replace(clips, starts=starts, lengths=lengths, labels=labels) for starts, lengths, labels in (first, others)
    )
