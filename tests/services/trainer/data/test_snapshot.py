"""Which clips of a corpus a snapshot has, and when it is made again."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from services.trainer.data import snapshot
from services.trainer.data.snapshot import SelectionLimits, rank_by_clip_count
from signet.datasets import snapshot as dataset_snapshot
from signet.datasets.corpus import Shard, finish_extraction
from signet.datasets.snapshot import load_snapshot
from signet.errors import Conflict, NotReady
from signet.landmarks import ClipRecord, Landmarks, dump, load
from signet.store import DirectoryStore, ObjectInfo, ObjectStore, keys
from tests.services.trainer.conftest import Fill, moving_clip
from tests.signet.datasets import golden_corpus


def test_a_snapshot_is_stored_and_the_same_clips_are_the_same_version(object_store: ObjectStore, fill: Fill) -> None:
    first = snapshot.load_or_create_snapshot(fill(object_store), "wlasl", 0, 0)
    again = snapshot.load_or_create_snapshot(object_store, "wlasl", 0, 0)
    stored = load_snapshot(object_store, "wlasl", first.manifest.version)
    assert first.manifest == again.manifest == stored.manifest
    assert (len(first.split("train")), len(first.split("val"))) == (18, 6)


def test_glosses_with_more_clips_come_first_and_equals_by_name() -> None:
    counts = {"zebra": 2, "who": 2, "book": 3, "drink": 2, "apple": 1}
    assert rank_by_clip_count(counts) == ["book", "drink", "who", "zebra", "apple"]


class Watched(DirectoryStore):
    """Remembers which objects were read, whole or in part."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.read: list[str] = []

    def get(self, key: str) -> bytes:
        self.read.append(key)
        return super().get(key)

    def get_head(self, key: str, length: int) -> bytes:
        self.read.append(key)
        return super().get_head(key, length)

    def clips_read(self) -> int:
        """How many reads of clips there were since this was last asked."""
        count = sum(key.startswith("landmarks/") for key in self.read)
        self.read.clear()
        return count


@pytest.fixture
def watched(directory_store: DirectoryStore, fill: Fill) -> Watched:
    fill(directory_store)
    return Watched(directory_store.root)


def test_the_same_corpus_is_not_read_twice(watched: Watched) -> None:
    first = snapshot.load_or_create_snapshot(watched, "wlasl", 0, 0)
    assert watched.clips_read() == 24
    again = snapshot.load_or_create_snapshot(watched, "wlasl", 0, 0)
    assert watched.clips_read() == 0
    assert again.manifest == first.manifest
    assert np.array_equal(again.frames, first.frames, equal_nan=True)


def test_only_the_selected_clips_are_read_whole(watched: Watched) -> None:
    taken = snapshot.load_or_create_snapshot(watched, "wlasl", 1, 2)
    assert watched.clips_read() == 24 + len(taken.manifest.clips) == 24 + 4
    assert len(snapshot.load_or_create_snapshot(watched, "wlasl", 2, 2).manifest.clips) == 8
    assert watched.clips_read() == 24 + 8
    assert len(snapshot.load_or_create_snapshot(watched, "wlasl", 1, 2).manifest.clips) == 4
    assert watched.clips_read() == 0


def test_a_corpus_that_changed_is_read_again(watched: Watched) -> None:
    first = snapshot.load_or_create_snapshot(watched, "wlasl", 0, 0)
    more = moving_clip("more", "who", "train", 99)
    watched.create(keys.clip("wlasl", "more"), dump(more))
    grown = snapshot.load_or_create_snapshot(watched, "wlasl", 0, 0)
    assert len(grown.manifest.clips) == len(first.manifest.clips) + 1
    other = moving_clip("more", "who", "train", 98)
    watched.put(keys.clip("wlasl", "more"), dump(other))
    assert snapshot.load_or_create_snapshot(watched, "wlasl", 0, 0).manifest.version not in {
        first.manifest.version,
        grown.manifest.version,
    }
    watched.delete(keys.clip("wlasl", "more"))
    assert snapshot.load_or_create_snapshot(watched, "wlasl", 0, 0).manifest.version == first.manifest.version


@pytest.mark.parametrize("lost", [keys.dataset_manifest, keys.dataset_shard])
@pytest.mark.parametrize("damage", [None, b"", b"garbage"])
def test_a_snapshot_that_was_lost_or_damaged_is_made_again(
    watched: Watched, lost: Callable[[str, str], str], damage: bytes | None
) -> None:
    first = snapshot.load_or_create_snapshot(watched, "wlasl", 0, 0)
    key = lost("wlasl", first.manifest.version)
    if damage is None:
        watched.delete(key)
    else:
        watched.put(key, damage)
    again = snapshot.load_or_create_snapshot(watched, "wlasl", 0, 0)
    assert again.manifest == first.manifest
    back = load_snapshot(watched, "wlasl", first.manifest.version)
    assert np.array_equal(back.frames, first.frames, equal_nan=True)


