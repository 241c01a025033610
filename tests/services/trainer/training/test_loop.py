"""The training loop: its steps, its schedule, its average, its evaluation, and how it recovers and ends."""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from services.trainer.config.train_config import TrainConfig
from services.trainer.data.batches import Batch, Clips
from services.trainer.model.sign_model import SignLogProbs, SignModel
from services.trainer.training import loop
from services.trainer.training.base_training import finite_mean
from services.trainer.training.callbacks import TrainingCallbacks
from services.trainer.training.epoch import EpochResult
from services.trainer.training.loop import Training
from services.trainer.training.objective import LossTotals
from services.trainer.training.optimizer import fill_missing_gradients
from services.trainer.training.recovery import lower_learning_rate
from services.trainer.training.schedule import one_cycle
from services.trainer.training.state import LoopProgress
from services.trainer.training.validate import NO_SCORE, Score, evaluate
from signet.datasets.snapshot import Dataset
from signet.decoding import ContinuousDecoder
from signet.errors import InvalidInput, InvalidSetting, SignetError

# Without dropout, whose masks are drawn anew, and with steps as large as the gradient, whose last bits then stay small.
CONFIG = TrainConfig(num_epochs=5, branches=1, hidden_dim=8, batch_size=8, dropout=0.0, optimizer="sgd", lr=0.05)

CPU = torch.device("cpu")

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


class Counted(TrainingCallbacks):
    """Counts the events."""

    def __init__(self) -> None:
        self.batches = self.splits = self.nonfinite = 0
        self.acts: list[str] = []

    def on_batch(self) -> None:
        self.batches += 1

    def on_memory_split(self) -> None:
        self.splits += 1

    def on_nonfinite_loss(self) -> None:
        self.nonfinite += 1

    def on_recovery_action(self, what: str) -> None:
        self.acts.append(what)


@contextmanager
def when_encoding(act: Callable[[bool, int], None]) -> Iterator[None]:
    """Calls `act` with whether it is for training, and the sequences, whenever some go through an encoder."""

    def hook(module: torch.nn.Module, given: tuple[torch.Tensor, ...], _: Any) -> None:
        if isinstance(module, torch.nn.Sequential):  # of an encoder, what reduces the hands
            act(module.training, len(given[0]))

    handle = torch.nn.modules.module.register_module_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def full_beyond(training: int, judging: int = 10**6) -> Callable[[bool, int], None]:
    """A GPU whose memory holds so many sequences at a time."""

    def refuse(is_training: bool, sequences: int) -> None:
        if sequences > (training if is_training else judging):
            raise torch.cuda.OutOfMemoryError("stand-in for a full GPU")

    return refuse


def train(
    dataset: Dataset, callbacks: TrainingCallbacks, device: torch.device = CPU
) -> tuple[list[EpochResult], torch.Tensor]:
    training = Training(dataset, CONFIG, device, callbacks=callbacks)
    epochs = list(training.epochs())
    return epochs, torch.cat([parameter.flatten() for parameter in training.model.parameters()])


