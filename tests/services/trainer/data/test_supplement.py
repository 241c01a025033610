"""Clips of another corpus are learnt from, never judged by, and never show what is held out."""

from collections.abc import Iterable

import pytest

from services.trainer.config.train_config import TrainConfig
from services.trainer.data import snapshot
from services.trainer.runs.events import RunCallbacks, RunStarted
from services.trainer.runs.members import plan
from services.trainer.runs.run import new_run_id, run
from signet.datasets.snapshot import SUPPLEMENT, Dataset, load_snapshot
from signet.errors import Conflict, NotReady
from signet.landmarks import Landmarks, dump
from signet.store import DirectoryStore, keys
from tests.services.trainer.conftest import GLOSSES, Fill, moving_clip

OTHER = "hands"


@pytest.fixture
def store(directory_store: DirectoryStore, fill: Fill) -> DirectoryStore:
    fill(directory_store)
    return directory_store


def other(clip_id: str, split: str, seed: int, gloss: str = "book", **record: object) -> Landmarks:
    """A clip of the other corpus, whose extractor kept no hash of the video."""
    known = {"corpus": OTHER, "source_sha256": "", "extractor": "other", **record}
    return moving_clip(clip_id, gloss, split, seed, **known)


@pytest.fixture
def known() -> list[Landmarks]:
    """The first corpus' val clips as the other extractor saw them: their twins can be told."""
    return [
        other(f"{gloss}-{index}", "val", 500 + 10 * number + index, gloss)
        for number, gloss in enumerate(GLOSSES)
        for index in (6, 7)
    ]


def supplemented(store: DirectoryStore, clips: Iterable[Landmarks], max_glosses: int = 0) -> Dataset:
    for clip in clips:
        store.put(keys.clip(OTHER, clip.record.clip_id), dump(clip))
    return snapshot.take(store, "wlasl", max_glosses, 0, OTHER)


def added(found: Dataset) -> list[str]:
    return [clip.clip_id for clip in found.split(SUPPLEMENT)]


def test_training_clips_that_the_corpus_lacks_are_added(store: DirectoryStore, known: list[Landmarks]) -> None:
    alone = snapshot.take(store, "wlasl", 0, 0)
    found = supplemented(
        store, [*known, other("more", "train", 100), other("more-val", "val", 101), other("book-0", "train", 102)]
    )
    assert added(found) == ["more"]
    assert (len(found.split("train")), len(found.split("val"))) == (18, 6)
    assert (found.manifest.corpus, found.manifest.supplement) == ("wlasl", OTHER)
    assert found.manifest.extractor == alone.manifest.extractor
    assert found.manifest.version != alone.manifest.version
    assert load_snapshot(store, "wlasl", found.manifest.version).manifest == found.manifest
    assert not found.manifest.audit.leaking


def test_signers_and_clips_of_a_supplement_are_counted_as_learnt_from(
    store: DirectoryStore, known: list[Landmarks]
) -> None:
    alone = snapshot.take(store, "wlasl", 0, 0)
    (stranger,) = {clip.signer for clip in alone.split("train")} & {"3"}
    lacking = [clip for clip in alone.manifest.clips if clip.split == "train" and clip.signer == stranger]
    for clip in lacking:
        store.delete(keys.clip("wlasl", clip.clip_id))
    before = snapshot.take(store, "wlasl", 0, 0).manifest.audit.shared_signers
    found = supplemented(store, [*known, other("more", "train", 100, signer=stranger)])
    assert found.manifest.audit.shared_signers == before + 1

    started: list[RunStarted] = []
    told = TrainConfig(supplement=OTHER, num_epochs=1, hidden_dim=4, hand_dim=4, publish="none")
    run(store, told, new_run_id(), RunCallbacks(on_start=started.append))
    assert (started[0].train_clips, started[0].val_clips) == (18 - len(lacking) + 1, 6)


