"""The figures of a result, worked out by hand."""

import math

import pytest

from services.trainer.runs.result import (
    NO_CLIPS,
    HeldOutCounts,
    MemberResult,
    Result,
    counts_by_seed,
    spread_over_seeds,
)

SMALL = HeldOutCounts(
    clips=10, correct=8, top5=9, continuous_correct=7, continuous_empty=1, greedy_correct=6, empty=2, blank_ratio=0.5,
    concatenated=30, gloss_errors=6, stream_gloss_errors=9, cut_gloss_errors=4, signing_gloss_errors=3,
)  # fmt: skip
LARGE = HeldOutCounts(
    clips=30, correct=12, top5=20, continuous_correct=11, continuous_empty=4, greedy_correct=10, empty=5,
    blank_ratio=0.9, concatenated=90, gloss_errors=40, stream_gloss_errors=50, cut_gloss_errors=20,
    signing_gloss_errors=10,
)  # fmt: skip


def member(fold: int, seed: int, correct: int) -> MemberResult:
    return MemberResult(
        fold=fold, seed=seed, epochs=4, clips=10, correct=correct, top5=9, continuous_correct=5, greedy_correct=3,
        empty=1, blank_ratio=0.5,
    )  # fmt: skip


def test_the_sum_adds_all_counts_and_weights_the_blank_ratio_by_clips() -> None:
    total = HeldOutCounts.sum([SMALL, LARGE])
    assert total.blank_ratio == pytest.approx(0.8)
    assert total.model_dump(exclude={"blank_ratio"}) == {
        "clips": 40, "correct": 20, "top5": 29, "continuous_correct": 18, "continuous_empty": 5, "greedy_correct": 16,
        "empty": 7, "concatenated": 120, "gloss_errors": 46, "stream_gloss_errors": 59,
        "cut_gloss_errors": 24, "signing_gloss_errors": 13,
    }  # fmt: skip
    assert HeldOutCounts.sum([]) == NO_CLIPS


def test_the_mean_is_rounded_to_whole_clips() -> None:
    mean = HeldOutCounts.mean([SMALL, SMALL.model_copy(update={"correct": 9, "blank_ratio": 0.7}), SMALL])
    assert (mean.clips, mean.correct, mean.top5) == (10, 8, 9)
    assert mean.blank_ratio == pytest.approx(1.7 / 3)
    assert HeldOutCounts.mean([]) == NO_CLIPS


def test_a_collapse_is_that_every_best_path_is_empty() -> None:
    assert SMALL.model_copy(update={"empty": 10}).collapsed
    assert not SMALL.model_copy(update={"empty": 9}).collapsed
    assert not NO_CLIPS.collapsed


def test_a_seed_counts_only_with_all_its_folds() -> None:
    members = [member(0, 3, 8), member(1, 3, 6), member(0, 4, 9)]
    assert {seed: counts.correct for seed, counts in counts_by_seed(members, folds=2).items()} == {3: 14}
    assert counts_by_seed(members, folds=2)[3].clips == 20
    single = counts_by_seed([member(0, 3, 8), member(0, 4, 9)], folds=0)
    assert {seed: counts.correct for seed, counts in single.items()} == {3: 8, 4: 9}


def test_the_spread_is_that_of_a_sample_and_skips_seeds_without_clips() -> None:
    def accuracy(counts: HeldOutCounts) -> float:
        return counts.correct / counts.clips

    mean, deviation = spread_over_seeds([SMALL, LARGE, NO_CLIPS], accuracy)
    assert mean == pytest.approx(0.6)
    assert deviation == pytest.approx(math.sqrt(2 * 0.2**2))
    assert spread_over_seeds([SMALL], accuracy) == (0.8, None)
    assert spread_over_seeds([NO_CLIPS], accuracy) == (0.0, None)


def test_accuracies_are_shares_of_the_val_clips() -> None:
    result = Result(state="succeeded", epochs=3, seconds=1.0, val_clips=8, val_correct=6, val_greedy_correct=2)
    assert (result.val_accuracy, result.val_greedy_accuracy) == (0.75, 0.25)
    empty = Result(state="succeeded", epochs=3, seconds=1.0)
    assert (empty.val_accuracy, empty.val_greedy_accuracy) == (0.0, 0.0)
    folds = Result(state="stopped", epochs=3, seconds=1.0, folds=2, members=(member(0, 3, 8), member(1, 3, 6)))
    assert {seed: counts.correct for seed, counts in folds.seeds.items()} == {3: 14}
