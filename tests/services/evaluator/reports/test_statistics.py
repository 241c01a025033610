"""The figures of a report against numbers worked out by hand, with ties and edge cases."""

import numpy as np
import pytest

from services.evaluator.reports.report import ClipResult, GlossProbability, SignerSpread
from services.evaluator.reports.statistics import (
    LabelledPredictions,
    build_clip_results,
    calibration_figures,
    count_results,
    find_synonyms,
    group_by_signer,
    list_confusions,
    measure_calibration,
    measure_glosses,
    measure_signers,
    synonym_aware_accuracy,
)
from signet.datasets.snapshot import DatasetClip
from signet.statistics.calibration import fit_temperature

VOCABULARY = ("book", "chair", "drink", "go", "help", "who")


def clip(clip_id: str, gloss: str = "book", signer: str = "anna", split: str = "val") -> DatasetClip:
    return DatasetClip(
        clip_id=clip_id, gloss=gloss, split=split, signer=signer, sha256="", source_sha256="", start=0, frames=10
    )


def result(truth: str, guess: str, *, signer: str = "anna", rank: int | None = None) -> ClipResult:
    return ClipResult(
        clip_id="c",
        signer=signer,
        truth=truth,
        guesses=(GlossProbability(gloss=guess, probability=0.5),),
        rank=rank or (1 if truth == guess else 2),
        truth_probability=0.25,
        greedy=(),
        continuous=(truth,),
        blank_ratio=0.5,
        frames=10,
    )


def predictions(scores: list[list[float]], labels: list[int]) -> LabelledPredictions:
    n = len(labels)
    return LabelledPredictions(
        scores=np.array(scores),
        labels=np.array(labels),
        continuous=[(VOCABULARY[index],) for index in range(n)],
        greedy=[(VOCABULARY[index],) * 2 for index in range(n)],
        blank_ratio=[index / 10 for index in range(n)],
        frames=list(range(10, 10 + n)),
    )


def test_a_clip_s_result_has_its_own_guesses_rank_and_decoded_glosses() -> None:
    scores = [[0.0, 5, 4, 3, 2, 1], [9.0, 0, 0, 0, 0, 0]]
    first, second = build_clip_results([clip("a", "go"), clip("b", "who")], VOCABULARY, predictions(scores, [3, 5]))
    p = np.exp(scores[0]) / np.exp(scores[0]).sum()
    assert [guess.gloss for guess in first.guesses] == ["chair", "drink", "go", "help", "who"]
    assert [guess.probability for guess in first.guesses] == pytest.approx(sorted(p, reverse=True)[:5])
    assert (first.clip_id, first.truth, first.rank, first.correct) == ("a", "go", 3, False)
    assert first.truth_probability == pytest.approx(p[3])
    assert (second.truth, second.rank) == ("who", 6), "of equal scores, the vocabulary's first ranks first"
    assert (second.continuous, second.greedy) == (("chair",), ("chair", "chair"))
    assert (second.blank_ratio, second.frames) == (0.1, 11)


def test_accuracies_count_the_fifth_rank_and_only_the_one_true_gloss() -> None:
    results = [result("book", "go", rank=5), result("chair", "go", rank=6), result("go", "go")]
    found = count_results(results)
    assert (found.correct, found.top5, found.clips) == (1, 2, 3)
    assert (found.continuous_correct, found.continuous_empty) == (3, 0)
    assert (found.greedy_correct, found.empty) == (0, 3)


def test_synonyms_are_the_glosses_of_one_recording() -> None:
    glosses = {"a": "book", "b": "chair", "c": "book", "d": "book", "e": "go", "f": "book"}
    assert find_synonyms([("a", "c")], glosses) == {}
    found = find_synonyms([("a", "b"), ("d", "f"), ("d", "e")], glosses)
    assert found == {"book": {"book", "chair", "go"}, "chair": {"book", "chair"}, "go": {"book", "go"}}
    results = [result("chair", "book"), result("chair", "go"), result("help", "help"), result("help", "who")]
    share = synonym_aware_accuracy(results, found)
    assert share is not None
    assert (share.correct, share.n) == (2, 4)
    assert synonym_aware_accuracy(results, {}) is None


