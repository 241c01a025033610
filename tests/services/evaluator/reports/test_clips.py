"""Evaluation of clips that were extracted after the training, such as the official test clips."""

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from services.evaluator.cli import app
from services.evaluator.reports.clips import load_split
from services.evaluator.reports.evaluate import evaluate
from services.evaluator.reports.report import Report
from services.evaluator.reports.report_store import read_report
from signet import landmarks
from signet.datasets import corpus
from signet.datasets.corpus import Shard
from signet.datasets.snapshot import Dataset
from signet.errors import Conflict, InvalidInput
from signet.landmarks import Landmarks
from signet.registry import ModelCard
from signet.statistics.vocabulary_score import VocabularyScore
from signet.store import ObjectStore, keys
from tests.services.evaluator.conftest import GLOSSES, place_of
from tests.services.evaluator.reports.test_report import Page

if TYPE_CHECKING:
    from tests.services.evaluator.conftest import World

BOOK, CHAIR = place_of(0, len(GLOSSES)), place_of(1, len(GLOSSES))


def extract(store: ObjectStore, *clips: Landmarks, finish: bool = True) -> None:
    """Put clips into the corpus, as the extractor does."""
    for clip in clips:
        store.put(keys.clip("made", clip.record.clip_id), landmarks.dump(clip))
    if finish:
        corpus.finish_extraction(store, "made", "made/1", Shard(), "all")


def note(report: Report, title: str) -> str:
    (found,) = (one.text for one in report.notes if one.title == title)
    return found


def test_test_clips_that_were_extracted_after_the_training_are_evaluated(
    world: "World", card: ModelCard, sign: Any
) -> None:
    extract(
        world.store,
        sign("t1", "book", BOOK, split="test", signer="anna"),
        sign("t2", "book", CHAIR, split="test", signer="ben"),
        sign("t3", "chair", CHAIR, split="test", signer="signer1"),
        sign("t4", "unknown", CHAIR, split="test"),
        sign("v9", "book", BOOK, split="val"),
    )
    report, page = evaluate(world.store, "signet", split="test")
    assert {(clip.clip_id, clip.rank == 1) for clip in report.clips} == {("t1", True), ("t2", False), ("t3", True)}
    finished = corpus.read_manifest(world.store, "made")
    assert finished is not None
    told = report.provenance
    assert (told.split, told.corpus_version, told.dataset_version) == ("test", finished.version, card.dataset_version)
    assert report.outside_vocabulary == 1
    text = note(report, "Clips from the corpus")
    assert f"version {finished.version}" in text
    assert "1 clips of other glosses are left out" in text
    assert note(report, "Known signers").startswith("1 of the 3 clips is by signers")
    assert read_report(world.store, report.report_id) == report
    assert finished.version in Page(page).text
    assert report.calibration is not None

    val, _ = evaluate(world.store, "signet")
    assert (val.provenance.corpus_version, val.left_out, val.outside_vocabulary) == ("", (), 0)


def test_duplicates_of_training_clips_are_not_counted_and_are_listed(
    world: "World", snapshot: Dataset, card: ModelCard, sign: Any
) -> None:
    trained = snapshot.split("train")[0]
    same_file = sign("t1", "chair", CHAIR, split="test", source=trained.clip_id)
    # Encoded again: another file, and the very landmarks.
    recording = sign(trained.clip_id, trained.gloss, BOOK, split="test", frames=24)
    again = Landmarks(
        recording.landmarks,
        recording.presence,
        recording.visibility,
        recording.timestamps,
        recording.record.model_copy(
            update={"clip_id": "t2", "source_sha256": hashlib.sha256(b"another file").hexdigest()}
        ),
    )
    extract(world.store, same_file, again, sign("t3", "who", place_of(5, 6), split="test"))
    report, _ = evaluate(world.store, "signet", split="test")
    assert [clip.clip_id for clip in report.clips] == ["t3"]
    assert {one.clip_id: one.training_clips for one in report.left_out} == {
        "t1": (trained.clip_id,),
        "t2": (trained.clip_id,),
    }
    assert f"t2 (book) = {trained.clip_id}" in note(report, "Duplicates of training clips are left out")
    assert report.synonym_aware is not None, "one recording stands under book and chair, though it is not counted"

    world.store.delete(keys.clip("made", "t3"))
    with pytest.raises(
        InvalidInput, match="all 2 clips of corpus 'made' show recordings that the model was trained on"
    ):
        evaluate(world.store, "signet", split="test")


