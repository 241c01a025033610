"""When a corpus is complete: after one extraction, or after the last of its shards."""

import json
from pathlib import Path

import pytest

from signet.datasets.corpus import Shard, finish_extraction, read_clip_record, read_manifest
from signet.errors import DataLoss, InvalidInput
from signet.landmarks import dump
from signet.store import DirectoryStore, ObjectStore, keys
from tests.conftest import MakeClip


def put_clips(store: ObjectStore, *clip_ids: str) -> None:
    for clip_id in clip_ids:
        store.create(keys.clip("wlasl", clip_id), b"landmarks")


def test_a_finished_extraction_says_which_clips_the_corpus_holds(object_store: ObjectStore) -> None:
    assert read_manifest(object_store, "wlasl") is None
    put_clips(object_store, "b", "a")
    first = finish_extraction(object_store, "wlasl", "mediapipe", Shard(), "chosen")
    assert first == read_manifest(object_store, "wlasl")
    assert first is not None
    assert first.clips == ("a", "b")

    assert finish_extraction(object_store, "wlasl", "mediapipe", Shard(), "chosen") == first, "the same is the same"
    put_clips(object_store, "c")
    more = finish_extraction(object_store, "wlasl", "mediapipe", Shard(), "chosen")
    assert more is not None
    assert more.clips == ("a", "b", "c")
    assert more.version != first.version
    assert read_manifest(object_store, "other") is None


def test_the_last_finished_shard_completes_the_corpus(object_store: ObjectStore) -> None:
    for index in (2, 0, 0):  # one that is done again is not two
        if index:
            put_clips(object_store, f"clip-{index}")
        assert finish_extraction(object_store, "wlasl", "mediapipe", Shard(index, 3), "chosen") is None
    # Shards of other selections, or of another number of machines, do not count.
    assert finish_extraction(object_store, "wlasl", "mediapipe", Shard(1, 3), "others") is None
    assert finish_extraction(object_store, "wlasl", "mediapipe", Shard(1, 4), "chosen") is None
    assert read_manifest(object_store, "wlasl") is None
    manifest = finish_extraction(object_store, "wlasl", "mediapipe", Shard(1, 3), "chosen")
    assert manifest is not None
    assert manifest.clips == ("clip-2",)
    # Extracted once more from the start: what the shards of the last time noted counts no longer.
    assert finish_extraction(object_store, "wlasl", "mediapipe", Shard(0, 3), "chosen") is None


@pytest.mark.parametrize("text", ["", "1", "4/4", "-1/4", "1/0", "a/b", "1/2/3"])
def test_a_shard_that_does_not_exist_is_named(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"[wW]rite i/n"):
        Shard.parse(text)
    assert Shard.parse("3/4") == Shard(3, 4)


def test_a_damaged_manifest_is_named(object_store: ObjectStore) -> None:
    object_store.put(keys.corpus_manifest("wlasl"), b"<html>")
    with pytest.raises(DataLoss, match=r"corpora/wlasl/manifest\.json"):
        read_manifest(object_store, "wlasl")


def test_a_corpus_manifest_of_an_older_version_is_read() -> None:
    found = read_manifest(DirectoryStore(Path(__file__).parents[1] / "golden" / "2-beam-search"), "wlasl")
    assert found is not None
    assert (found.schema_version, found.corpus, found.version) == ("signet.corpus/1", "wlasl", "d6f634eaae674ab6")
    assert (found.extractor, found.clips) == ("holistic-legacy/1", ("1", "2", "3"))


def test_stray_objects_are_no_clips_and_no_notes(object_store: ObjectStore) -> None:
    put_clips(object_store, "a")
    for name in ("README", "b c.safetensors", "d/e.safetensors"):
        object_store.put(keys.clips("wlasl") + name, b"")
    for name in ("x-of-3", "1-of-3.json.bak", "a/1-of-3", "3-of-3", "01-of-3", "README"):
        object_store.put(f"{keys.corpus_shards('wlasl', 'chosen')}{name}.json", b"{}")
    assert finish_extraction(object_store, "wlasl", "mediapipe", Shard(0, 3), "chosen") is None
    assert finish_extraction(object_store, "wlasl", "mediapipe", Shard(1, 3), "chosen") is None
    manifest = finish_extraction(object_store, "wlasl", "mediapipe", Shard(2, 3), "chosen")
    assert manifest is not None
    assert manifest.clips == ("a",)


def test_a_clip_whose_gloss_forges_a_line_of_a_log_is_left_out_with_one_line(
    directory_store: DirectoryStore, make_clip: MakeClip, caplog: pytest.LogCaptureFixture
) -> None:
    # The record is JSON in JSON: these twelve characters become one line feed.
    forged = dump(make_clip("1", gloss="bookXXXXXXXX")).replace(b"bookXXXXXXXX", b"bo\\\\u000Aok!")
    key = keys.clip("forged", "1")
    directory_store.put(key, forged)
    with caplog.at_level("WARNING"):
        assert read_clip_record(directory_store, key) is None
    (record,) = caplog.records
    assert f"{key} is skipped" in record.getMessage()
    assert "gloss: character 3 is U+000A" in record.getMessage()
    assert record.getMessage().isprintable()


def test_a_corpus_manifest_with_control_characters_is_refused(directory_store: DirectoryStore) -> None:
    manifest = {"corpus": "forged", "version": "1", "extractor": "a\x1b[2J", "clips": ["1"]}
    directory_store.put(keys.corpus_manifest("forged"), json.dumps(manifest).encode())
    with pytest.raises(DataLoss, match=r"extractor: character 2 is U\+001B"):
        read_manifest(directory_store, "forged")