@pytest.mark.parametrize("note", ["", "garbage", "../../outside", "0" * 16])
def test_a_note_that_is_wrong_costs_time_and_nothing_else(watched: Watched, note: str) -> None:
    first = snapshot.load_or_create_snapshot(watched, "wlasl", 0, 0)
    for path in (watched.root / ".signet-cache/notes").iterdir():
        path.write_text(note)
    assert snapshot.load_or_create_snapshot(watched, "wlasl", 0, 0).manifest == first.manifest


def test_the_glosses_with_the_most_clips_are_taken_and_ties_go_by_name(clips: list[Landmarks]) -> None:
    records = [clip.record for clip in clips] + [moving_clip("more", "who", "train", 99).record]
    assert {record.gloss for record in snapshot.select_clips(records, SelectionLimits(1, 0))} == {"who"}
    assert {record.gloss for record in snapshot.select_clips(records, SelectionLimits(2, 0))} == {"who", "book"}


def test_samples_per_gloss_limits_training_clips_only(clips: list[Landmarks]) -> None:
    chosen = snapshot.select_clips([clip.record for clip in clips], SelectionLimits(0, 4))
    assert sum(record.split == "train" for record in chosen) == 12
    assert sum(record.split == "val" for record in chosen) == 6


def test_a_training_clip_with_the_video_of_a_val_clip_is_left_out(clips: list[Landmarks]) -> None:
    records = [clip.record for clip in clips]
    duplicate = records[0].model_copy(update={"clip_id": "duplicate", "split": "val"})
    chosen = {record.clip_id for record in snapshot.select_clips([*records, duplicate], SelectionLimits(0, 0))}
    assert records[0].clip_id not in chosen
    assert "duplicate" in chosen


def test_training_clips_that_show_a_held_out_recording_in_another_file_are_left_out(
    directory_store: DirectoryStore, fill: Fill
) -> None:
    fill(directory_store)
    first = snapshot.load_or_create_snapshot(directory_store, "wlasl", 0, 0)
    # The recording of a val clip under another name, by another signer, with another file's hash, and under a gloss of
    # its own as well.
    again = moving_clip("again", "drink", "train", 16, source_sha256="a" * 64, signer="99")
    other = moving_clip("other", "drink", "train", 16, source_sha256="b" * 64, signer="99")
    other = replace(other, record=other.record.model_copy(update={"gloss": "sip"}))
    for clip in (again, other):
        directory_store.create(keys.clip("wlasl", clip.record.clip_id), dump(clip))
    taken = snapshot.load_or_create_snapshot(directory_store, "wlasl", 0, 0)
    assert [clip.clip_id for clip in taken.manifest.clips] == [clip.clip_id for clip in first.manifest.clips]
    assert taken.manifest.vocabulary == first.manifest.vocabulary, "a gloss without another training clip is left out"
    assert taken.manifest.audit.leaking == ()


def test_a_gloss_without_training_clips_is_left_out(clips: list[Landmarks]) -> None:
    only_val = moving_clip("v", "book", "val", 77).record.model_copy(update={"gloss": "unseen"})
    records = [*[clip.record for clip in clips], only_val]
    assert "unseen" not in {record.gloss for record in snapshot.select_clips(records, SelectionLimits(0, 0))}


def test_an_empty_corpus_says_to_extract_first(directory_store: DirectoryStore) -> None:
    with pytest.raises(NotReady, match="signet extract"):
        snapshot.load_or_create_snapshot(directory_store, "wlasl", 20, 0)


def test_clips_of_different_extractors_are_never_mixed(directory_store: DirectoryStore, fill: Fill) -> None:
    fill(directory_store)
    other = moving_clip("other", "book", "train", 55, extractor="another")
    directory_store.create(keys.clip("wlasl", "other"), dump(other))
    with pytest.raises(Conflict, match="another, test"):
        snapshot.load_or_create_snapshot(directory_store, "wlasl", 0, 0)


def test_which_clips_are_selected_does_not_change_without_a_new_version(directory_store: DirectoryStore) -> None:
    golden = json.loads(golden_corpus.selection_file().read_text())
    assert golden_corpus.describe_selections(directory_store) == golden, (
        "raise SELECTION_VERSION, and run `python -m tests.signet.datasets.golden_corpus`"
    )


