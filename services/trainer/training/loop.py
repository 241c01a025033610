"""The training loop. An epoch trains on every clip once, and then evaluates the averaged weights on held-out clips.

This module reads from top to bottom: the epochs, one epoch, one step of the optimiser, the gradient of a step, the
evaluation. What a training consists of, and how it is saved, is in `services.trainer.training.base_training`.
"""

import math
import time
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from itertools import islice

import torch
from torch import Tensor

from services.trainer.data.batches import Batch, Clips
from services.trainer.training.base_training import BaseTraining, finite_mean
from services.trainer.training.epoch import EpochResult
from services.trainer.training.objective import LossTotals, Objective, make_objective, uniform_cross_entropy
from services.trainer.training.optimizer import clip_gradient, set_learning_rate
from services.trainer.training.validate import CONTINUOUS_EVERY, NO_SCORE, Score, evaluate

# At most about this many training clips are evaluated. More would change the accuracy by no more than ±3 points, and
# with a few thousand glosses they would take as long as an epoch.
_EVALUATED_TRAINING_CLIPS = 1000


class Training(BaseTraining):
    """The training of a sign model: frame labels alone in the first epochs, then CTC. See `BaseTraining`."""

    longest_sequence = 3

    @cached_property
    def _objective(self) -> Objective:
        return make_objective(self._config.head, self._config.start)

    def epochs(self) -> Iterator[EpochResult]:
        """Train one epoch at a time, from the first that is not trained yet. Closing the iterator stops the training.

        Raises:
            SignetError: the loss stays not finite, or the GPU's memory is full; the message says what to change.
        """
        with self._ranks.leading(self._follower_task) as begin_epoch:
            while self.epoch < self._config.num_epochs and not self._progress.ended:
                begin_epoch()
                yield self._train_and_validate()

    def follow(self) -> None:
        """Train together with a leading process, for as many epochs as it says."""
        while self._ranks.leader_continues():
            self._train_and_validate()

    def evaluate_training_clips(self) -> Score:
        """The averaged weights' result on the training clips, without augmentation; on every n-th if they are many."""
        step = math.ceil(len(self._train) / _EVALUATED_TRAINING_CLIPS)
        return self._evaluate(self._train.select(slice(None, None, step)), continuous=False)

    def _train_and_validate(self) -> EpochResult:
        started = time.perf_counter()
        loss, actions = self._train_until_finite(self._train_epoch)
        number = self.epoch + 1
        last_planned = number == self._config.num_epochs
        # Only the leader evaluates. All processes decide by its count.
        continuous = number % CONTINUOUS_EVERY == 0 or last_planned
        val = self._evaluate(self._val, continuous=continuous) if self._ranks.leads else NO_SCORE
        correct = int(self._ranks.broadcast(val.correct))
        best = correct > self._progress.most_correct
        best_epoch = number if best else self._progress.best_epoch
        ended = self._patience_is_over(number, best_epoch)
        self._finish_epoch(most_correct=max(correct, self._progress.most_correct), best_epoch=best_epoch, ended=ended)
        return EpochResult(
            number=number,
            train_loss=loss,
            val=val,
            seconds=time.perf_counter() - started,
            best=best,
            last=ended or last_planned,
            learning_rate=self._learning_rate(self._progress.steps - 1),
            actions=actions,
        )

    def _train_epoch(self) -> float:
        """Train on every clip once. Returns the mean loss of the steps, NaN if one was not finite."""
        self._model.train()
        losses: list[Tensor] = []
        norms: list[Tensor] = []
        batches = self._sampler.epoch()
        recombined = self._recombinations.epoch() if self._config.recombination else iter(())
        while group := list(islice(batches, self._config.accumulate)):
            made_up = list(islice(recombined, len(group)))
            loss, norm = self._step(group, made_up, self._progress.steps + len(losses))
            losses.append(loss)
            norms.append(norm)
        return finite_mean(losses, norms)

    def _step(self, batches: Sequence[Batch], made_up: Sequence[Batch], step: int) -> tuple[Tensor, Tensor]:
        """One step of the optimiser on the mean loss of some batches: one, or more with --accumulate.

        Args:
            batches: sequences of signs.
            made_up: as many batches of recombinations; none without --recombination.
            step: the number of the step, from 0.

        Returns:
            The loss of the sequences [1], and the length of the whole gradient [1].
        """
        most_parts = max(len(batch) for batch in (*batches, *made_up))
        loss = self._training_memory.run(most_parts, partial(self._compute_gradient, batches, made_up))
        loss = self._ranks.sum_gradients(self._parameters, loss)
        norm = clip_gradient(self._parameters, self._config.gradient_norm)
        set_learning_rate(self._optimizer, self._learning_rate(step))
        self._optimizer.step()
        self._average.update(step)
        for _ in batches:
            self._callbacks.on_batch()
        return loss, norm

    def _compute_gradient(self, batches: Sequence[Batch], made_up: Sequence[Batch], parts: int) -> Tensor:
        """Add the gradients of all batches up in the parameters, and return the mean loss of the sequences [1].

        Each batch is computed in at least this many parts, so that it fits the memory.
        """
        self._optimizer.zero_grad()
        share_of_epochs = self.epoch / self._config.num_epochs
        total = torch.zeros(1, device=batches[0].lengths.device)
        for batch in batches:
            self._between_batches()
            totals = LossTotals.of(batch, len(batches))
            for part in self._parts(batch, parts):
                with self._autocast():
                    log_probs = self._model.sign_log_probs(part.features, part.lengths, part.targets)
                loss = self._objective(log_probs, part, share_of_epochs, totals)
                loss.backward()  # type: ignore[no-untyped-call]
                total += loss.detach()
        for batch in made_up:
            self._add_gradient_of_recombinations(batch, LossTotals.of(batch, len(made_up)), parts)
        return total

    def _add_gradient_of_recombinations(self, batch: Batch, totals: LossTotals, parts: int) -> None:
        for part in self._parts(batch, parts):
            with self._autocast():
                output = self._model.sign_log_probs(part.features, part.lengths, part.targets)
            loss = uniform_cross_entropy(output.given_emission, part.frame_labels, part.inside, totals.sign_frames)
            (self._config.recombination * loss).backward()  # type: ignore[no-untyped-call]

    def _evaluate(self, clips: Clips, *, continuous: bool) -> Score:
        """The averaged weights' result on clips; `continuous` runs the decoder for continuous signing too."""
        if not len(clips):
            return NO_SCORE
        in_parts = partial(evaluate, self.model, clips, self._config.decoder, continuous=continuous)
        return self._validation_memory.run(len(clips), in_parts)

    def _patience_is_over(self, number: int, best_epoch: int) -> bool:
        """Whether --patience epochs since the flat start have not recognised more val clips."""
        if not self._config.patience or not len(self._val):
            return False
        flat_start_epochs = math.ceil(self._config.start * self._config.num_epochs)
        return number - max(best_epoch, flat_start_epochs) >= self._config.patience
