"""The metrics of a trainer's runs."""

import math
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from services.trainer.runs.events import MemberEpoch, RunStarted
from services.trainer.runs.metrics import TrainerMetrics
from services.trainer.training.epoch import EpochResult
from services.trainer.training.validate import NO_SCORE, Score

STARTED = RunStarted("cuda", "H100", 2**36, 55_461, "v1", 20, 157, 40, 300)


def score(correct: int, blank_ratio: float) -> Score:
    return Score(1.5, 40, correct, 40, 10, 4, blank_ratio)


def first(epoch: EpochResult) -> MemberEpoch:
    """An epoch of a run's only member."""
    return MemberEpoch(epoch, member=1, fold=0, seed=0)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> TrainerMetrics:
    return TrainerMetrics(registry)


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    found: float | None = registry.get_sample_value(f"signet_trainer_{name}", labels)
    return found


def test_before_any_run_all_that_is_counted_is_zero(registry: CollectorRegistry, metrics: TrainerMetrics) -> None:
    for state in ("succeeded", "stopped", "failed", "interrupted"):
        assert value(registry, "runs_total", state=state) == 0
    for name in (
        "batches_total", "throttled_seconds_total", "throttling", "nonfinite_losses_total", "out_of_memory_total",
        "running", "queued_runs", "blank_epochs",
    ):  # fmt: skip
        assert value(registry, name) == 0, name
    assert metrics


def test_a_run_s_values_are_shown_under_its_name_and_go_when_the_next_begins(
    registry: CollectorRegistry, metrics: TrainerMetrics
) -> None:
    def shown() -> list[dict[str, str]]:
        return [
            sample.labels for family in registry.collect() for sample in family.samples if "run_info" in sample.name
        ]

    metrics.record_start("r1", "signet", STARTED)
    metrics.record_epoch(first(EpochResult(10, 0.5, score(30, 0.5), 0.1, best=True, train=score(39, 0.5))))
    metrics.record_epoch(first(EpochResult(11, 0.4, score(32, 0.6), 0.1, best=True)))
    metrics.record_end("succeeded")
    assert shown() == [{"run_id": "r1", "model_name": "signet", "dataset_version": "v1", "device": "cuda"}]
    assert value(registry, "accuracy_ratio", split="val") == 0.8
    assert value(registry, "accuracy_ratio", split="train") == 39 / 40, "of the last epoch that measured it"
    assert value(registry, "loss", split="train") == 0.4
    assert value(registry, "blank_ratio") == 0.6
    assert value(registry, "exact_greedy_gap_ratio") == 0.55

    metrics.record_start("r2", "other", STARTED)
    assert [one["run_id"] for one in shown()] == ["r2"]
    assert value(registry, "epoch") == 0
    for split in ("train", "val"):
        assert value(registry, "accuracy_ratio", split=split) is None
        assert value(registry, "loss", split=split) is None
    assert math.isnan(value(registry, "blank_ratio") or 0)
    metrics.record_epoch(first(EpochResult(1, 0.5, NO_SCORE, 0.1, best=True)))
    assert value(registry, "loss", split="train") == 0.5
    assert value(registry, "loss", split="val") is None


def test_epochs_in_which_all_is_blank_are_counted_until_one_is_not(
    registry: CollectorRegistry, metrics: TrainerMetrics
) -> None:
    metrics.record_start("r1", "signet", STARTED)
    counts = []
    for number, ratio in enumerate((0.5, 0.98, 1.0, 0.97, 0.99), 1):
        metrics.record_epoch(first(EpochResult(number, 0.5, score(30, ratio), 0.1, best=True)))
        counts.append(value(registry, "blank_epochs"))
    assert counts == [0, 1, 2, 0, 1]
    metrics.record_start("r2", "signet", STARTED)
    assert value(registry, "blank_epochs") == 0


def test_what_happens_within_an_epoch_is_counted(registry: CollectorRegistry, metrics: TrainerMetrics) -> None:
    metrics.on_batch()
    metrics.on_memory_split()
    metrics.on_nonfinite_loss()
    metrics.on_throttling(True)
    metrics.on_throttled_seconds(2.5)
    assert value(registry, "throttling") == 1
    metrics.on_throttling(False)
    assert value(registry, "throttling") == 0
    assert value(registry, "throttled_seconds_total") == 2.5
    for name in ("batches_total", "out_of_memory_total", "nonfinite_losses_total"):
        assert value(registry, name) == 1, name


def test_collapsed_epochs_are_counted_for_each_member_until_its_last(
    registry: CollectorRegistry, metrics: TrainerMetrics
) -> None:
    metrics.record_start("r1", "signet", STARTED)
    counts = []
    # Two members at the same time. The second collapses for longer, and ends first.
    for member, number, ratio, last in (
        (1, 1, 1.0, False), (2, 1, 1.0, False), (2, 2, 1.0, False), (1, 2, 0.5, False), (2, 3, 1.0, True),
        (1, 3, 1.0, False),
    ):  # fmt: skip
        epoch = EpochResult(number, 0.5, score(30, ratio), 0.1, best=True, last=last)
        metrics.record_epoch(MemberEpoch(epoch, member, 0, member))
        counts.append(value(registry, "blank_epochs"))
    assert counts == [1, 1, 2, 2, 3, 1]


def test_the_gap_to_the_continuous_decoder_is_that_of_the_last_epoch_that_ran_it(
    registry: CollectorRegistry, metrics: TrainerMetrics
) -> None:
    metrics.record_start("r1", "signet", STARTED)
    assert math.isnan(value(registry, "exact_continuous_gap_ratio") or 0)
    measured = replace(score(30, 0.5), continuous_correct=20, continuous_empty=4)
    metrics.record_epoch(first(EpochResult(1, 0.5, measured, 0.1, best=True)))
    metrics.record_epoch(first(EpochResult(2, 0.5, score(36, 0.5), 0.1, best=True)))
    assert value(registry, "exact_continuous_gap_ratio") == 0.25
    assert value(registry, "continuous_empty_ratio") == 0.1
    assert value(registry, "empty_ratio") == 0.1
    assert value(registry, "exact_greedy_gap_ratio") == 0.65
    metrics.on_recovery_action("recovery")
    assert value(registry, "actions_total", action="recovery") == 1


def test_the_plan_of_a_run_is_shown_and_whether_it_is_under_way(
    registry: CollectorRegistry, metrics: TrainerMetrics
) -> None:
    started = replace(STARTED, seeds=2, folds=3, epochs_before=70)
    metrics.record_start("r1", "signet", started)
    shown = [value(registry, name) for name in ("running", "planned_epochs", "members", "resumed_epochs", "parameters")]
    assert shown == [1, 300, 6, 70, 55_461]
    assert [value(registry, "clips", split=split) for split in ("train", "val")] == [157, 40]
    metrics.record_end("stopped")
    assert value(registry, "running") == 0
    assert value(registry, "runs_total", state="stopped") == 1
