"""The loop of masked pre-training (`--pretrain`): the encoder learns from clips without looking at their labels.

It has the structure of `services.trainer.training.loop`. What is hidden, and what is minimised, is in
`services.trainer.training.masked_prediction`.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice

import torch
from torch import Tensor

from services.trainer.data.batches import Batch
from services.trainer.model.masked import as_masked
from services.trainer.training.base_training import BaseTraining, finite_mean
from services.trainer.training.epoch import EpochResult
from services.trainer.training.masked_prediction import (
    evaluate_reconstruction,
    hidden_frames,
    hide_spans_in_batch,
    huber_sum,
    target_mask,
)
from services.trainer.training.optimizer import clip_gradient, set_learning_rate
from services.trainer.training.validate import NO_SCORE, Score


class Pretraining(BaseTraining):
    """The masked pre-training of an encoder. See `BaseTraining`."""

    # In a longer sequence a whole clip could be hidden.
    longest_sequence = 1

    def epochs(self) -> Iterator[EpochResult]:
        """Train one epoch at a time, from the first that is not trained yet. Closing the iterator stops the training.

        Raises:
            SignetError: the loss stays not finite, or the GPU's memory is full; the message says what to change.
        """
        with self._ranks.leading(self._follower_task) as begin_epoch:
            while self.epoch < self._config.num_epochs:
                begin_epoch()
                yield self._train_and_validate()

    def follow(self) -> None:
        """Train together with a leading process, for as many epochs as it says."""
        while self._ranks.leader_continues():
            self._train_and_validate()

    def _train_and_validate(self) -> EpochResult:
        started = time.perf_counter()
        loss, actions = self._train_until_finite(self._train_epoch)
        val = self._evaluate() if self._ranks.leads else NO_SCORE
        self._finish_epoch()
        return EpochResult(
            number=self.epoch,
            train_loss=loss,
            val=val,
            seconds=time.perf_counter() - started,
            best=False,
            last=self.epoch == self._config.num_epochs,
            learning_rate=self._learning_rate(self._progress.steps - 1),
            actions=actions,
        )

    def _train_epoch(self) -> float:
        """Train on every clip once. Returns the mean loss of the steps, NaN if one was not finite."""
        self._model.train()
        losses: list[Tensor] = []
        norms: list[Tensor] = []
        batches = (hide_spans_in_batch(batch, self._generator) for batch in self._sampler.epoch())
        while group := list(islice(batches, self._config.accumulate)):
            loss, norm = self._step(group, self._progress.steps + len(losses))
            losses.append(loss)
            norms.append(norm)
        return finite_mean(losses, norms)

    def _step(self, batches: Sequence[Batch], step: int) -> tuple[Tensor, Tensor]:
        """One step of the optimiser: see `Training._step`."""
        most_parts = max(len(batch) for batch in batches)
        loss = self._training_memory.run(most_parts, partial(self._compute_gradient, batches))
        loss = self._ranks.sum_gradients(self._parameters, loss)
        norm = clip_gradient(self._parameters, self._config.gradient_norm)
        set_learning_rate(self._optimizer, self._learning_rate(step))
        self._optimizer.step()
        self._average.update(step)
        for _ in batches:
            self._callbacks.on_batch()
        return loss, norm

    def _compute_gradient(self, batches: Sequence[Batch], parts: int) -> Tensor:
        """Add the gradients of all batches up in the parameters: see `Training._compute_gradient`."""
        self._optimizer.zero_grad()
        model = as_masked(self._model)
        total = torch.zeros(1, device=batches[0].lengths.device)
        for batch in batches:
            self._between_batches()
            targets = (target_mask(batch, model.features).sum() * len(batches)).clamp(min=1)
            for part in self._parts(batch, parts):
                with self._autocast():
                    residuals = model.residuals(part.features, part.lengths, hidden_frames(part))
                loss = huber_sum(residuals, target_mask(part, model.features)) / targets
                loss.backward()  # type: ignore[no-untyped-call]
                total += loss.detach()
        return total

    def _evaluate(self) -> Score:
        """A score of no clips, whose loss is the reconstruction loss of the averaged weights on the held-out clips."""
        if not len(self._val):
            return NO_SCORE
        in_parts = partial(evaluate_reconstruction, as_masked(self.model), self._val)
        return replace(NO_SCORE, loss=self._validation_memory.run(len(self._val), in_parts))
