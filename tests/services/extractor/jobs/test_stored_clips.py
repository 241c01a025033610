"""The stored clips of a corpus have one origin, and a conditional write is retried."""

from pathlib import Path

import numpy as np
import pytest

from services.extractor.jobs import stored_clips
from services.extractor.jobs.stored_clips import StoredClips
from services.extractor.tracking.tracks import mask_absent_parts
from signet.errors import AlreadyExists, Unavailable
from signet.landmarks import ClipRecord, Landmarks, dump
from signet.store import DirectoryStore, keys


def _clip(gloss: str = "book", extractor: str = "e/1") -> bytes:
    record = ClipRecord(clip_id="a", gloss=gloss, fps=25, width=64, height=48, frame_end=2, extractor=extractor)
    masked = mask_absent_parts(np.full((2, 75, 3), 0.5, np.float32), np.ones((2, 33), np.float32))
    return dump(Landmarks(*masked, timestamps=np.array([0, 0.04], np.float32), record=record))


class UnreliableStore(DirectoryStore):
    """A store whose first `failures` conditional writes fail."""

    failures = 0

    def create(self, key: str, data: bytes) -> str:
        if self.failures:
            self.failures -= 1
            raise Unavailable("the store cannot be reached.")
        return super().create(key, data)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UnreliableStore:
    monkeypatch.setattr(stored_clips, "_STORE_PAUSES", (0.0, 0.0))
    return UnreliableStore(tmp_path)


def test_a_clip_counts_as_stored_only_if_it_was_there_at_the_start(store: UnreliableStore) -> None:
    store.create(keys.clip("c", "a"), _clip())
    clips = StoredClips(store, "c", "e/1")
    assert clips.create("b", b"data")
    assert ("a" in clips, "b" in clips) == (True, False)


@pytest.mark.parametrize(("failures", "stored"), [(2, True), (3, False)])
def test_a_write_is_retried_once_after_each_pause(store: UnreliableStore, failures: int, stored: bool) -> None:
    clips = StoredClips(store, "c", "e/1")
    store.failures = failures
    if stored:
        assert clips.create("a", b"data")
        assert store.get(keys.clip("c", "a")) == b"data"
    else:
        with pytest.raises(Unavailable):
            clips.create("a", b"data")


def test_a_second_write_of_a_clip_must_have_the_same_bytes(store: UnreliableStore) -> None:
    clips = StoredClips(store, "c", "e/1")
    assert clips.create("a", b"data")
    assert not clips.create("a", b"data")
    with pytest.raises(AlreadyExists, match=r"c/a\.safetensors: is there already, made differently .* than 'c'"):
        clips.create("a", b"other")


def test_a_corpus_of_another_extractor_is_refused_at_once(store: UnreliableStore) -> None:
    store.create(keys.clip("c", "a"), _clip(extractor="e/2"))
    with pytest.raises(AlreadyExists, match="made by e/2, not by e/1"):
        StoredClips(store, "c", "e/1")


def test_stray_and_damaged_objects_do_not_stop_the_check_of_the_extractor(
    store: UnreliableStore, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("0README", "00/x.safetensors", ".0.safetensors"):
        store.put(keys.clips("c") + name, b"")
    store.put(keys.clip("c", "0-empty"), b"")
    store.put(keys.clip("c", "0-half"), _clip()[:100])
    store.create(keys.clip("c", "a"), _clip())
    for _ in range(2):
        assert "a" in StoredClips(store, "c", "e/1")
    assert len(caplog.records) == 5
    with pytest.raises(AlreadyExists, match="made by e/1, not by e/2"):
        StoredClips(store, "c", "e/2")


def test_the_extractor_of_every_checked_clip_is_compared(store: UnreliableStore) -> None:
    store.create(keys.clip("c", "a"), _clip())
    store.create(keys.clip("c", "b"), _clip(extractor="e/2"))
    clips = StoredClips(store, "c", "e/1")
    with pytest.raises(AlreadyExists, match=r"b\.safetensors: is there already, made by e/2"):
        clips.check_record("b")


def test_expected_fields_are_compared_and_the_record_is_returned(store: UnreliableStore) -> None:
    store.create(keys.clip("c", "a"), _clip(gloss="book"))
    clips = StoredClips(store, "c", "e/1")
    assert clips.check_record("a", gloss="book", frame_end=2).width == 64
    with pytest.raises(AlreadyExists, match="with gloss 'book', not 'drink'"):
        clips.check_record("a", frame_end=2, gloss="drink")