def test_a_gloss_s_clips_are_counted_by_truth_and_its_guesses_by_prediction() -> None:
    results = [result("go", "go"), result("go", "book"), result("book", "go")]
    book, go = measure_glosses(results, ("book", "go"))
    assert (book.recognised.correct, book.recognised.n, book.predicted) == (0, 1, 1)
    assert (go.recognised.correct, go.recognised.n, go.predicted) == (1, 2, 2)
    cells = [(cell.truth, cell.predicted, cell.clips) for cell in list_confusions(results * 2, ("book", "go"))]
    assert cells == [("book", "go", 2), ("go", "book", 2), ("go", "go", 2)]


def test_signers_with_enough_clips_are_ranked_and_the_others_are_counted() -> None:
    def clips(signer: str, correct: int, wrong: int) -> list[ClipResult]:
        return [result("go", "go", signer=signer)] * correct + [result("go", "book", signer=signer)] * wrong

    results = [
        *clips("best", 3, 0),
        *clips("worst", 1, 2),
        *clips("worst of more", 2, 4),
        *clips("half", 2, 2),
        *clips("rare", 2, 0),
        *clips("rarer", 0, 1),
        *clips("", 4, 0),
    ]
    found = measure_signers(results)
    assert isinstance(found, SignerSpread)
    assert [one.signer for one in found.signers] == ["worst of more", "worst", "half", "best"]
    assert (found.minimum, found.median, found.maximum) == pytest.approx((1 / 3, (1 / 3 + 1 / 2) / 2, 1))
    assert (found.least_clips, found.rare_signers, found.rare_clips, found.unknown_clips) == (3, 2, 3, 4)
    assert measure_signers(clips("rare", 2, 0)) is None


def test_signers_are_divided_into_five_groups_or_as_many_as_there_are() -> None:
    for signers, count, words in ((7, 5, "5 groups of signers"), (3, 3, "3 groups of signers"), (1, 1, "one signer")):
        clips = [clip(f"{signer}{number}", signer=f"s{signer}") for signer in range(signers) for number in range(2)]
        groups, description = group_by_signer(clips, ())
        assert (len(set(groups)), description) == (count, words)
        assert groups[::2] == groups[1::2], "all clips of a signer are in one group"
    clips = [clip("a", signer="anna"), clip("b", signer="ben"), clip("c", signer="cleo")]
    groups, description = group_by_signer(clips, [("a", "b")])
    assert (groups[0] == groups[1], groups[1] != groups[2], description) == (True, True, "2 groups of signers")


def test_a_clip_s_temperature_is_fitted_on_the_other_groups() -> None:
    noise = np.random.default_rng(1)
    labels = noise.integers(0, 6, 90)
    scores = noise.normal(0, 1, (90, 6))
    scores[np.arange(90), labels] += 1
    scores[:30] *= 4
    groups = np.repeat([0, 1, 2], 30).tolist()
    made = LabelledPredictions(scores, labels, [()] * 90, [()] * 90, [0.0] * 90, [1] * 90)
    found = measure_calibration(made, groups, "three groups")
    expected = [fit_temperature(scores[np.array(groups) != one], labels[np.array(groups) != one]) for one in range(3)]
    assert found.temperatures == pytest.approx(expected)
    assert found.before == calibration_figures(made, 1.0)
    assert found.after == calibration_figures(made, np.array(expected)[groups])
    assert found.groups == "three groups"
    one = measure_calibration(made, [0] * 90, "one signer")
    assert (one.after, one.temperatures) == (None, ())


def test_a_bin_counts_the_clips_whose_first_guess_is_right() -> None:
    # Two equal scores: the vocabulary's first is the guess, so the first clip is right and the second is wrong.
    even = np.log([0.5, 0.5])
    made = predictions([[*even], [*even], [*np.log([0.9, 0.1])]], [0, 1, 1])
    bins = [one for one in calibration_figures(made, 1.0).bins if one.accuracy.n]
    assert [(one.accuracy.correct, one.accuracy.n) for one in bins] == [(1, 2), (0, 1)]
    assert [one.confidence for one in bins] == pytest.approx([0.5, 0.9])
    assert calibration_figures(made, 1.0).expected_error == pytest.approx(0.9 / 3)
