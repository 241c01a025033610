"""Counts against numbers worked out by hand, with ties and edge cases."""

from statistics import stdev

import numpy as np

from signet.statistics.counts import (
    ClipCounts,
    ConfusionCount,
    GlossCounts,
    Spread,
    compute_spread,
    count_clips,
    count_confusions,
    count_glosses,
    rank_glosses,
    rank_truths,
)
from signet.statistics.intervals import wilson


def test_a_tie_goes_to_the_vocabulary_s_first_as_argmax_has_it() -> None:
    scores = np.array([[2.0, 2.0, 1.0], [2.0, 2.0, 1.0], [2.0, 2.0, 1.0], [1.0, 1.0, 1.0]])
    assert rank_truths(scores, np.array([0, 1, 2, 2])).tolist() == [1, 2, 3, 3]


def test_a_rank_of_one_is_argmax_and_ranks_are_a_permutation() -> None:
    scores = np.random.default_rng(0).integers(0, 4, (200, 7)).astype(np.float32)
    ranks = np.stack([rank_truths(scores, np.full(200, label)) for label in range(7)], axis=1)
    np.testing.assert_array_equal(np.sort(ranks, axis=1), np.tile(np.arange(1, 8), (200, 1)))
    np.testing.assert_array_equal(ranks.argmin(axis=1), scores.argmax(axis=1))
    np.testing.assert_array_equal(ranks, np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1) + 1)


def test_the_fifth_rank_counts_for_the_top_five_and_the_sixth_does_not() -> None:
    counted = count_clips(
        [1, 2, 5, 6],
        ["a", "b", "c", "d"],
        continuous=[("a",), (), ("c", "c"), ("d", "x")],
        greedy=[(), (), ("c",), ("c",)],
    )
    assert counted == ClipCounts(
        clips=4, correct=1, top5=3, continuous_correct=1, continuous_empty=1, greedy_correct=1, empty=2
    )


def test_glosses_are_counted_in_the_vocabulary_s_order_with_those_that_have_no_clips() -> None:
    found = count_glosses(("a", "b", "c"), ["b", "b", "a", "b"], ["b", "a", "a", "c"], [1, 0.5, 1, 0])
    assert found == (GlossCounts("a", 1, 1, 2), GlossCounts("b", 3, 1.5, 1), GlossCounts("c", 0, 0, 1))
    assert [gloss.share for gloss in found] == [1, 0.5, 0]
    assert found[0].interval == wilson(1, 1)
    assert found[1].interval == wilson(2, 3)
    assert found[2].interval == (0, 1)


def test_the_best_gloss_is_first_and_of_equal_ones_that_with_more_clips() -> None:
    counts = [GlossCounts(*one, 0) for one in (("d", 2, 1), ("a", 2, 1), ("b", 4, 2), ("none", 0, 0), ("c", 3, 3))]
    assert [gloss.gloss for gloss in rank_glosses(counts)] == ["c", "b", "a", "d"]


def test_confusions_are_the_cells_row_by_row_and_each_seed_counts_for_its_part() -> None:
    found = count_confusions(("x", "a"), ["a", "x", "a"], [("x", "a"), ("x", "x"), ("x", "x")])
    assert found == (ConfusionCount("x", "x", 1), ConfusionCount("a", "x", 1.5), ConfusionCount("a", "a", 0.5))
    found = count_confusions(("x", "a"), ["a", "x"], [("x",), ("a",)])
    assert found == (ConfusionCount("x", "a", 1), ConfusionCount("a", "x", 1)), "a row is a true gloss"


def test_a_spread_has_the_sample_s_deviation_and_none_for_one_value() -> None:
    assert compute_spread([0.5, 0.25, 0.75]) == Spread(0.5, stdev([0.5, 0.25, 0.75]), 0.25, 0.75)
    assert compute_spread([0.5]) == Spread(0.5, None, 0.5, 0.5)