def test_a_duplicate_of_a_known_duplicate_of_a_training_clip_is_left_out(
    world: "World", snapshot: Dataset, card: ModelCard, sign: Any
) -> None:
    trained, val = snapshot.split("train")[0], snapshot.split("val")[0]
    audit = snapshot.manifest.audit
    audit = audit.model_copy(update={"near_identical": (*audit.near_identical, (trained.clip_id, val.clip_id))})
    audited = Dataset(snapshot.manifest.model_copy(update={"audit": audit}), snapshot.samples)
    same_as_val = sign("t1", "book", BOOK, split="test", source=val.clip_id)
    extract(world.store, same_as_val, sign("t2", "chair", CHAIR, split="test"))
    clips = load_split(world.store, audited, "test")
    assert [clip.clip_id for clip in clips.clips] == ["t2"]
    (left_out,) = clips.left_out
    assert (left_out.clip_id, trained.clip_id in left_out.training_clips) == ("t1", True)


def test_only_duplicates_of_training_clips_are_left_out(
    world: "World", snapshot: Dataset, card: ModelCard, sign: Any
) -> None:
    val = snapshot.split("val")[0]
    extract(
        world.store,
        sign("t1", "book", BOOK, split="test", source="same"),
        sign("t2", "chair", CHAIR, split="test", source="same"),
        sign("t3", "book", BOOK, split="test", source=val.clip_id),
    )
    report, _ = evaluate(world.store, "signet", split="test")
    assert [clip.clip_id for clip in report.clips] == ["t1", "t2", "t3"]
    assert report.left_out == ()
    assert "t1 (book, test)" not in str(report.notes), "both are in one split"
    assert f"{val.clip_id} (book, val) = t3 (book, test)" in str(report.notes)


def test_a_clip_of_the_snapshot_is_not_evaluated_in_the_split_that_it_was_moved_to(
    world: "World", snapshot: Dataset, card: ModelCard, sign: Any
) -> None:
    moved = snapshot.split("val")[0]
    extract(
        world.store,
        sign(moved.clip_id, moved.gloss, BOOK, split="test"),
        sign("t1", "chair", CHAIR, split="test"),
    )
    report, _ = evaluate(world.store, "signet", split="test")
    assert [clip.clip_id for clip in report.clips] == ["t1"]


def test_clips_without_a_known_source_are_no_duplicates(world: "World", card: ModelCard, sign: Any) -> None:
    def without_source(clip: Landmarks) -> Landmarks:
        record = clip.record.model_copy(update={"source_sha256": ""})
        return Landmarks(clip.landmarks, clip.presence, clip.visibility, clip.timestamps, record)

    glosses = [sign("t1", "book", BOOK, split="test"), sign("t2", "chair", CHAIR, split="test")]
    extract(world.store, *map(without_source, glosses))
    report, _ = evaluate(world.store, "signet", split="test")
    assert [clip.clip_id for clip in report.clips] == ["t1", "t2"]
    assert report.synonym_aware is None


def test_the_version_of_the_clips_changes_with_their_landmarks(world: "World", card: ModelCard, sign: Any) -> None:
    versions = set()
    for place in (BOOK, CHAIR, BOOK):
        extract(world.store, sign("t1", "book", place, split="test"))
        versions.add(evaluate(world.store, "signet", split="test")[0].provenance.clips_version)
    assert len(versions) == 2


def test_an_unfinished_corpus_is_named_in_a_caveat(world: "World", card: ModelCard, sign: Any) -> None:
    extract(world.store, sign("t1", "book", BOOK, split="test"), finish=False)
    report, _ = evaluate(world.store, "signet", split="test")
    (found,) = (one for one in report.notes if one.title == "Clips from the corpus")
    assert found.caution
    assert "no extraction of it has ended" in found.text


def test_clips_of_another_extractor_are_never_mixed_in(world: "World", card: ModelCard, sign: Any) -> None:
    clip = sign("t1", "book", BOOK, split="test")
    other = Landmarks(
        clip.landmarks,
        clip.presence,
        clip.visibility,
        clip.timestamps,
        clip.record.model_copy(update={"extractor": "made/2"}),
    )
    extract(world.store, other)
    with pytest.raises(Conflict, match="made by made/2, and the model was trained on landmarks made by made/1"):
        evaluate(world.store, "signet", split="test")


def test_without_clips_the_command_that_extracts_them_is_named(world: "World", card: ModelCard, sign: Any) -> None:
    with pytest.raises(InvalidInput, match=r"Corpus 'made' .* has none either.*`signet extract --split test`"):
        evaluate(world.store, "signet", split="test")
    extract(world.store, sign("t1", "unknown", BOOK, split="test"))
    with pytest.raises(InvalidInput, match="1 clips, but none of the vocabulary's glosses"):
        evaluate(world.store, "signet", split="test")


def test_the_command_evaluates_a_split_of_the_corpus(world: "World", card: ModelCard, sign: Any) -> None:
    extract(world.store, sign("t1", "book", BOOK, split="test"), sign("t2", "chair", CHAIR, split="test"))
    ended = CliRunner().invoke(app, ["evaluate", "--split", "test", "--store", world.store.url])
    assert ended.exit_code == 0, ended.output
    assert "on test of corpus made" in ended.output
    assert "2 of 2" in ended.output


