"""Which clips a run trains on."""

import pytest

from services.trainer import snapshot
from signet import dataset, layout
from signet.errors import Conflict, NotReady
from signet.landmarks import Landmarks, dump
from signet.store import DirectoryStore, ObjectStore
from tests.services.trainer.conftest import Fill, moving_clip


def test_a_snapshot_is_stored_and_the_same_clips_are_the_same_version(object_store: ObjectStore, fill: Fill) -> None:
    first = snapshot.take(fill(object_store), "wlasl", 0, 0)
    again = snapshot.take(object_store, "wlasl", 0, 0)
    stored = dataset.load(object_store, "wlasl", first.manifest.version)
    assert first.manifest == again.manifest == stored.manifest
    assert (len(first.split("train")), len(first.split("val"))) == (18, 6)


def test_the_best_supplied_glosses_are_taken_and_ties_go_by_name(clips: list[Landmarks]) -> None:
    records = [clip.record for clip in clips] + [moving_clip("more", "who", "train", 99).record]
    assert {record.gloss for record in snapshot.choose(records, 1, 0)} == {"who"}
    assert {record.gloss for record in snapshot.choose(records, 2, 0)} == {"who", "book"}


def test_samples_per_gloss_limits_training_clips_only(clips: list[Landmarks]) -> None:
    chosen = snapshot.choose([clip.record for clip in clips], 0, 4)
    assert sum(record.split == "train" for record in chosen) == 12
    assert sum(record.split == "val" for record in chosen) == 6


def test_a_training_twin_of_a_val_clip_is_left_out(clips: list[Landmarks]) -> None:
    records = [clip.record for clip in clips]
    twin = records[0].model_copy(update={"clip_id": "twin", "split": "val"})
    chosen = {record.clip_id for record in snapshot.choose([*records, twin], 0, 0)}
    assert records[0].clip_id not in chosen
    assert "twin" in chosen


def test_a_gloss_without_training_clips_is_left_out(clips: list[Landmarks]) -> None:
    only_val = moving_clip("v", "book", "val", 77).record.model_copy(update={"gloss": "unseen"})
    assert "unseen" not in {
        record.gloss for record in snapshot.choose([*[clip.record for clip in clips], only_val], 0, 0)
    }


def test_an_empty_corpus_says_to_extract_first(directory_store: DirectoryStore) -> None:
    with pytest.raises(NotReady, match="signet extract"):
        snapshot.take(directory_store, "wlasl", 20, 0)


def test_clips_of_different_extractors_are_never_mixed(directory_store: DirectoryStore, fill: Fill) -> None:
    fill(directory_store)
    other = moving_clip("other", "book", "train", 55, extractor="another")
    directory_store.create(layout.clip("wlasl", "other"), dump(other))
    with pytest.raises(Conflict, match="another, test"):
        snapshot.take(directory_store, "wlasl", 0, 0)