@pytest.mark.parametrize(
    ("module", "version"),
    [(snapshot, "SELECTION_VERSION"), (dataset_snapshot, "ASSEMBLY_VERSION")],
    ids=["choice", "assembly"],
)
def test_a_snapshot_that_was_made_by_other_rules_is_made_again(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, module: ModuleType, version: str
) -> None:
    snapshot.load_or_create_snapshot(watched, "wlasl", 0, 0)
    watched.clips_read()
    monkeypatch.setattr(module, version, getattr(module, version) + 1)
    snapshot.load_or_create_snapshot(watched, "wlasl", 0, 0)
    assert watched.clips_read() == 24


def test_a_clip_that_is_replaced_by_one_of_the_same_size_is_read_again(watched: Watched) -> None:
    key = keys.clip("wlasl", "book-0")
    data = watched.get(key)
    first = snapshot.load_or_create_snapshot(watched, "wlasl", 0, 0)
    clip = load(data, key)
    other = dump(replace(clip, landmarks=clip.landmarks + np.float16(0.01)))
    assert len(other) == len(data)
    watched.put(key, other)
    assert snapshot.load_or_create_snapshot(watched, "wlasl", 0, 0).manifest.version != first.manifest.version


def test_the_cache_key_names_all_that_decides_a_snapshot(directory_store: DirectoryStore, tmp_path: Path) -> None:
    info = ObjectInfo("landmarks/v1/wlasl/a", 10, "etag")
    other_store = DirectoryStore(tmp_path / "other")
    cache_keys = [
        snapshot._snapshot_cache_key(store, stored, choice)
        for store, stored, choice in (
            (directory_store, [info], SelectionLimits(3, 2)),
            (other_store, [info], SelectionLimits(3, 2)),
            (directory_store, [replace(info, key="landmarks/v1/wlasl/b")], SelectionLimits(3, 2)),
            (directory_store, [replace(info, size=11)], SelectionLimits(3, 2)),
            (directory_store, [replace(info, etag="another")], SelectionLimits(3, 2)),
            (directory_store, [info, info], SelectionLimits(3, 2)),
            (directory_store, [info], SelectionLimits(2, 3)),
            (directory_store, [info], SelectionLimits(3, 0)),
        )
    ]
    assert len(set(cache_keys)) == len(cache_keys)
    assert cache_keys[0] == snapshot._snapshot_cache_key(directory_store, [info], SelectionLimits(3, 2))


def record_of(clip_id: str, gloss: str, split: str = "train", video: str = "") -> ClipRecord:
    clip = moving_clip(clip_id, "book", split, 0, source_sha256=video)
    return clip.record.model_copy(update={"gloss": gloss})


def selected(
    records: Sequence[ClipRecord], glosses: int = 0, samples: int = 0, leaking: Sequence[str] = ()
) -> list[str]:
    limits = SelectionLimits(glosses, samples)
    return [record.clip_id for record in snapshot.select_clips(records, limits, frozenset(leaking))]


def test_the_first_clips_of_a_gloss_by_id_are_selected_and_a_leaking_clip_does_not_count() -> None:
    records = [record_of(f"b{index}", "book") for index in (3, 1, 0, 2)] + [record_of("v", "book", "val")]
    assert selected(records, samples=2) == ["b0", "b1", "v"]
    assert selected(records, samples=4) == ["b0", "b1", "b2", "b3", "v"]
    assert selected(records, samples=2, leaking=["b0"]) == ["b1", "b2", "v"]
    assert selected(records, samples=2, leaking=["v"]) == ["b0", "b1", "v"], "a held-out clip is never left out"


def test_glosses_are_ranked_by_all_their_labelled_clips() -> None:
    """Held-out clips count, and so do training clips that are left out because they leak."""
    records = [
        *[record_of(f"apple-{index}", "apple") for index in range(3)],
        *[record_of(f"who-{index}", "who", split) for index, split in enumerate(("train", "val", "val", "test"))],
        *[record_of(f"book-{index}", "book") for index in range(5)],
        *[record_of(f"none-{index}", "") for index in range(9)],
    ]
    assert {name.partition("-")[0] for name in selected(records, glosses=1)} == {"book"}
    assert {name.partition("-")[0] for name in selected(records, glosses=2)} == {"book", "who"}
    leaking = [f"book-{index}" for index in range(4)]
    assert selected(records, glosses=1, leaking=leaking) == ["book-4"]
    assert {name.partition("-")[0] for name in selected(records)} == {"apple", "book", "who"}