@pytest.mark.parametrize("former", ["supplement", "auxiliary"])
def test_clips_of_training_splits_of_earlier_versions_do_not_count_as_unseen(
    world: "World", sign: Any, former: str
) -> None:
    taught = sign("s1", "book", BOOK, split=former, signer="teacher", source="video")
    world.publish(world.snapshot([*world.everyday_clips(), taught]))
    extract(
        world.store,
        sign("t1", "book", BOOK, split="test", signer="teacher", source="video"),
        sign("t2", "chair", CHAIR, split="test", signer="teacher"),
    )
    report, _ = evaluate(world.store, "signet", split="test")
    assert [clip.clip_id for clip in report.clips] == ["t2"]
    assert {one.clip_id: one.training_clips for one in report.left_out} == {"t1": ("s1",)}
    assert note(report, "Known signers").startswith("1 of the 1 clips is by signers")
    itself, _ = evaluate(world.store, "signet", split=former)
    assert note(itself, "Trained on this split")


def test_clips_of_other_signs_of_the_split_are_the_unknown_signs_of_a_report(
    world: "World", snapshot: Dataset, sign: Any
) -> None:
    world.publish(snapshot, vocabulary_score=VocabularyScore(temperature=2.0, weight=4.0, bias=-3.0))
    between = place_of(5, 2 * len(GLOSSES))
    extract(
        world.store,
        sign("u1", "tree", between),
        sign("u2", "river", between),
        sign("u3", "river", between),
        # Not counted: another split, a known sign, a recording of the snapshot, another extractor.
        sign("train", "tree", between, split="train"),
        sign("known", "book", BOOK),
        sign("twin", "tree", BOOK, source="9001"),
    )
    other = sign("other", "tree", between)
    extract(world.store, replace(other, record=other.record.model_copy(update={"extractor": "made/2"})), finish=False)
    report, page = evaluate(world.store, "signet")
    unknown = report.unknown_signs
    assert unknown is not None
    assert (unknown.known, unknown.unknown) == (14, 3)
    # The model is surer of each place than between two places.
    assert (unknown.auroc, unknown.low, unknown.high, unknown.false_positive_rate) == (1, 1, 1, 0)
    assert read_report(world.store, report.report_id) == report
    words = " ".join(Page(page).text.split())
    assert "each limit of the score, the share of 14 clips of the vocabulary" in words
    assert "1.000 to 1.000" in words
    shown = CliRunner().invoke(app, ["reports", report.report_id, "--store", world.store.url])
    assert "unknown signs: area under the ROC curve 1.00 (1.00–1.00)" in shown.output


def test_without_a_score_or_without_unknown_signs_a_report_has_no_figure_of_them(
    world: "World", snapshot: Dataset, sign: Any
) -> None:
    world.publish(snapshot, vocabulary_score=VocabularyScore(temperature=2.0, weight=4.0, bias=-3.0))
    report, page = evaluate(world.store, "signet")
    assert report.unknown_signs is None
    assert "Unknown signs" not in page
    assert b"unknown_signs" not in report.to_json()
    world.publish(snapshot)
    extract(world.store, sign("u1", "tree", BOOK))
    assert evaluate(world.store, "signet")[0].unknown_signs is None


@pytest.mark.parametrize("split", ["val", "test"])
def test_stray_and_damaged_clips_of_the_corpus_stop_no_evaluation(
    world: "World", snapshot: Dataset, sign: Any, split: str
) -> None:
    world.publish(snapshot, vocabulary_score=VocabularyScore(temperature=2.0, weight=4.0, bias=-3.0))
    extract(world.store, sign("t1", "book", BOOK, split=split), sign("u1", "tree", CHAIR, split=split))
    known, unknown = (landmarks.dump(sign("x", gloss, CHAIR, split=split)) for gloss in ("book", "tree"))
    for name, data in {
        "README": b"text",
        "a/b.safetensors": known,
        "copy.safetensors": known,
        "empty.safetensors": b"",
        "copy-unknown.safetensors": unknown,
    }.items():
        world.store.put(keys.clips("made") + name, data)
    for clip_id, gloss in (("half-known", "book"), ("half-unknown", "tree")):
        damaged = landmarks.dump(sign(clip_id, gloss, CHAIR, split=split))[:-100]
        world.store.put(keys.clip("made", clip_id), damaged)
    report, _ = evaluate(world.store, "signet", split=split)
    assert {clip.clip_id for clip in report.clips} >= ({"t1"} if split == "test" else {"9001"})
    assert report.top1.n == (1 if split == "test" else 14)
    assert report.unknown_signs is not None
    assert report.unknown_signs.unknown == 1


def test_a_corpus_whose_clips_of_the_split_are_damaged_has_none(world: "World", card: ModelCard, sign: Any) -> None:
    extract(world.store)
    world.store.put(keys.clip("made", "t1"), landmarks.dump(sign("t1", "book", BOOK, split="test"))[:-100])
    with pytest.raises(InvalidInput, match="signet extract --split test"):
        evaluate(world.store, "signet", split="test")
