"""The predictions for clips, and the counts of seeds, glosses and confused pairs."""

from dataclasses import replace

import numpy as np
import pytest

from services.trainer.inspection.run.predictions import (
    collect_clip_predictions,
    count_members,
    count_predicted_glosses,
    count_seeds,
    find_confused_pairs,
    find_mistakes,
)
from services.trainer.inspection.run.record import load_run
from services.trainer.runs.result import Result
from signet.statistics.intervals import wilson
from signet.store import keys
from tests.services.trainer.inspection.conftest import FOLDS, SEEDS, Runs, held_out

SAID = held_out(
    [
        ("c1", "book", {"book": 0.9, "who": 0.1}, ("book",)),
        ("c2", "book", {"who": 0.8, "book": 0.2}, ("who",)),
        ("c3", "who", {"book": 0.6, "who": 0.4}, ()),
        ("c4", "go", {"go": 0.5, "drink": 0.4}, ("go", "go")),
    ],
    [
        ("c1", "book", {"book": 0.7, "who": 0.3}, ("book",)),
        ("c2", "book", {"who": 0.9, "book": 0.1}, ()),
        ("c3", "who", {"who": 0.7, "book": 0.3}, ("who",)),
        ("c4", "go", {"drink": 0.9, "go": 0.1}, ("drink",)),
    ],
)


def test_the_prediction_for_a_clip_is_the_mean_over_the_seeds() -> None:
    c1, c2, c3, c4 = collect_clip_predictions(SAID)
    assert (c1.truth, c1.guess, c1.correct, c1.seeds) == ("book", "book", True, (0, 1))
    assert c1.confidence == pytest.approx(0.8, abs=1e-4)
    assert c2.truth_probability == pytest.approx(0.15, abs=1e-4)
    assert (c3.guess, c3.seeds_correct, c3.greedy) == ("who", 1, ((), ("who",)))
    assert (c4.guess, c4.seeds_correct) == ("drink", 1)
    assert c4.greedy == (("go", "go"), ("drink",))


def test_each_seed_is_counted_by_itself() -> None:
    first, second = count_seeds(SAID).values()
    assert (first.clips, first.correct, first.top5, first.greedy_correct, first.empty) == (4, 2, 4, 1, 1)
    assert (second.correct, second.greedy_correct, second.empty) == (2, 2, 1)
    assert (first.gloss_errors, first.concatenated) == (1, 10)


def test_seeds_do_not_add_clips_to_an_interval() -> None:
    figures = {figure.gloss: figure for figure in count_predicted_glosses(collect_clip_predictions(SAID))}
    assert [figure.gloss for figure in count_predicted_glosses(collect_clip_predictions(SAID))] == ["book", "go", "who"]
    assert (figures["book"].clips, figures["book"].share) == (2, 0.5)
    assert figures["book"].interval == wilson(1, 2)
    assert figures["who"].predicted == 2, "c2 and c3"


def test_two_glosses_that_are_confused_are_one_pair() -> None:
    first, second = find_confused_pairs(collect_clip_predictions(SAID))
    assert (first.gloss, first.other, first.clips, first.reverse) == ("book", "who", 1.0, 0.5)
    assert (first.gloss_clips, first.other_clips) == (2, 1)
    assert (second.gloss, second.other, second.clips, second.reverse, second.other_clips) == (
        "go",
        "drink",
        0.5,
        0.0,
        0,
    )


def test_the_most_confident_mistake_comes_first() -> None:
    found = find_mistakes(collect_clip_predictions(SAID))
    assert [(one.clip_id, one.guess) for one in found] == [
        ("c2", "who"),
        ("c4", "drink"),
    ]


@pytest.mark.parametrize("run_id", [SEEDS, FOLDS])
def test_the_counts_are_those_of_the_result(runs: Runs, run_id: str) -> None:
    found = load_run(runs.store, run_id).held_out
    assert found is not None
    result = Result.model_validate_json(runs.store.get(keys.run(run_id, "result.json")))
    counts = {
        "clips",
        "correct",
        "top5",
        "continuous_correct",
        "greedy_correct",
        "empty",
        "concatenated",
        "gloss_errors",
    }
    assert [one.model_dump(include=counts | {"fold", "seed"}) for one in count_members(found)] == [
        one.model_dump(include=counts | {"fold", "seed"}) for one in result.members
    ]
    assert {seed: one.correct for seed, one in count_seeds(found).items()} == {
        seed: one.correct for seed, one in result.seeds.items()
    }
    answers = collect_clip_predictions(found)
    right = sum(figure.correct for figure in count_predicted_glosses(answers))
    assert right == pytest.approx(sum(one.correct for one in result.members) / len(result.seeds))


def test_a_seed_is_counted_over_its_folds_and_left_out_without_one_of_them() -> None:
    first, second = held_out(
        [("c1", "book", {"book": 0.9}, ("book",)), ("c2", "who", {"go": 0.9}, ("who",))],
        [("c3", "go", {"go": 0.9}, ("go",))],
        folds=2,
    ).members
    both = replace(second, fold=1, seed=0)
    whole = replace(SAID, folds=2, members=(first, both))
    (counts,) = count_seeds(whole).values()
    assert (counts.clips, counts.correct, counts.greedy_correct) == (3, 2, 3)
    assert count_seeds(replace(whole, members=(first, second))) == {}


def test_the_blank_ratio_of_a_member_is_that_of_its_frames() -> None:
    (member, _) = SAID.members
    frames, ratios = np.array([10, 10, 10, 70], np.int32), np.array([0.0, 0.0, 0.0, 1.0], np.float32)
    (counts,) = count_members(replace(SAID, members=(replace(member, frames=frames, blank_ratio=ratios),)))
    assert counts.blank_ratio == pytest.approx(0.7)


def test_predictions_are_sorted_by_clip_and_seeds_ascend() -> None:
    later, earlier = SAID.members
    swapped = replace(SAID, members=(replace(later, seed=7), replace(earlier, seed=3)))
    predictions = collect_clip_predictions(swapped)
    assert [clip.clip_id for clip in predictions] == ["c1", "c2", "c3", "c4"]
    assert {clip.seeds for clip in predictions} == {(3, 7)}
    assert predictions[2].greedy == (("who",), ()), "first that of seed 3"
    assert predictions[2].first_guesses == (4, 1)


def test_the_five_most_probable_glosses_are_ranked_and_ties_keep_the_order_of_the_vocabulary() -> None:
    clip = replace(
        collect_clip_predictions(SAID)[0],
        vocabulary=tuple("abcdefg"),
        posterior=np.array([0.1, 0.2, 0.05, 0.3, 0.2, 0.05, 0.1]),
        label=2,
    )
    assert [gloss for gloss, _ in clip.top] == ["d", "b", "e", "a", "g"]
    assert (clip.guess, clip.confidence, clip.truth, clip.truth_probability) == ("d", 0.3, "b", 0.2)


def test_of_two_glosses_that_are_equally_confused_the_pair_stands_once() -> None:
    clips = collect_clip_predictions(
        held_out([("c1", "book", {"who": 0.9}, ()), ("c2", "who", {"book": 0.9}, ()), ("c3", "go", {"who": 0.9}, ())])
    )
    pairs = [(pair.gloss, pair.other, pair.clips, pair.reverse) for pair in find_confused_pairs(clips)]
    assert pairs == [("book", "who", 1.0, 1.0), ("go", "who", 1.0, 0.0)]
