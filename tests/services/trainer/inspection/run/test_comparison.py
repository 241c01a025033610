"""The comparison of runs: the paired test, and the settings that differ."""

from services.trainer.config.train_config import TrainConfig
from services.trainer.inspection.run.comparison import compare_pairs, compare_settings
from services.trainer.inspection.run.predictions import collect_clip_predictions
from tests.services.trainer.inspection.conftest import held_out


def test_clips_that_only_one_run_gets_right_have_the_prediction_of_the_other_run() -> None:
    first = collect_clip_predictions(held_out([
        ("c1", "book", {"book": 0.9}, ()), ("c2", "go", {"who": 0.6, "go": 0.4}, ()), ("c3", "who", {"who": 0.9}, ()),
        ("c4", "who", {"book": 0.9}, ()), ("c9", "who", {"who": 0.9}, ()),
    ]))  # fmt: skip
    second = collect_clip_predictions(held_out([
        ("c1", "book", {"drink": 0.7, "book": 0.3}, ()), ("c2", "go", {"go": 0.9}, ()), ("c3", "who", {"who": 0.8}, ()),
        ("c4", "who", {"go": 0.9}, ()), ("c8", "who", {"who": 0.9}, ()),
    ]))  # fmt: skip
    (pair,) = compare_pairs([first, second])
    assert (pair.clips, pair.both, pair.neither, pair.not_shared) == (4, 1, 1, 2)
    assert [(one.clip_id, one.guess) for one in pair.only_first] == [("c1", "drink")]
    assert [(one.clip_id, one.guess) for one in pair.only_second] == [("c2", "who")]
    assert (pair.p, pair.gain) == (1.0, 0.0)


def test_runs_without_predictions_are_left_out_and_clips_with_another_gloss_are_not_shared() -> None:
    one = collect_clip_predictions(held_out([("c1", "book", {"book": 0.9}, ())]))
    other = collect_clip_predictions(held_out([("c1", "who", {"who": 0.9}, ())]))
    (pair,) = compare_pairs([one, (), other])
    assert (pair.first, pair.second, pair.clips, pair.not_shared) == (0, 2, 0, 2)


def test_settings_that_differ_are_listed_and_those_that_affect_learning_come_first() -> None:
    settings = TrainConfig(device="cpu").model_dump()
    other = TrainConfig(device="cuda", lr=0.1).model_dump() | {"newer": True}
    differences = compare_settings([settings, other])
    assert [(one.name, one.values, one.affects_learning) for one in differences] == [
        ("lr", (settings["lr"], 0.1), True),
        ("newer", (None, True), True),
        ("device", ("cpu", "cuda"), False),
    ]
    assert compare_settings([settings, settings]) == ()


def test_a_gain_is_that_of_the_second_run() -> None:
    worse = collect_clip_predictions(held_out([("c1", "book", {"who": 0.9}, ()), ("c2", "go", {"go": 0.9}, ())]))
    better = collect_clip_predictions(held_out([("c1", "book", {"book": 0.9}, ()), ("c2", "go", {"go": 0.9}, ())]))
    (up,), (down,) = compare_pairs([worse, better]), compare_pairs([better, worse])
    assert (up.gain, down.gain) == (0.5, -0.5)
    assert ([clip.guess for clip in up.only_second], up.only_first) == (["who"], ())
    assert ([clip.guess for clip in down.only_first], down.only_second) == (["who"], ())


def test_a_run_of_several_seeds_is_compared_by_the_mean_of_their_probabilities() -> None:
    # The seeds disagree about c1; together they are right, though only one of the three is.
    seeds = collect_clip_predictions(
        held_out(
            [("c1", "book", {"book": 0.9, "who": 0.1}, ())],
            [("c1", "book", {"who": 0.55, "book": 0.45}, ())],
            [("c1", "book", {"who": 0.55, "book": 0.45}, ())],
        )
    )
    wrong = collect_clip_predictions(held_out([("c1", "book", {"who": 0.9}, ())]))
    (pair,) = compare_pairs([seeds, wrong])
    assert len(pair.only_first) == 1
    assert seeds[0].seeds_correct == 1


def test_each_two_of_several_runs_are_compared() -> None:
    runs = [collect_clip_predictions(held_out([("c1", "book", {"book": 0.9}, ())]))] * 3
    assert [(pair.first, pair.second, pair.both) for pair in compare_pairs(runs)] == [(0, 1, 1), (0, 2, 1), (1, 2, 1)]
