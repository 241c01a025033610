"""Snapshots: the same clips are the same version, and what was stored is what is read, or an error."""

import hashlib

import numpy as np
import pytest

from signet import dataset, layout
from signet.dataset import SourceClip
from signet.errors import DataLoss, NotFound
from signet.landmarks import dump, to_model_input
from signet.store import DirectoryStore, ObjectStore
from tests.conftest import MakeClip

SHA = {letter: hashlib.sha256(letter.encode()).hexdigest() for letter in "abc"}


def _source(make_clip: MakeClip, clip_id: str, gloss: str, split: str, **kwargs: object) -> SourceClip:
    clip = make_clip(clip_id, gloss, split, **kwargs)
    return SourceClip(clip, hashlib.sha256(dump(clip)).hexdigest())


@pytest.fixture
def sources(make_clip: MakeClip) -> list[SourceClip]:
    return [
        _source(make_clip, "3", "book", "val", frames=45, signer="2", source_sha256=SHA["b"]),
        _source(make_clip, "1", "drink", "train", frames=31, signer="1", source_sha256=SHA["a"]),
        _source(make_clip, "2", "book", "train", frames=60, signer="1", source_sha256=SHA["c"]),
    ]


def test_a_snapshot_holds_every_clip_under_its_own_frames(sources: list[SourceClip]) -> None:
    made = dataset.build("wlasl", sources)
    assert made.manifest.vocabulary == ("book", "drink")
    assert [clip.clip_id for clip in made.manifest.clips] == ["1", "2", "3"]
    assert [made.label(clip) for clip in made.manifest.clips] == [2, 1, 1]
    assert [clip.clip_id for clip in made.split("train")] == ["1", "2"]
    for clip in made.manifest.clips:
        (source,) = [source for source in sources if source.landmarks.record.clip_id == clip.clip_id]
        assert np.array_equal(made.clip_frames(clip), to_model_input(source.landmarks), equal_nan=True)


def test_the_version_is_the_content_whatever_the_order_or_the_name(sources: list[SourceClip]) -> None:
    version = dataset.build("wlasl", sources).manifest.version
    assert dataset.build("other", sources[::-1]).manifest.version == version


def test_any_change_of_content_is_another_version(make_clip: MakeClip, sources: list[SourceClip]) -> None:
    versions = {dataset.build("wlasl", sources).manifest.version, dataset.build("wlasl", sources[:-1]).manifest.version}
    for change in (
        {"gloss": "computer"},
        {"split": "train"},
        {"signer": "9"},
        {"slope": 0.3},
    ):
        arguments = {"gloss": "book", "split": "val", "frames": 45, "signer": "2", "source_sha256": SHA["b"]} | change
        changed = _source(make_clip, "3", **arguments)  # type: ignore[arg-type]
        versions.add(dataset.build("wlasl", [changed, *sources[1:]]).manifest.version)
    assert len(versions) == 6


def test_a_published_snapshot_is_read_back_whole(object_store: ObjectStore, sources: list[SourceClip]) -> None:
    made = dataset.build("wlasl", sources)
    dataset.publish(object_store, made)
    dataset.publish(object_store, made)
    back = dataset.load(object_store, "wlasl", made.manifest.version)
    assert back.manifest == made.manifest
    assert np.array_equal(back.frames, made.frames, equal_nan=True)


def test_a_snapshot_that_is_not_there_is_not_found(directory_store: DirectoryStore) -> None:
    with pytest.raises(NotFound, match="no dataset 'wlasl' of version '0123'"):
        dataset.load(directory_store, "wlasl", "0123")


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_damaged_frames_are_never_trained_on(
    directory_store: DirectoryStore, sources: list[SourceClip], damage: bytes | None
) -> None:
    made = dataset.build("wlasl", sources)
    dataset.publish(directory_store, made)
    key = layout.dataset_shard("wlasl", made.manifest.version)
    whole = bytearray(directory_store.get(key))
    whole[-1] ^= 1
    directory_store.put(key, bytes(whole) if damage is None else damage)
    with pytest.raises(DataLoss, match="damaged"):
        dataset.load(directory_store, "wlasl", made.manifest.version)


def test_a_damaged_manifest_is_data_loss(directory_store: DirectoryStore) -> None:
    directory_store.put(layout.dataset_manifest("wlasl", "v"), b'{"schema": "signet.dataset/1"}')
    with pytest.raises(DataLoss, match="not a dataset manifest"):
        dataset.load(directory_store, "wlasl", "v")


def test_a_snapshot_is_complete_only_with_its_manifest(
    directory_store: DirectoryStore, sources: list[SourceClip]
) -> None:
    made = dataset.build("wlasl", sources)
    dataset.publish(directory_store, made)
    directory_store.delete(layout.dataset_manifest("wlasl", made.manifest.version))
    with pytest.raises(NotFound):
        dataset.load(directory_store, "wlasl", made.manifest.version)


def test_the_audit_names_twins_leaks_and_shared_signers(make_clip: MakeClip) -> None:
    audit = dataset.build(
        "wlasl",
        [
            _source(make_clip, "1", "before", "train", signer="1", source_sha256=SHA["a"]),
            _source(make_clip, "2", "later", "val", signer="1", source_sha256=SHA["a"]),
            _source(make_clip, "3", "later", "train", signer="2", source_sha256=SHA["b"]),
            _source(make_clip, "4", "before", "train", signer="3", source_sha256=SHA["b"]),
            _source(make_clip, "5", "before", "train", signer="4", source_sha256=SHA["c"]),
        ],
    ).manifest.audit
    assert audit.identical == (("1", "2"), ("3", "4"))
    assert audit.leaking == (("1", "2"),)
    assert audit.shared_signers == 1