def test_a_gloss_whose_training_clips_all_leak_is_left_out_and_named(caplog: pytest.LogCaptureFixture) -> None:
    records = [record_of("b0", "book"), record_of("b1", "book", "val"), record_of("w0", "who")]
    assert selected(records, leaking=["b0"]) == ["w0"]
    assert caplog.messages[-1] == "left out, because all of their training clips show a held-out recording: book"


def test_clips_without_a_video_hash_are_not_taken_for_the_same_video() -> None:
    records = [record_of("b0", "book"), record_of("b1", "book", "val"), record_of("b2", "book", "test", "f" * 64)]
    assert selected(records) == ["b0", "b1", "b2"]
    assert selected([*records, record_of("b3", "book", "train", "f" * 64)]) == ["b0", "b1", "b2"]


@pytest.mark.timeout(120)
def test_a_clip_that_replaces_a_leaking_one_may_leak_itself(directory_store: DirectoryStore, fill: Fill) -> None:
    """The val clips 6 and 7 of "book" are stored again as training clips that sort first."""
    fill(directory_store)
    for index in (6, 7):
        again = moving_clip(f"a{index}", "book", "train", index, source_sha256=f"{index}" * 64, signer="99")
        directory_store.create(keys.clip("wlasl", again.record.clip_id), dump(again))
    manifest = snapshot.load_or_create_snapshot(directory_store, "wlasl", 1, 1).manifest
    assert [clip.clip_id for clip in manifest.clips] == ["book-0", "book-6", "book-7"]
    assert {("a6", "book-6"), ("a7", "book-7")} <= set(manifest.audit.all_duplicates)


def test_clips_are_read_in_batches_and_keep_their_order(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    first = snapshot.load_or_create_snapshot(watched, "wlasl", 0, 0)
    assert watched.clips_read() == 24
    monkeypatch.setattr(snapshot, "_BATCH", 5)
    monkeypatch.setattr(snapshot, "SELECTION_VERSION", 0)
    for limits, reads in ((0, 0), 24), ((3, 0), 48):
        again = snapshot.load_or_create_snapshot(watched, "wlasl", *limits)
        assert again.manifest == first.manifest
        assert np.array_equal(again.frames, first.frames, equal_nan=True)
        assert watched.clips_read() == reads


@pytest.mark.parametrize("samples_per_gloss", [0, 3])
def test_stray_and_damaged_objects_of_a_corpus_are_skipped_and_logged_once(
    object_store: ObjectStore,
    fill: Fill,
    clips: list[Landmarks],
    samples_per_gloss: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The snapshot is that of the corpus without them, and another clip takes the place of a damaged one."""
    fill(object_store)
    expected = snapshot.load_or_create_snapshot(object_store, "wlasl", 0, samples_per_gloss).manifest
    whole = dump(clips[0])
    stray = {
        "README": b"text",
        "folder/x.safetensors": whole,
        "a b.safetensors": whole,
        "aaa-copy.safetensors": whole,
        "aaa-empty.safetensors": b"",
        "aaa-text.safetensors": b"text" * 100,
        "aaa-half.safetensors": dump(moving_clip("aaa-half", "book", "train", 777))[:-1000],
        "aaa-escape.safetensors": dump(moving_clip("aaa-escape", "book", "train", 778, corpus="../../x")),
    }
    for name, data in stray.items():
        object_store.put(keys.clips("wlasl") + name, data)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            made = snapshot.load_or_create_snapshot(object_store, "wlasl", 0, samples_per_gloss)
            assert made.manifest == expected
    assert sorted(record.getMessage().partition(" is skipped")[0] for record in caplog.records) == sorted(
        f"{object_store.url}/{keys.clips('wlasl')}{name}" for name in stray
    )


def test_a_clip_of_a_terabyte_is_not_read(directory_store: DirectoryStore, fill: Fill) -> None:
    fill(directory_store)
    expected = snapshot.load_or_create_snapshot(directory_store, "wlasl", 0, 0).manifest
    with (directory_store.root / keys.clip("wlasl", "huge")).open("wb") as file:
        file.truncate(1 << 40)
    assert snapshot.load_or_create_snapshot(directory_store, "wlasl", 0, 0).manifest == expected


@pytest.mark.parametrize("samples_per_gloss", [0, 3])
def test_a_corpus_of_damaged_clips_only_says_to_extract(
    directory_store: DirectoryStore, samples_per_gloss: int
) -> None:
    for name in ("a", "b"):
        directory_store.put(keys.clip("wlasl", name), b"")
    finish_extraction(directory_store, "videos", "test", Shard(), "s")
    with pytest.raises(NotReady, match=r"none of them is a labelled training clip.*other corpora: --corpus videos\.$"):
        snapshot.load_or_create_snapshot(directory_store, "wlasl", 0, samples_per_gloss)
