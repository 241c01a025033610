"""A second scan reads neither records nor files again, and an old or damaged cache never gives a wrong answer."""

import hashlib
import os
from pathlib import Path

import pytest

from services.extractor.jobs import scan_cache
from services.extractor.jobs.scan_cache import FileHashes, RecordCache
from services.extractor.jobs.stored_clips import StoredClips
from signet.errors import AlreadyExists, ClipError
from signet.landmarks import ClipRecord, dump
from signet.store import ObjectInfo, ObjectStore, keys
from signet.store.cache import Cache
from tests.conftest import MakeClip

RECORD = ClipRecord(clip_id="a", gloss="book", fps=25, width=64, height=48, frame_end=2, extractor="e/1")
INFO = ObjectInfo("landmarks/v1/c/a.safetensors", 100, "etag-1")


def _old(path: Path, data: bytes) -> Path:
    """A file that has not changed for an hour, as far as its times of modification tell."""
    path.write_bytes(data)
    os.utime(path, (1e9, 1e9))
    return path


def test_a_record_is_found_for_the_same_content_only(directory_store: ObjectStore) -> None:
    records = RecordCache(directory_store, "c")
    records.add(INFO, RECORD)
    records.save()
    saved = RecordCache(directory_store, "c")
    assert saved.find(INFO) == RECORD
    for other in (ObjectInfo(INFO.key, 100, "etag-2"), ObjectInfo(INFO.key, 101, "etag-1"), ObjectInfo("x", 100, "")):
        assert saved.find(other) is None
    assert RecordCache(directory_store, "other").find(INFO) is None


def test_a_record_without_an_etag_is_not_kept(directory_store: ObjectStore) -> None:
    records = RecordCache(directory_store, "c")
    records.add(ObjectInfo(INFO.key, 100, ""), RECORD)
    assert records.find(ObjectInfo(INFO.key, 100, "")) is None


@pytest.mark.parametrize("damage", [b"", b"no checksum", b"\xff\xfe", b"0" * 64 + b'\n{"a": 1}'])
def test_a_damaged_table_counts_as_empty(directory_store: ObjectStore, tmp_path: Path, damage: bytes) -> None:
    records = RecordCache(directory_store, "c")
    records.add(INFO, RECORD)
    records.save()
    (note,) = (tmp_path / "store/.signet-cache/notes").iterdir()
    note.write_bytes(damage or note.read_bytes()[:-10])
    assert RecordCache(directory_store, "c").find(INFO) is None


def test_saves_of_several_processes_are_joined(directory_store: ObjectStore) -> None:
    first, second = RecordCache(directory_store, "c"), RecordCache(directory_store, "c")
    first.add(INFO, RECORD)
    other = ObjectInfo("b", 7, "x")
    second.add(other, RECORD)
    first.save()
    second.save()
    joined = RecordCache(directory_store, "c")
    assert joined.find(INFO) == joined.find(other) == RECORD


def test_a_file_is_read_again_only_if_it_may_have_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_cache, "_SETTLED_NS", 0)
    path, cache = _old(tmp_path / "1.mp4", b"one"), Cache(tmp_path / "cache")
    reads: list[Path] = []

    def read(file: Path) -> str:
        reads.append(file)
        return hashlib.sha256(file.read_bytes()).hexdigest()

    monkeypatch.setattr(scan_cache, "hash_file", read)
    hashes = FileHashes(cache, tmp_path)
    for _ in range(2):
        assert hashes.sha256(path) == hashlib.sha256(b"one").hexdigest()
    hashes.save()
    assert FileHashes(cache, tmp_path).sha256(path) == hashlib.sha256(b"one").hexdigest()
    assert len(reads) == 1
    # The same size and the same time of modification: the time of the last change of the inode still differs.
    _old(path, b"two")
    assert FileHashes(cache, tmp_path).sha256(path) == hashlib.sha256(b"two").hexdigest()
    replacement = _old(tmp_path / "2.mp4", b"new")
    replacement.replace(path)
    assert FileHashes(cache, tmp_path).sha256(path) == hashlib.sha256(b"new").hexdigest()
    assert len(reads) == 3


def test_the_hash_of_a_file_that_has_just_changed_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _old(tmp_path / "1.mp4", b"one")
    hashes = FileHashes(Cache(tmp_path / "cache"), tmp_path)
    assert hashes.sha256(path)
    assert hashes.get(str(path)) is None


def test_a_missing_file_is_unreadable_also_if_its_hash_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_cache, "_SETTLED_NS", 0)
    path = _old(tmp_path / "1.mp4", b"one")
    hashes = FileHashes(Cache(None), tmp_path)
    assert hashes.sha256(path)
    path.unlink()
    with pytest.raises(ClipError, match=r"1\.mp4: cannot be read"):
        hashes.sha256(path)


def test_stored_clips_are_compared_with_what_the_store_has_now(
    object_store: ObjectStore, make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(object_store, "cache", Cache(tmp_path / "cache"))
    extractor = make_clip().record.extractor
    writer = StoredClips(object_store, "c", extractor)
    for clip_id in ("a", "b"):
        assert writer.create(clip_id, dump(make_clip(clip_id, "book")))
    writer.save_records()
    heads: list[str] = []
    read = object_store.get_head_versioned

    def read_head(key: str, length: int) -> tuple[bytes, str]:
        heads.append(key)
        return read(key, length)

    monkeypatch.setattr(object_store, "get_head_versioned", read_head)
    known = StoredClips(object_store, "c", extractor)
    assert known.check_record("b", gloss="book").clip_id == "b"
    assert heads == [keys.clip("c", "a")], "the first record proves who made the corpus, the others are known"
    object_store.put(keys.clip("c", "b"), dump(make_clip("b", "drink")))
    with pytest.raises(AlreadyExists, match="with gloss 'drink', not 'book'"):
        StoredClips(object_store, "c", extractor).check_record("b", gloss="book")