def test_batches_that_do_not_fit_are_learnt_from_in_parts_with_the_same_gradient(
    small_dataset: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    whole, parted = Counted(), Counted()
    expected_epochs, expected = train(small_dataset, whole)
    with when_encoding(full_beyond(training=2)), caplog.at_level(logging.WARNING):
        epochs, weights = train(small_dataset, parted)
    torch.testing.assert_close(weights, expected, atol=1e-6, rtol=1e-4)
    for epoch, one in zip(epochs, expected_epochs, strict=True):
        assert epoch.train_loss == pytest.approx(one.train_loss, rel=1e-4)
        assert epoch.val.correct == one.val.correct
    assert (whole.splits, parted.splits) == (0, 2), "eight sequences: halves, then quarters, which are kept"
    assert parted.batches == whole.batches == 5 * 3, "no batch is left out, and none is counted twice"
    assert [record.message.split(". ")[0] for record in caplog.records] == [
        f"GPU memory is full: training continues in {parts} parts at a time" for parts in (2, 4)
    ]


def test_every_sequence_is_learnt_from_once(small_dataset: Dataset) -> None:
    seen: list[int] = []

    def note(is_training: bool, sequences: int) -> None:
        full_beyond(training=3)(is_training, sequences)
        if is_training:
            seen.append(sequences)

    with when_encoding(note):
        train(small_dataset, Counted())
    in_parts, seen = sum(seen), []

    def note_all(is_training: bool, sequences: int) -> None:
        if is_training:
            seen.append(sequences)

    with when_encoding(note_all):
        train(small_dataset, Counted())
    # Of a batch that did not fit at first, no part had gone through before the first that was refused.
    assert in_parts == sum(seen)


def test_val_clips_that_do_not_fit_are_judged_in_parts_with_the_same_score(small_dataset: Dataset) -> None:
    expected, _ = train(small_dataset, Counted())
    parted = Counted()
    with when_encoding(full_beyond(training=10**6, judging=2)):
        epochs, _ = train(small_dataset, parted)
    assert parted.splits == 2
    for epoch, one in zip(epochs, expected, strict=True):
        assert vars(epoch.val) == vars(one.val) | {
            "loss": pytest.approx(one.val.loss), "blank_ratio": pytest.approx(one.val.blank_ratio)
        }  # fmt: skip


def test_a_sequence_that_does_not_fit_alone_is_an_error_with_a_way_out(small_dataset: Dataset) -> None:
    with when_encoding(full_beyond(training=0)), pytest.raises(SignetError, match="--hidden-dim"):
        train(small_dataset, Counted())
    with when_encoding(full_beyond(training=10**6, judging=0)), pytest.raises(SignetError, match="--device cpu"):
        train(small_dataset, Counted())


def test_a_loss_that_is_not_finite_is_counted(small_dataset: Dataset) -> None:
    counted = Counted()
    with pytest.raises(SignetError, match="--lr"):
        list(Training(small_dataset, CONFIG.model_copy(update={"lr": 1e30}), CPU, callbacks=counted).epochs())
    assert counted.nonfinite == 1


def test_what_is_called_between_batches_ends_the_training_by_raising(small_dataset: Dataset) -> None:
    counted = Counted()

    def give_up() -> None:
        if counted.batches == 4:
            raise InterruptedError

    training = Training(small_dataset, CONFIG, CPU, between_batches=give_up, callbacks=counted)
    with pytest.raises(InterruptedError):
        list(training.epochs())
    assert counted.batches == 4


@pytest.mark.gpu
@needs_cuda
def test_a_gpu_that_is_really_full_is_given_smaller_parts(small_dataset: Dataset) -> None:
    device = torch.device("cuda")
    third = torch.cuda.get_device_properties(device).total_memory // 3
    counted = Counted()

    def fill(is_training: bool, sequences: int) -> None:
        if is_training:
            torch.empty(sequences * third, dtype=torch.uint8, device=device)
            # Or the next tensor would be cut out of what is kept of it, and the one after it not fit.
            torch.cuda.empty_cache()

    with when_encoding(fill):
        train(small_dataset, counted, device)
    assert counted.splits == 2, "of eight sequences, two and not four fit"
    assert counted.batches == 5 * 3


@contextmanager
def broken_until(batch: int) -> Iterator[None]:
    """A model that answers with NaN in training until so many batches have gone through."""
    seen = 0

    def hook(module: torch.nn.Module, _: tuple[torch.Tensor, ...], answer: torch.Tensor) -> torch.Tensor | None:
        nonlocal seen
        if not isinstance(module, torch.nn.Sequential) or not module.training:
            return None
        seen += 1
        return answer * torch.nan if 4 <= seen < batch else None

    handle = torch.nn.modules.module.register_module_forward_hook(hook)  # type: ignore[arg-type]
    try:
        yield
    finally:
        handle.remove()


def test_a_loss_that_is_not_finite_costs_one_epoch_and_half_the_learning_rate(small_dataset: Dataset) -> None:
    counted = Counted()
    plain = list(Training(small_dataset, CONFIG, CPU).epochs())
    with broken_until(8):  # the second epoch, and the first batches of its repetition
        epochs = list(Training(small_dataset, CONFIG, CPU, callbacks=counted).epochs())
    assert [epoch.number for epoch in epochs] == [1, 2, 3, 4, 5]
    assert [len(epoch.actions) for epoch in epochs] == [0, 2, 0, 0, 0]
    assert "went back to the end of epoch 1" in epochs[1].actions[1]
    assert "0.25 times" in epochs[1].actions[1]
    assert epochs[-1].learning_rate == pytest.approx(plain[-1].learning_rate / 4)
    assert (counted.acts, counted.nonfinite) == (["recovery", "recovery"], 0)


def test_a_training_that_recovered_goes_on_from_its_state_as_slowly(small_dataset: Dataset) -> None:
    training = Training(small_dataset, CONFIG, CPU)
    with broken_until(5):
        for epoch in training.epochs():
            if epoch.number == 2:
                break
    restored = Training(small_dataset, CONFIG, CPU)
    restored.restore(training.state())
    first, other = next(restored.epochs()), next(training.epochs())
    assert (first.train_loss, first.learning_rate) == (other.train_loss, other.learning_rate)


@pytest.mark.parametrize("batch_size", [1, 17])
def test_a_batch_may_be_one_clip(small_dataset: Dataset, batch_size: int) -> None:
    config = CONFIG.model_copy(update={"batch_size": batch_size, "num_epochs": 2})
    epochs = list(Training(small_dataset, config, CPU).epochs())
    assert all(math.isfinite(epoch.train_loss) for epoch in epochs)


def test_accumulated_batches_make_one_step(small_dataset: Dataset) -> None:
    steps = 0

    def count(*_: Any) -> None:
        nonlocal steps
        steps += 1

    handle = register_optimizer_step_post_hook(count)
    counted = Counted()
    try:
        config = CONFIG.model_copy(update={"accumulate": 2})
        epochs = list(Training(small_dataset, config, CPU, callbacks=counted).epochs())
    finally:
        handle.remove()
    assert (steps, counted.batches) == (5 * 2, 5 * 3)
    with when_encoding(full_beyond(training=1)):
        parted = list(Training(small_dataset, config, CPU).epochs())
    assert [epoch.train_loss for epoch in parted] == pytest.approx([epoch.train_loss for epoch in epochs], rel=1e-4)


def test_patience_ends_a_training_and_says_by_which_split(small_dataset: Dataset) -> None:
    config = CONFIG.model_copy(update={"lr": 1e-9, "num_epochs": 40, "patience": 3, "flat_start": 0.1})
    training = Training(small_dataset, config, CPU)
    epochs = list(training.epochs())
    assert len(epochs) == 4 + 3, "counted from the end of the flat start"
    assert [epoch.last for epoch in epochs] == [False] * 6 + [True]
    assert training.selected_on == "val"
    restored = Training(small_dataset, config, CPU)
    restored.restore(training.state())
    assert not list(restored.epochs())


def test_nothing_is_selected_unless_it_is_asked_for(small_dataset: Dataset) -> None:
    training = Training(small_dataset, CONFIG, CPU)
    epochs = list(training.epochs())
    assert training.selected_on == ""
    assert [epoch.last for epoch in epochs] == [False] * 4 + [True]


def test_the_weights_that_are_validated_are_those_that_are_published(small_dataset: Dataset) -> None:
    training = Training(small_dataset, CONFIG, CPU)
    *_, last = training.epochs()
    again = Training(small_dataset, CONFIG, CPU)
    again.restore(training.state())
    decoder = ContinuousDecoder(blank_penalty=CONFIG.blank_penalty)
    published = evaluate(again.model, Clips.from_dataset(small_dataset, small_dataset.split("val"), CPU), decoder)
    assert (published.loss, published.correct) == (last.val.loss, last.val.correct)


def test_precision_is_what_the_device_can(small_dataset: Dataset) -> None:
    with pytest.raises(InvalidSetting, match="--precision bf16: cpu"):
        Training(small_dataset, CONFIG.model_copy(update={"precision": "bf16"}), CPU)
    (epoch, *_), (plain, *_) = (
        list(Training(small_dataset, CONFIG.model_copy(update={"precision": name}), CPU).epochs())
        for name in ("auto", "float32")
    )
    assert epoch.train_loss == plain.train_loss


@pytest.mark.gpu
@needs_cuda
def test_bf16_learns_as_float32_does(small_dataset: Dataset) -> None:
    last = [
        list(Training(small_dataset, CONFIG.model_copy(update={"precision": name}), torch.device("cuda")).epochs())[-1]
        for name in ("bf16", "float32")
    ]
    assert last[0].train_loss == pytest.approx(last[1].train_loss, rel=0.05)


def without(dataset: Dataset, gloss: str, split: str) -> Dataset:
    clips = tuple(clip for clip in dataset.manifest.clips if (clip.gloss, clip.split) != (gloss, split))
    return Dataset(dataset.manifest.model_copy(update={"clips": clips}), dataset.samples)


def test_a_gloss_without_training_clips_is_named(small_dataset: Dataset, caplog: pytest.LogCaptureFixture) -> None:
    lacking = without(small_dataset, "drink", "train")
    with pytest.raises(InvalidInput, match="no training clips of drink"):
        Training(lacking, CONFIG, CPU)
    with caplog.at_level(logging.WARNING):
        folded = CONFIG.model_copy(update={"folds": 2})
        list(Training(lacking, folded, CPU, train=lacking.split("train"), held_out=lacking.split("val")).epochs())
    assert "no training clips of drink in this fold" in caplog.text


def test_nothing_to_learn_from_is_said_before_training(small_dataset: Dataset) -> None:
    with pytest.raises(InvalidInput, match="has no training clips"):
        Training(small_dataset, CONFIG, CPU, train=[])
    manifest = small_dataset.manifest.model_copy(update={"vocabulary": ("book",)})
    with pytest.raises(InvalidInput, match="only the gloss 'book'"):
        Training(Dataset(manifest, small_dataset.samples), CONFIG, CPU)


@contextmanager
def after_each_step(act: Callable[[torch.optim.Optimizer], None]) -> Iterator[None]:
    """Calls `act` after each step of an optimiser."""
    handle = register_optimizer_step_post_hook(lambda optimizer, *_: act(optimizer))
    try:
        yield
    finally:
        handle.remove()


def flat_weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.mark.parametrize(("accumulate", "steps_per_epoch"), [(1, 3), (2, 2), (3, 1), (4, 1)])
def test_every_step_has_the_rate_of_its_place_in_the_one_cycle(
    small_dataset: Dataset, accumulate: int, steps_per_epoch: int
) -> None:
    rates: list[float] = []
    config = CONFIG.model_copy(update={"accumulate": accumulate})
    with after_each_step(lambda optimizer: rates.append(optimizer.param_groups[0]["lr"])):
        epochs = list(Training(small_dataset, config, CPU).epochs())
    steps = 5 * steps_per_epoch
    assert rates == [one_cycle(config.lr, step, steps) for step in range(steps)]
    assert [epoch.learning_rate for epoch in epochs] == rates[steps_per_epoch - 1 :: steps_per_epoch]


def test_a_restored_training_continues_the_schedule_where_it_was(small_dataset: Dataset) -> None:
    begun = Training(small_dataset, CONFIG, CPU)
    for epoch in begun.epochs():
        if epoch.number == 2:
            break
    restored = Training(small_dataset, CONFIG, CPU)
    restored.restore(begun.state())
    rates: list[float] = []
    with after_each_step(lambda optimizer: rates.append(optimizer.param_groups[0]["lr"])):
        list(restored.epochs())
    assert rates == [one_cycle(CONFIG.lr, step, 15) for step in range(6, 15)]


def test_the_gradient_of_accumulated_batches_is_the_mean_of_theirs(small_dataset: Dataset) -> None:
    training = Training(small_dataset, CONFIG, CPU)
    batches = list(training._sampler.epoch())
    losses, gradients = [], []
    for group in (batches[:1], batches[1:2], batches[:2]):
        losses.append(float(training._compute_gradient(group, [], 1)))
        gradients.append(torch.cat([one.flatten() for one in fill_missing_gradients(training._parameters)]).clone())
    assert losses[2] == pytest.approx((losses[0] + losses[1]) / 2)
    torch.testing.assert_close(gradients[2], (gradients[0] + gradients[1]) / 2)


@pytest.mark.parametrize("ema_decay", [0.0, 0.5, 0.995])
def test_the_published_weights_are_the_average_of_all_steps(small_dataset: Dataset, ema_decay: float) -> None:
    training = Training(small_dataset, CONFIG.model_copy(update={"ema_decay": ema_decay}), CPU)
    expected = flat_weights(training._model).clone()
    steps = 0

    def average(_: torch.optim.Optimizer) -> None:
        nonlocal steps
        decay = min(ema_decay, steps / (steps + 9))
        expected.lerp_(flat_weights(training._model), 1 - decay)
        steps += 1

    with after_each_step(average):
        list(training.epochs())
    assert steps == 15
    torch.testing.assert_close(flat_weights(training.model), expected)


@pytest.mark.parametrize(
    ("num_epochs", "number", "best_epoch", "over"),
    [
        (40, 6, 0, False),
        (40, 7, 0, True),  # 3 epochs after the 4 of the flat start
        (40, 7, 3, True),  # the best epoch was within the flat start
        (40, 7, 5, False),
        (40, 8, 5, True),
        (45, 7, 0, False),  # 4.5 epochs of flat start count as 5
        (45, 8, 0, True),
    ],
)
def test_patience_counts_from_the_best_epoch_after_the_flat_start(
    small_dataset: Dataset, num_epochs: int, number: int, best_epoch: int, over: bool
) -> None:
    values = {"patience": 3, "flat_start": 0.1, "num_epochs": num_epochs}
    training = Training(small_dataset, CONFIG.model_copy(update=values), CPU)
    assert training._patience_is_over(number, best_epoch) is over
    for never in (
        Training(small_dataset, CONFIG.model_copy(update=values | {"patience": 0}), CPU),
        Training(small_dataset, CONFIG.model_copy(update=values), CPU, held_out=[]),
    ):
        assert not never._patience_is_over(number, best_epoch)


def test_an_epoch_is_the_best_only_if_it_recognises_more_clips_than_all_before_it(
    small_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    correct = iter([2, 2, 1, 4, 4])
    monkeypatch.setattr(loop, "evaluate", lambda *_, **__: replace(NO_SCORE, clips=6, correct=next(correct)))
    training = Training(small_dataset, CONFIG, CPU)
    found = [
        (epoch.best, training._progress.most_correct, training._progress.best_epoch) for epoch in training.epochs()
    ]
    assert found == [(True, 2, 1), (False, 2, 1), (False, 2, 1), (True, 4, 4), (False, 4, 4)]


def test_the_continuous_decoder_runs_in_every_tenth_epoch_and_in_the_last(small_dataset: Dataset) -> None:
    config = CONFIG.model_copy(update={"num_epochs": 12})
    epochs = list(Training(small_dataset, config, CPU).epochs())
    assert [epoch.number for epoch in epochs if epoch.val.continuous_correct is not None] == [10, 12]


def test_the_held_out_clips_are_evaluated_and_every_nth_training_clip(
    small_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated: list[tuple[list[int], bool]] = []

    def note(model: SignModel, clips: Clips, *arguments: Any, continuous: bool) -> Score:
        evaluated.append((clips.starts.tolist(), continuous))
        return evaluate(model, clips, *arguments, continuous=continuous)

    monkeypatch.setattr(loop, "evaluate", note)
    monkeypatch.setattr(loop, "_EVALUATED_TRAINING_CLIPS", 5)
    held_out = small_dataset.split("val")[:4]
    training = Training(small_dataset, CONFIG, CPU, held_out=held_out)
    next(training.epochs())
    training.evaluate_training_clips()
    lengths = [clip.frames for clip in (*small_dataset.split("train"), *held_out)]
    starts = [sum(lengths[:row]) for row in range(22)]
    assert evaluated == [(starts[18:], False), (starts[:18:4], False)]
    monkeypatch.setattr(loop, "_EVALUATED_TRAINING_CLIPS", 18)
    assert training.evaluate_training_clips().clips == 18


def test_each_repeated_epoch_starts_from_the_end_of_the_last_good_one(small_dataset: Dataset) -> None:
    training = Training(small_dataset, CONFIG, CPU)
    next(training.epochs())
    before = flat_weights(training._model).clone()
    starts: list[bool] = []

    def fail_twice() -> float:
        starts.append(torch.equal(flat_weights(training._model), before))
        with torch.no_grad():
            next(iter(training._model.parameters())).mul_(2)
        return math.nan if len(starts) < 3 else 1.5

    loss, actions = training._train_until_finite(fail_twice)
    assert (loss, starts, len(actions)) == (1.5, [True] * 3, 2)
    assert (training._progress.rate_factor, training._progress.recoveries) == (0.25, 2)
    assert training.epoch == 1


def test_the_learning_rate_is_halved_three_times_and_not_more() -> None:
    counted = Counted()
    progress = LoopProgress(epoch=4, steps=12)
    for factor in (0.5, 0.25, 0.125):
        progress, action = lower_learning_rate(progress, math.inf, CONFIG, counted)
        assert progress == LoopProgress(epoch=4, steps=12, rate_factor=factor, recoveries=progress.recoveries)
        assert (
            f"the loss of epoch 5 was not finite: went back to the end of epoch 4, and continued with {factor:g} "
            in action
        )
    assert (progress.recoveries, counted.acts, counted.nonfinite) == (3, ["recovery"] * 3, 0)
    with pytest.raises(SignetError, match=r"not finite \(inf\) in epoch 5.*0\.125 times --lr"):
        lower_learning_rate(progress, math.inf, CONFIG, counted)
    assert (counted.acts, counted.nonfinite) == (["recovery"] * 3, 1)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_an_epoch_is_finite_only_if_every_loss_and_every_gradient_is(value: float) -> None:
    fine, bad = [torch.tensor([1.0]), torch.tensor([4.0])], [torch.tensor([1.0]), torch.tensor([value])]
    assert finite_mean(fine, fine) == 2.5
    assert math.isnan(finite_mean(bad, fine))
    assert math.isnan(finite_mean(fine, bad))


def test_the_objective_is_given_the_share_of_the_epochs_that_are_trained(small_dataset: Dataset) -> None:
    training = Training(small_dataset, CONFIG, CPU)
    seen: list[float] = []
    objective = training._objective

    def note(log_probs: SignLogProbs, batch: Batch, progress: float, totals: LossTotals) -> torch.Tensor:
        seen.append(progress)
        return objective(log_probs, batch, progress, totals)

    training.__dict__["_objective"] = note
    list(training.epochs())
    assert sorted(set(seen)) == [0, 0.2, 0.4, 0.6, 0.8]
    assert seen == sorted(seen)


def test_a_step_is_no_longer_than_the_limit_of_the_gradient_allows(small_dataset: Dataset) -> None:
    values = {"gradient_norm": 1e-3, "weight_decay": 0.0, "batch_size": 18, "num_epochs": 2}
    training = Training(small_dataset, CONFIG.model_copy(update=values), CPU)
    before = flat_weights(training._model).clone()
    epoch = next(training.epochs())
    length = float((flat_weights(training._model) - before).norm())
    assert length == pytest.approx(epoch.learning_rate * 1e-3, rel=1e-3)


def test_a_new_model_starts_with_the_blank_penalty_and_its_own_standardisation(small_dataset: Dataset) -> None:
    with_penalty, without = (
        Training(small_dataset, CONFIG.model_copy(update={"blank_penalty": penalty}), CPU)._model.encoders[0]
        for penalty in (2.5, 0.0)
    )
    gates = [one.head.state_dict()["timing.bias"][:, 1] for one in (with_penalty, without)]
    torch.testing.assert_close(gates[0], gates[1] + 2.5)
    assert with_penalty.mean.abs().sum() > 0
    assert not torch.equal(with_penalty.deviation, torch.ones_like(with_penalty.deviation))


def test_a_training_sequence_has_up_to_three_signs(small_dataset: Dataset) -> None:
    training = Training(small_dataset, CONFIG.model_copy(update={"batch_size": 3}), CPU)
    assert {batch.targets.shape[1] for _ in range(4) for batch in training._sampler.epoch()} == {1, 2, 3}
