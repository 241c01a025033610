"""Evaluation of a published model: its figures against an independent count."""

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
import pytest

from services.evaluator.reports.evaluate import evaluate
from services.evaluator.reports.report import Report
from services.evaluator.serving.loaded_model import LoadedModel
from signet.datasets.snapshot import Dataset
from signet.decoding import best_path, penalise_blank, single_sign_posterior
from signet.errors import DataLoss, InvalidInput, NotFound
from signet.registry import ModelCard
from signet.statistics.intervals import wilson
from signet.store import keys
from tests.services.evaluator import conftest

if TYPE_CHECKING:
    from tests.services.evaluator.conftest import World


def titles(report: Report) -> set[str]:
    return {note.title for note in report.notes}


def test_the_figures_equal_those_of_a_plain_loop_over_the_clips(
    world: "World", snapshot: Dataset, card: ModelCard
) -> None:
    report, _ = evaluate(world.store, "signet")
    stored = json.loads(world.store.get(keys.report(report.report_id, "report.json")))

    session = ort.InferenceSession(world.store.get(keys.model("signet", card.version, "model.onnx")))
    right = right5 = greedy = empty = blanks = frames = 0
    truth_p, cells = [], Counter[tuple[str, str]]()
    for clip in snapshot.split("val"):
        one = snapshot.clip_frames(clip)
        (log_probs,) = session.run(None, {"landmarks": one[None], "lengths": np.array([len(one)])})
        penalised = penalise_blank(log_probs[0], card.blank_penalty)
        posterior = single_sign_posterior(penalised)
        label = card.vocabulary.index(clip.gloss)
        order = list(np.argsort(-posterior))
        right += order[0] == label
        right5 += label in order[:5]
        greedy += best_path(penalised) == [label + 1]
        empty += best_path(penalised) == []
        blanks += int((penalised.argmax(axis=1) == 0).sum())
        frames += len(one)
        truth_p.append(posterior[label])
        cells[clip.gloss, card.vocabulary[order[0]]] += 1

    n = len(snapshot.split("val"))
    assert (right, right5, greedy, empty, n) == (12, 13, 12, 1, 14), "the small world's planted errors"
    for name, count in (("top1", right), ("top5", right5), ("greedy", greedy)):
        low, high = wilson(count, n)
        expected = {"correct": count, "n": n, "value": count / n, "low": low, "high": high}
        assert stored[name] == pytest.approx(expected)
    assert stored["exact_greedy_gap"] == pytest.approx((right - greedy) / n)
    assert stored["mean_truth_probability"] == pytest.approx(np.mean(truth_p), abs=1e-6)
    assert stored["blank"]["frame_ratio"] == pytest.approx(blanks / frames)
    assert stored["blank"]["empty"]["correct"] == empty
    assert stored["blank"]["collapsed"] is False
    assert report.blank.verdict == "not blank-collapsed"
    assert {(cell["truth"], cell["predicted"]): cell["clips"] for cell in stored["confusions"]} == cells
    assert stored["glosses_predicted"] == len({guess for _, guess in cells})
    for gloss in stored["per_gloss"]:
        assert gloss["recognised"]["correct"] == cells[gloss["gloss"], gloss["gloss"]]
        assert gloss["recognised"]["n"] == sum(c for (truth, _), c in cells.items() if truth == gloss["gloss"])
        assert gloss["predicted"] == sum(c for (_, guess), c in cells.items() if guess == gloss["gloss"])
    assert stored["seconds"]["total"] >= stored["seconds"]["model"] > 0
    wrong = {clip["clip_id"]: clip for clip in stored["clips"] if clip["rank"] > 1}
    assert wrong.keys() == {"9001", "9002"}
    assert wrong["9001"]["guesses"][0]["gloss"] == "go"
    assert wrong["9002"]["greedy"] == []
    # The one clip without a hand is named, and it counts with the ranking that the service does not give.
    assert stored["nothing_signed"] == [{"clip_id": "9002", "gloss": "who", "reason": "no hand found"}]
    (note,) = (note for note in report.notes if note.title == "Clips in which nothing is signed")
    assert note.text.startswith("To 1 of the 14 clips the service answers that nothing is signed")
    assert "9002 (who): no hand found" in note.text
    assert "0 of these are right" in note.text


def test_the_report_says_what_was_evaluated(world: "World", snapshot: Dataset, card: ModelCard) -> None:
    report, _ = evaluate(world.store, "signet", commit="3f1c2ab")
    told = report.provenance
    assert (told.model_version, told.run_id, told.split) == (card.version, "run-1", "val")
    assert (told.dataset_name, told.dataset_version) == (snapshot.manifest.name, snapshot.manifest.version)
    assert (told.commit, told.glosses, told.extractor) == ("3f1c2ab", 6, "made/1")
    assert "The commit of the code is not known" not in titles(report)
    again, _ = evaluate(world.store, "signet", card.version)
    assert "The commit of the code is not known" in titles(again)
    assert again.report_id > report.report_id


def test_the_notes_name_the_split_on_which_the_checkpoint_was_selected(
    world: "World", snapshot: Dataset, card: ModelCard
) -> None:
    assert "Neither trained nor selected on this split" in titles(evaluate(world.store, "signet")[0])
    assert "Trained on this split" in titles(evaluate(world.store, "signet", split="train")[0])
    world.publish(snapshot, selected_on="val")
    report, _ = evaluate(world.store, "signet")
    (note,) = (note for note in report.notes if note.title == "Selected on this split")
    assert "optimistic" in note.text
    assert "cross-validate" in note.text