def test_a_supplement_that_grew_is_read_again(store: DirectoryStore, known: list[Landmarks]) -> None:
    first = supplemented(store, [*known, other("more", "train", 100)])
    assert added(supplemented(store, [other("and-more", "train", 104)])) == ["and-more", "more"]
    assert snapshot.take(store, "wlasl", 0, 0).manifest.version != first.manifest.version


def test_other_glosses_are_not_added(store: DirectoryStore, known: list[Landmarks]) -> None:
    clips = [*known, other("more", "train", 100), other("thirst", "train", 101, "drink")]
    assert added(supplemented(store, clips, max_glosses=1)) == ["more"]


def test_a_twin_of_a_held_out_clip_is_told_by_how_the_other_extractor_saw_both(
    store: DirectoryStore, known: list[Landmarks]
) -> None:
    twin = other("twin", "train", 506)  # as book-6
    found = supplemented(store, [*known, twin, other("more", "train", 100)])
    assert added(found) == ["more"]


def test_a_twin_of_a_held_out_clip_is_told_by_its_video(store: DirectoryStore, known: list[Landmarks]) -> None:
    (video,) = (
        clip.source_sha256 for clip in snapshot.take(store, "wlasl", 0, 0).manifest.clips if clip.clip_id == "book-6"
    )
    found = supplemented(store, [*known, other("same", "train", 100, source_sha256=video), other("more", "train", 101)])
    assert added(found) == ["more"]


def test_signers_of_held_out_clips_that_the_supplement_lacks_are_left_out(
    store: DirectoryStore, known: list[Landmarks]
) -> None:
    missing, *there = known
    (signer,) = (
        clip.signer
        for clip in snapshot.take(store, "wlasl", 0, 0).manifest.clips
        if clip.clip_id == missing.record.clip_id
    )
    found = supplemented(
        store,
        [
            *there,
            other("same-signer", "train", 100, signer=signer),
            other("nobody", "train", 101, signer=""),
            other("stranger", "train", 102, signer="somebody else"),
        ],
    )
    assert added(found) == ["stranger"]


def test_a_supplement_that_adds_nothing_is_refused(store: DirectoryStore, known: list[Landmarks]) -> None:
    with pytest.raises(NotReady, match="--supplement hands adds no training clip of the 3 glosses"):
        supplemented(store, known)


def test_a_supplement_of_two_extractors_is_refused(store: DirectoryStore, known: list[Landmarks]) -> None:
    clips = [*known, other("one", "train", 100), other("two", "train", 101, extractor="a third")]
    with pytest.raises(Conflict, match="'hands' were made by different extractors"):
        supplemented(store, clips)


def test_in_cross_validation_a_fold_learns_nothing_of_its_signers_and_their_twins(
    store: DirectoryStore, known: list[Landmarks]
) -> None:
    further = [other(f"more-{signer}", "train", 200 + signer, signer=str(signer)) for signer in range(4)]
    # Training clip book-0 and `twin` show the same recording, by whatever name the archive calls its signer.
    seen = other("book-0", "train", 300)
    twin = other("twin", "train", 300, signer="somebody else")
    unsigned = other("unsigned", "train", 301, signer="")
    found = supplemented(store, [*known, *further, seen, twin, unsigned])
    assert added(found) == ["more-0", "more-1", "more-2", "more-3", "twin", "unsigned"]

    members = plan(found, TrainConfig(folds=2))
    assert sorted(clip.clip_id for member in members for clip in member.held_out) == sorted(
        clip.clip_id for clip in found.manifest.clips if clip.split != SUPPLEMENT
    )
    for member in members:
        learnt = {clip.clip_id for clip in member.train if clip.split == SUPPLEMENT}
        signers = {clip.signer for clip in member.held_out}
        expected = {f"more-{signer}" for signer in range(4) if str(signer) not in signers}
        if "book-0" not in {clip.clip_id for clip in member.held_out}:
            expected.add("twin")
        assert learnt == expected
    (member,) = plan(found, TrainConfig())
    assert len(member.train) == 18 + 6
    assert {clip.split for clip in member.held_out} == {"val"}
