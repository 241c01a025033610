"""Snapshots: the same clips give the same version, and a stored snapshot is read unchanged or is an error."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import safetensors.numpy

from signet.datasets import snapshot as dataset_snapshot
from signet.datasets.snapshot import (
    Audit,
    Dataset,
    assemble_snapshot,
    load_snapshot,
    publish_snapshot,
    sample_stored_clip,
)
from signet.errors import DataLoss, NotFound
from signet.landmarks import Landmarks, dump, to_model_input, to_subframe_samples
from signet.store import DirectoryStore, ObjectStore, keys
from tests.conftest import MakeClip
from tests.signet.datasets import golden_corpus

SHA = {letter: hashlib.sha256(letter.encode()).hexdigest() for letter in "abc"}


def _clip(make_clip: MakeClip, clip_id: str, gloss: str, split: str, **kwargs: object) -> Landmarks:
    return make_clip(clip_id, gloss, split, **kwargs)


def _snapshot(name: str, clips: Iterable[Landmarks]) -> Dataset:
    return assemble_snapshot(name, [sample_stored_clip(dump(clip), clip.record.clip_id) for clip in clips])


@pytest.fixture
def sources(make_clip: MakeClip) -> list[Landmarks]:
    return [
        _clip(make_clip, "3", "book", "val", frames=45, signer="2", source_sha256=SHA["b"]),
        _clip(make_clip, "1", "drink", "train", frames=31, signer="1", source_sha256=SHA["a"]),
        _clip(make_clip, "2", "book", "train", frames=60, signer="1", source_sha256=SHA["c"]),
    ]


def test_a_snapshot_holds_every_clip_under_its_own_frames(sources: list[Landmarks]) -> None:
    made = _snapshot("wlasl", sources)
    assert made.manifest.vocabulary == ("book", "drink")
    assert not made.manifest.sampling_difference
    assert [clip.clip_id for clip in made.manifest.clips] == ["1", "2", "3"]
    assert [made.label(clip) for clip in made.manifest.clips] == [2, 1, 1]
    assert [clip.clip_id for clip in made.split("train")] == ["1", "2"]
    for clip in made.manifest.clips:
        (source,) = [source for source in sources if source.record.clip_id == clip.clip_id]
        assert np.array_equal(made.clip_frames(clip), to_model_input(source), equal_nan=True)
        assert np.array_equal(made.clip_samples(clip), to_subframe_samples(source), equal_nan=True)


def test_the_version_depends_on_the_content_and_not_on_order_or_name(sources: list[Landmarks]) -> None:
    version = _snapshot("wlasl", sources).manifest.version
    assert _snapshot("other", sources[::-1]).manifest.version == version


def test_any_change_of_content_is_another_version(make_clip: MakeClip, sources: list[Landmarks]) -> None:
    versions = {
        _snapshot("wlasl", sources).manifest.version,
        _snapshot("wlasl", sources[:-1]).manifest.version,
    }
    for change in (
        {"gloss": "computer"},
        {"split": "train"},
        {"signer": "9"},
        {"slope": 0.3},
    ):
        arguments = {"gloss": "book", "split": "val", "frames": 45, "signer": "2", "source_sha256": SHA["b"]} | change
        changed = _clip(make_clip, "3", **arguments)  # type: ignore[arg-type]
        versions.add(_snapshot("wlasl", [changed, *sources[1:]]).manifest.version)
    assert len(versions) == 6


def test_a_published_snapshot_is_read_back_whole(object_store: ObjectStore, sources: list[Landmarks]) -> None:
    made = _snapshot("wlasl", sources)
    publish_snapshot(object_store, made)
    publish_snapshot(object_store, made)
    back = load_snapshot(object_store, "wlasl", made.manifest.version)
    assert back.manifest == made.manifest
    assert np.array_equal(back.samples, made.samples, equal_nan=True)


def test_a_shard_equals_the_file_of_the_safetensors_library(
    directory_store: DirectoryStore, sources: list[Landmarks]
) -> None:
    made = _snapshot("wlasl", sources)
    publish_snapshot(directory_store, made)
    shard = directory_store.get(keys.dataset_shard("wlasl", made.manifest.version))
    assert shard == safetensors.numpy.save({"frames": made.samples})


def test_an_older_shard_with_one_sample_a_frame_and_a_larger_header_is_read(
    directory_store: DirectoryStore, sources: list[Landmarks]
) -> None:
    made = _snapshot("wlasl", sources)
    frames = np.ascontiguousarray(made.frames)
    shard = safetensors.numpy.save({"a": np.zeros(6, np.uint8), "frames": frames}, {"by": "somebody"})
    manifest = made.manifest.model_copy(update={"shard_sha256": hashlib.sha256(shard).hexdigest()})
    directory_store.put(keys.dataset_shard("wlasl", "v"), shard)
    directory_store.put(keys.dataset_manifest("wlasl", "v"), manifest.model_dump_json(by_alias=True).encode())
    back = load_snapshot(directory_store, "wlasl", "v")
    assert np.array_equal(back.frames, frames, equal_nan=True)
    assert back.samples.shape[1] == 1


def test_changes_of_loaded_frames_do_not_change_the_store(object_store: ObjectStore, sources: list[Landmarks]) -> None:
    made = _snapshot("wlasl", sources)
    publish_snapshot(object_store, made)
    load_snapshot(object_store, "wlasl", made.manifest.version).samples[:] = 0
    again = load_snapshot(object_store, "wlasl", made.manifest.version)
    assert np.array_equal(again.samples, made.samples, equal_nan=True)


@pytest.mark.parametrize(
    "tensors",
    [
        {"frames": np.zeros((4, 3), np.float32)},
        {"frames": np.zeros((4, 75, 3), np.float16)},
        {"frames": np.zeros((2, 2, 2, 75, 3), np.float32)},
        {"frames": np.zeros(225, np.float32)},
        {},
    ],
)
def test_a_shard_of_something_else_is_data_loss(
    directory_store: DirectoryStore, sources: list[Landmarks], tensors: dict[str, npt.NDArray[np.generic]]
) -> None:
    shard = safetensors.numpy.save(tensors)
    manifest = _snapshot("wlasl", sources).manifest
    manifest = manifest.model_copy(update={"shard_sha256": hashlib.sha256(shard).hexdigest()})
    directory_store.put(keys.dataset_shard("wlasl", "v"), shard)
    directory_store.put(keys.dataset_manifest("wlasl", "v"), manifest.model_dump_json(by_alias=True).encode())
    with pytest.raises(DataLoss, match="cannot be read"):
        load_snapshot(directory_store, "wlasl", "v")


@pytest.mark.parametrize("change", [{"frames": 10**9}, {"start": 10**9}, {"start": -5}, {"frames": -5}])
def test_a_manifest_that_claims_frames_outside_its_shard_is_data_loss(
    directory_store: DirectoryStore, sources: list[Landmarks], change: dict[str, int]
) -> None:
    made = _snapshot("wlasl", sources)
    publish_snapshot(directory_store, made)
    clips = (made.manifest.clips[0].model_copy(update=change), *made.manifest.clips[1:])
    manifest = made.manifest.model_copy(update={"clips": clips}).model_dump_json(by_alias=True).encode()
    directory_store.put(keys.dataset_manifest("wlasl", made.manifest.version), manifest)
    with pytest.raises(DataLoss):
        load_snapshot(directory_store, "wlasl", made.manifest.version)


def test_a_missing_snapshot_is_not_found(directory_store: DirectoryStore) -> None:
    with pytest.raises(NotFound, match="no dataset 'wlasl' of version '0123'"):
        load_snapshot(directory_store, "wlasl", "0123")


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_damaged_frames_are_data_loss(
    directory_store: DirectoryStore, sources: list[Landmarks], damage: bytes | None
) -> None:
    made = _snapshot("wlasl", sources)
    publish_snapshot(directory_store, made)
    key = keys.dataset_shard("wlasl", made.manifest.version)
    whole = bytearray(directory_store.get(key))
    whole[-1] ^= 1
    directory_store.put(key, bytes(whole) if damage is None else damage)
    with pytest.raises(DataLoss, match="damaged"):
        load_snapshot(directory_store, "wlasl", made.manifest.version)


def test_a_damaged_manifest_is_data_loss(directory_store: DirectoryStore) -> None:
    directory_store.put(keys.dataset_manifest("wlasl", "v"), b'{"schema": "signet.dataset/1"}')
    with pytest.raises(DataLoss, match="not a dataset manifest"):
        load_snapshot(directory_store, "wlasl", "v")


@pytest.mark.parametrize("repair", [False, True])
def test_a_snapshot_gets_its_manifest_only_after_its_frames(
    directory_store: DirectoryStore, sources: list[Landmarks], monkeypatch: pytest.MonkeyPatch, repair: bool
) -> None:
    made = _snapshot("wlasl", sources)
    written: list[str] = []
    monkeypatch.setattr(directory_store, "put", lambda key, _data: written.append(key))
    monkeypatch.setattr(directory_store, "create", lambda key, _data: written.append(key))
    publish_snapshot(directory_store, made, repair=repair)
    version = made.manifest.version
    assert written == [keys.dataset_shard("wlasl", version), keys.dataset_manifest("wlasl", version)]


def test_a_snapshot_is_complete_only_with_its_manifest(
    directory_store: DirectoryStore, sources: list[Landmarks]
) -> None:
    made = _snapshot("wlasl", sources)
    publish_snapshot(directory_store, made)
    directory_store.delete(keys.dataset_manifest("wlasl", made.manifest.version))
    with pytest.raises(NotFound):
        load_snapshot(directory_store, "wlasl", made.manifest.version)


def test_the_audit_names_duplicates_of_both_kinds_leaks_and_shared_signers(make_clip: MakeClip) -> None:
    audit = _snapshot(
        "wlasl",
        [
            _clip(make_clip, "1", "before", "train", signer="1", source_sha256=SHA["a"], slope=0.1),
            _clip(make_clip, "2", "later", "val", signer="1", source_sha256=SHA["a"], slope=0.1),
            _clip(make_clip, "3", "later", "train", signer="2", source_sha256=SHA["b"], slope=0.2),
            _clip(make_clip, "4", "before", "train", signer="3", source_sha256=SHA["b"], slope=0.2),
            _clip(make_clip, "5", "before", "train", signer="4", source_sha256=SHA["c"], slope=0.3),
            # The same landmarks of another file.
            _clip(make_clip, "6", "before", "val", signer="5", slope=0.3),
            _clip(make_clip, "7", "before", "val", signer="5", slope=0.4),
            _clip(make_clip, "8", "before", "test", signer="2", slope=0.7),
        ],
    ).manifest.audit
    assert audit.identical == (("1", "2"), ("3", "4"))
    assert audit.near_identical == (("5", "6"),)
    assert audit.duplicates == (("1", "2"), ("3", "4"), ("5", "6"))
    assert audit.multi_label == (("1", "2"), ("3", "4"))
    assert audit.leaking == (("1", "2"), ("5", "6"))
    assert audit.shared_signers == 2, "one with a val clip, one with a test clip"


def test_a_near_duplicate_of_bit_identical_clips_joins_their_group() -> None:
    audit = Audit(identical=(("a", "b"), ("d", "e")), near_identical=(("a", "b", "c"),))
    assert audit.duplicates == (("a", "b", "c"), ("d", "e"))
    assert Audit.model_validate({"identical": [["a", "b"]], "leaking": [], "shared_signers": 3}).duplicates == (
        ("a", "b"),
    )


def test_an_assembled_snapshot_does_not_change_without_a_new_version() -> None:
    golden = json.loads(golden_corpus.assembly_file().read_text())
    found = golden_corpus.describe_assembly()
    advice = "raise ASSEMBLY_VERSION, and run `python -m tests.signet.datasets.golden_corpus`"
    assert found["manifest"] == golden["manifest"], advice
    assert np.allclose(np.array(found["frames"]), np.array(golden["frames"]), rtol=0, atol=1e-4), advice


def test_the_golden_corpus_has_duplicates_on_both_sides_of_each_limit() -> None:
    audit = Audit.model_validate(golden_corpus.describe_assembly()["manifest"]["audit"])  # type: ignore[index]
    pairs = [group for group in audit.near_identical if group[0].startswith(("moving", "still"))]
    assert [len([1 for group in pairs if group[0].startswith(kind)]) for kind in ("moving", "still")] == [3, 3]
    assert ("group-a", "group-b", "group-c") in audit.near_identical
    assert ("part-0", "part-1") in audit.near_identical
    assert audit.outside == (("elsewhere", "group-a", "group-b", "group-c", "nowhere"),)


def test_clips_that_are_assembled_by_other_rules_are_another_version(
    sources: list[Landmarks], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _snapshot("wlasl", sources).manifest.version
    monkeypatch.setattr(dataset_snapshot, "ASSEMBLY_VERSION", dataset_snapshot.ASSEMBLY_VERSION + 1)
    assert _snapshot("wlasl", sources).manifest.version != before


@pytest.mark.parametrize(
    ("store", "version", "samples", "digest"),
    [
        ("1-first", "5458e514fcc2cf13", 1, "4a28ae59ade0b28f"),
        ("2-beam-search", "1553b0499b3eadd9", 1, "8ac16935e57c97e0"),
        ("3-smoothed", "c231216b30610039", 3, "22c25ceb740c99ca"),
    ],
)
def test_a_snapshot_of_an_older_version_is_read(store: str, version: str, samples: int, digest: str) -> None:
    """Snapshots that older versions wrote; the last one has clips of kinds that are not made any more."""
    found = load_snapshot(DirectoryStore(Path(__file__).parents[1] / "golden" / store), "wlasl", version)
    manifest = found.manifest
    assert (manifest.schema_version, manifest.name, manifest.version) == ("signet.dataset/1", "wlasl", version)
    assert (manifest.corpus, manifest.extractor) == ("wlasl", "holistic-legacy/1")
    assert manifest.vocabulary == ("book", "drink")
    assert bool(manifest.sampling_difference) == (store != "3-smoothed")
    known = [(clip.clip_id, clip.gloss, clip.split, clip.signer) for clip in manifest.clips[:3]]
    assert known == [("1", "drink", "train", "7"), ("2", "book", "train", "8"), ("3", "book", "val", "7")]
    assert [found.label(clip) for clip in manifest.clips[:3]] == [2, 1, 1]
    assert [clip.clip_id for clip in found.split("train")] == ["1", "2"]
    assert [clip.clip_id for clip in found.split("val")] == ["3"]
    assert manifest.audit.duplicates == (("2", "3"),)
    assert manifest.audit.leaking == (("2", "3"),)
    assert manifest.audit.shared_signers == 1
    assert manifest.audit.all_duplicates == ((("1", "left-out"),) if store == "3-smoothed" else ()) + (("2", "3"),)
    frames = sum(clip.frames for clip in manifest.clips)
    assert found.samples.shape == (frames, samples, 75, 3)
    (held_out,) = found.split("val")
    shown = found.clip_frames(held_out)
    assert shown.shape == (held_out.frames, 75, 3)
    assert hashlib.sha256(np.nan_to_num(shown, nan=-1).astype("<f4").tobytes()).hexdigest()[:16] == digest


def test_a_manifest_whose_gloss_forges_a_line_of_a_log_is_refused(
    directory_store: DirectoryStore, sources: list[Landmarks]
) -> None:
    made = _snapshot("wlasl", sources)
    publish_snapshot(directory_store, made)
    clips = (made.manifest.clips[0].model_copy(update={"gloss": "a\nINFO forged"}), *made.manifest.clips[1:])
    manifest = made.manifest.model_copy(update={"clips": clips}).model_dump_json(by_alias=True).encode()
    directory_store.put(keys.dataset_manifest("wlasl", made.manifest.version), manifest)
    with pytest.raises(DataLoss, match=r"not a dataset manifest \(clips\.0\.gloss: character 2 is U\+000A"):
        load_snapshot(directory_store, "wlasl", made.manifest.version)
