"""What was said of clips, counted: by seed, by gloss, by pair."""

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


def test_a_clips_answer_is_the_mean_over_the_seeds() -> None:
    c1, c2, c3, c4 = collect_clip_predictions(SAID)
    assert (c1.truth, c1.guess, c1.correct, c1.seeds) == ("book", "book", True, (0, 1))
    assert c1.confidence == pytest.approx(0.8, abs=1e-4)
    assert c2.truth_probability == pytest.approx(0.15, abs=1e-4)
    assert (c3.guess, c3.seeds_correct, c3.greedy) == ("who", 1, ((), ("who",)))
    assert (c4.guess, c4.seeds_correct) == ("drink", 1)
    assert c4.greedy == (("go", "go"), ("drink",))


def test_seeds_are_counted_each_for_itself() -> None:
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


def test_glosses_that_are_taken_for_one_another_are_one_pair() -> None:
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


def test_the_surest_mistake_comes_first() -> None:
    found = find_mistakes(collect_clip_predictions(SAID))
    assert [(one.clip_id, one.guess) for one in found] == [
        ("c2", "who"),
        ("c4", "drink"),
    ]


@pytest.mark.parametrize("run_id", [SEEDS, FOLDS])
def test_what_is_counted_from_held_out_clips_is_what_the_run_counted(runs: Runs, run_id: str) -> None:
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