def test_the_notes_name_duplicates_known_signers_and_a_card_with_another_accuracy(world: "World", sign: Any) -> None:
    snapshot = world.snapshot(
        [
            sign("a1", "book", 0.5, split="train", signer="anna", source="same"),
            sign("a2", "chair", 1.0, split="train", signer="anna"),
            sign("b1", "chair", 0.5, split="val", signer="anna", source="same"),
            sign("b2", "book", 0.5, split="val", signer="ben"),
        ]
    )
    world.publish(snapshot)
    report, _ = evaluate(world.store, "signet")
    notes = {note.title: note.text for note in report.notes}
    assert "a1 (book, train) = b1 (chair, val)" in notes["The same recording in two splits"]
    assert notes["The same recording in two splits"].startswith("1 of the 2 clips shows the same recording as a clip")
    assert notes["Known signers"].startswith("1 of the 2 clips is by signers")
    assert "counted 8 of 10" in notes["The model's card has another accuracy"]
    assert "counts 1 of 2" in notes["The model's card has another accuracy"]
    assert (report.top1.correct, report.top1.n) == (1, 2)
    assert report.synonym_aware is not None
    assert report.synonym_aware.correct == 2, "the very same video stands under book and under chair"


def test_a_snapshot_without_synonyms_has_no_figure_for_them(world: "World", card: ModelCard) -> None:
    assert evaluate(world.store, "signet")[0].synonym_aware is None


def test_a_model_with_empty_best_paths_only_is_collapsed_even_if_it_ranks_well(
    world: "World", snapshot: Dataset, collapsed_graph: bytes
) -> None:
    world.publish(snapshot, collapsed_graph)
    report, page = evaluate(world.store, "signet")
    assert report.blank.collapsed
    assert report.blank.empty.correct == report.greedy.n
    assert report.greedy.correct == 0
    assert report.top1.correct == 12
    assert report.exact_greedy_gap == pytest.approx(12 / 14)
    assert "This model is <em>blank-collapsed</em>" in page


def test_the_version_that_is_asked_for_is_evaluated(world: "World", snapshot: Dataset, card: ModelCard) -> None:
    places = [conftest.place_of(index, 6) for index in range(6)]
    newer = world.publish(snapshot, conftest.make_graph(places[::-1]))
    for asked, version, correct in (
        (card.version, card.version, 12),
        (newer.version, newer.version, 1),
        ("latest", newer.version, 1),
    ):
        report, _ = evaluate(world.store, "signet", asked)
        assert (report.provenance.model_version, report.top1.correct) == (version, correct)


def test_an_evaluation_runs_with_the_threads_that_it_is_given(
    world: "World", card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    init = LoadedModel.__init__

    def counting(model: LoadedModel, card: ModelCard, graph: bytes, count: int, memory: int) -> None:
        threads.append(count)
        init(model, card, graph, count, memory)

    monkeypatch.setattr(LoadedModel, "__init__", counting)
    evaluate(world.store, "signet", threads=3)
    evaluate(world.store, "signet")
    assert threads == [3, 0]


def test_signers_of_one_recording_are_in_one_group_of_the_calibration(world: "World", sign: Any) -> None:
    for source, groups in (("other", "2 groups of signers"), ("same", "one signer")):
        clips = [
            sign("a", "book", 0.5, signer="anna", source="same"),
            sign("b", "chair", 1.0, signer="ben", source=source),
            sign("t", "book", 0.75, signer="cleo", split="train"),
        ]
        world.publish(world.snapshot(clips))
        calibration = evaluate(world.store, "signet")[0].calibration
        assert calibration is not None
        assert calibration.groups == groups


def test_all_figures_are_finite_if_a_probability_is_zero(
    world: "World", snapshot: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conftest, "SHARPNESS", 1e5)
    world.publish(snapshot, conftest.make_graph([conftest.place_of(index, 6) for index in range(6)]))
    report, _ = evaluate(world.store, "signet")
    assert min(clip.truth_probability for clip in report.clips) < 1e-300
    assert report.calibration is not None
    assert 0 < report.calibration.before.negative_log_likelihood < 1000
    assert b"NaN" not in report.to_json()
    assert b"Infinity" not in report.to_json()


def test_progress_counts_clips_and_nothing_is_stored_if_its_callback_raises(world: "World", card: ModelCard) -> None:
    seen: list[tuple[int, int]] = []
    evaluate(world.store, "signet", on_progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert (seen[0], seen[-1]) == ((0, 14), (14, 14))

    before = [info.key for info in world.store.list(keys.reports())]

    def stop(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(world.store, "signet", on_progress=stop)
    assert [info.key for info in world.store.list(keys.reports())] == before


def test_what_cannot_be_evaluated_is_named(world: "World", snapshot: Dataset, card: ModelCard) -> None:
    with pytest.raises(InvalidInput, match=r"split 'test': .* it has train \(12 clips\), val \(14 clips\)"):
        evaluate(world.store, "signet", split="test")
    with pytest.raises(NotFound, match="signet train"):
        evaluate(world.store, "other")
    world.publish(snapshot, dataset_version="gone")
    with pytest.raises(NotFound, match="no dataset 'made' of version 'gone'"):
        evaluate(world.store, "signet")
    world.publish(snapshot, vocabulary=tuple(reversed(snapshot.manifest.vocabulary)))
    with pytest.raises(DataLoss, match="have different vocabularies"):
        evaluate(world.store, "signet")
