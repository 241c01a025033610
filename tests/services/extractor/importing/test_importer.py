"""`signet import` stores the clips of an archive, and a second call resumes an interrupted import."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from services.extractor.importing.archive import read_archive
from services.extractor.importing.importer import run_import
from services.extractor.importing.source import LandmarkSource
from services.extractor.importing.wlasl_archive import join_metadata
from services.extractor.jobs.progress import ExtractionProgress, ExtractionState
from services.extractor.sources.wlasl import read_metadata
from signet.datasets.corpus import read_manifest
from signet.errors import AlreadyExists, DataLoss
from signet.landmarks import HEADER_BYTES, Landmarks, dump, load, read_record
from signet.store import DirectoryStore, ObjectStore, keys
from tests.conftest import ROOT
from tests.services.extractor.archives import HEADER, hands_archive, write_archive, write_metadata

CLIPS = {"1": 12, "2": 9, "3": 20, "4": 5}
GLOSSES = {"1": "book", "2": "book", "3": "drink", "4": "who"}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return hands_archive(tmp_path / "archive", CLIPS)


@pytest.fixture
def metadata(tmp_path: Path) -> Path:
    return write_metadata(tmp_path / "wlasl", GLOSSES)


def _open(archive: Path, metadata: Path, first_glosses: int = 0) -> LandmarkSource:
    return join_metadata(read_archive(archive), read_metadata(metadata), first_glosses)


def _import(archive: Path, metadata: Path, store: ObjectStore, corpus: str = "others") -> ExtractionProgress:
    return run_import(_open(archive, metadata), store, corpus)


def _clip(store: ObjectStore, clip_id: str) -> Landmarks:
    key = keys.clip("others", clip_id)
    return load(store.get(key), key)


def test_an_import_stores_each_clip_with_its_record(archive: Path, metadata: Path, object_store: ObjectStore) -> None:
    result = _import(archive, metadata, object_store)
    assert (result.state, result.extracted, result.frames, result.broken) == (ExtractionState.SUCCEEDED, 4, 46, 0)
    assert result.glosses == ("book", "drink", "who")
    clip = _clip(object_store, "3")
    record = clip.record
    assert (record.corpus, record.gloss, record.split, record.signer) == ("others", "drink", "train", "7")
    assert (record.width, record.height, record.frame_end) == (720, 400, 20)
    assert record.extractor == _open(archive, metadata).fingerprint
    assert record.extractor.startswith("import/hands/")
    assert clip.presence.sum(axis=0).tolist() == [0, 10, 20]
    assert np.allclose(clip.timestamps, np.arange(20) * 1001 / 30000)


def test_an_import_writes_the_manifest_of_the_corpus(
    archive: Path, metadata: Path, directory_store: DirectoryStore
) -> None:
    _import(archive, metadata, directory_store)
    manifest = read_manifest(directory_store, "others")
    assert manifest is not None
    assert manifest.clips == ("1", "2", "3", "4")
    assert manifest.extractor == _open(archive, metadata).fingerprint


def test_first_glosses_limits_the_import_and_counts_no_other_clip_as_broken(
    archive: Path, metadata: Path, directory_store: DirectoryStore
) -> None:
    result = run_import(_open(archive, metadata, first_glosses=2), directory_store, "others")
    assert (result.glosses, result.extracted, result.broken) == (("book", "drink"), 3, 0)


def test_a_repeated_import_writes_only_missing_clips(
    archive: Path, metadata: Path, directory_store: DirectoryStore
) -> None:
    _import(archive, metadata, directory_store)
    before = {info.key: info.etag for info in directory_store.list("")}
    directory_store.delete(keys.clip("others", "2"))
    again = _import(archive, metadata, directory_store)
    assert (again.extracted, again.present) == (1, 3)
    after = {info.key: info.etag for info in directory_store.list("landmarks/")}
    assert {key for key in after if after[key] != before[key]} == {keys.clip("others", "2")}


def test_unusable_clips_are_named_and_the_others_are_stored(
    tmp_path: Path, metadata: Path, directory_store: DirectoryStore
) -> None:
    frames = np.full((30, 2, 21, 3), 0.5, np.float16)
    frames[10:20] = np.inf
    rows = [HEADER, ("1", 0, 10), ("2", 10, 10), ("3", 25, 10), ("stranger", 20, 5), ("4", 20, 10)]
    result = _import(write_archive(tmp_path / "bad", {"frames": frames}, rows), metadata, directory_store)
    assert {(failure.clip_id, failure.reason) for failure in result.failures} == {
        ("2", "range"),
        ("3", "index"),
        ("stranger", "unknown"),
    }
    assert (result.state, result.extracted, result.broken, result.total) == (ExtractionState.SUCCEEDED, 2, 3, 5)
    manifest = read_manifest(directory_store, "others")
    assert manifest is not None
    assert manifest.clips == ("1", "4")


def test_an_import_refuses_a_corpus_of_another_archive_or_metadata(
    tmp_path: Path, archive: Path, metadata: Path, directory_store: DirectoryStore
) -> None:
    _import(archive, metadata, directory_store)
    other = hands_archive(tmp_path / "other", {"9": 5, **CLIPS})
    with pytest.raises(AlreadyExists, match=r"made by import/hands/.* choose another --corpus"):
        _import(other, metadata, directory_store)
    changed = write_metadata(tmp_path / "changed", {**GLOSSES, "2": "computer"})
    with pytest.raises(AlreadyExists, match=r"2\.safetensors: is there already, with gloss 'book', not 'computer'"):
        _import(archive, changed, directory_store)


def test_a_clip_that_another_process_stores_during_the_import_must_be_identical(
    archive: Path, metadata: Path, directory_store: DirectoryStore
) -> None:
    _import(archive, metadata, directory_store)
    same = directory_store.get(keys.clip("others", "1"))
    key = keys.clip("raced", "1")
    done = 0

    def meanwhile(_: ExtractionProgress) -> None:
        nonlocal done
        if not done:  # after the import looked at the store, before it writes
            record = load(same).record.model_copy(update={"corpus": "raced"})
            clip = load(same)
            directory_store.create(
                key, dump(Landmarks(clip.landmarks, clip.presence, clip.visibility, clip.timestamps, record))
            )
        done += 1

    result = run_import(_open(archive, metadata), directory_store, "raced", on_change=meanwhile)
    assert (result.extracted, result.present) == (3, 1)


def test_an_import_names_a_damaged_clip_in_the_store(
    archive: Path, metadata: Path, directory_store: DirectoryStore
) -> None:
    _import(archive, metadata, directory_store)
    directory_store.put(keys.clip("others", "1"), b"garbage")
    with pytest.raises(DataLoss, match=r"1\.safetensors: damaged\. Delete it, and extract or import again"):
        _import(archive, metadata, directory_store)


def test_ids_without_their_leading_zeros_are_found_and_stored_with_them(
    tmp_path: Path, directory_store: DirectoryStore
) -> None:
    archive = read_archive(hands_archive(tmp_path / "a", {"335": 6, "00336": 6, "337.0": 6, "338": 6, "999": 6}))
    glosses = {"00335": "book", "336": "go", "00337": "fish", "00338": "fish", "0338": "fish"}
    result = run_import(
        join_metadata(archive, read_metadata(write_metadata(tmp_path / "w", glosses))), directory_store, "hands"
    )
    assert result.clips == ("00335", "00336", "00337")
    assert result.extracted == 3
    assert [failure.clip_id for failure in result.failures] == ["338", "999"]  # 338 may be 00338 or 0338
    assert result.notes == ("leading zeros of 3 ids were lost and are restored, for example 335 is 00335",)
    stored = load(directory_store.get(keys.clip("hands", "00336")), "00336")
    assert (stored.record.clip_id, stored.record.gloss) == ("00336", "go")


def test_a_clip_that_the_index_lists_with_and_without_zeros_is_imported_once(
    tmp_path: Path, directory_store: DirectoryStore
) -> None:
    archive = read_archive(hands_archive(tmp_path / "a", {"335": 6, "00335": 7, "0335": 8}))
    metadata = read_metadata(write_metadata(tmp_path / "w", {"00335": "book"}))
    result = run_import(join_metadata(archive, metadata), directory_store, "hands")
    assert (result.clips, result.frames) == (("00335",), 7)
    assert [failure.clip_id for failure in result.failures] == ["335", "0335"]


def test_what_the_metadata_lacks_is_said_with_the_result(tmp_path: Path, directory_store: DirectoryStore) -> None:
    archive = read_archive(hands_archive(tmp_path / "a", {"00335": 6}))
    folder = write_metadata(tmp_path / "w", {"00335": "book"})
    path = folder / "WLASL_v0.3.json"
    path.write_text(path.read_text().replace('"signer_id": 7', '"signer_id": null'))
    result = run_import(join_metadata(archive, read_metadata(folder)), directory_store, "hands")
    assert result.extracted == 1
    assert result.notes == (f"{path}: signer_id is unknown in 1 instance, for example 00335 (null)",)


def test_a_stopped_import_writes_no_manifest_and_can_be_resumed(
    tmp_path: Path, directory_store: DirectoryStore
) -> None:
    many = {str(number): 3 for number in range(200)}
    archive = read_archive(hands_archive(tmp_path / "many", many))
    instances = read_metadata(write_metadata(tmp_path / "wlasl", dict.fromkeys(many, "book")))
    seen: list[ExtractionProgress] = []
    stopped = run_import(
        join_metadata(archive, instances),
        directory_store,
        "others",
        on_change=seen.append,
        stopped=lambda: seen[-1].done > 0,
    )
    assert stopped.state is ExtractionState.CANCELLED
    assert 0 < stopped.done < stopped.total == 200
    assert read_manifest(directory_store, "others") is None
    resumed = run_import(join_metadata(archive, instances), directory_store, "others")
    assert (resumed.state, resumed.present) == (ExtractionState.SUCCEEDED, stopped.extracted)
    assert resumed.extracted == 200 - stopped.extracted


def _signet(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "services.cli", "import", *map(str, arguments)]


def test_the_command_prints_a_summary_and_exits_with_its_status(
    tmp_path: Path, archive: Path, metadata: Path, directory_store: DirectoryStore
) -> None:
    command = _signet(archive, "--wlasl", metadata, "--store", directory_store.url)
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "imported" in done.stdout
    assert "3 glosses: book, drink, who" in done.stdout
    manifest = read_manifest(directory_store, "wlasl-hands")
    assert manifest is not None
    assert len(manifest.clips) == 4
    with (archive / "index.csv").open("a") as index:
        index.write("1,0,4\nnobody,0,4\n")
    again = subprocess.run([*command, "--corpus", "more"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert again.returncode == 3
    assert "broken 1 (index): index.csv line 6: 1 is listed twice." in again.stdout
    assert "broken nobody (unknown): nobody: is not in the metadata" in again.stdout
    missing = subprocess.run(
        _signet(tmp_path / "no", "--wlasl", metadata), capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert missing.returncode == 1
    assert missing.stderr.startswith("error: ")
    assert f"{tmp_path / 'no'}: no such file or directory" in missing.stderr


def test_a_killed_import_leaves_only_whole_clips_and_can_be_resumed(
    tmp_path: Path, directory_store: DirectoryStore
) -> None:
    many = {str(number): 30 for number in range(600)}
    archive = hands_archive(tmp_path / "many", many)
    metadata = write_metadata(tmp_path / "wlasl", dict.fromkeys(many, "book"))
    command = _signet(archive, "--wlasl", metadata, "--store", directory_store.url, "--corpus", "others")
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (stored := [info.key for info in directory_store.list("landmarks/")]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    stored = [info.key for info in directory_store.list("landmarks/")]
    assert 0 < len(stored) < 600
    for key in stored:
        load(directory_store.get(key), key)
        assert read_record(directory_store.get_head(key, HEADER_BYTES), key).frame_end == 30
    assert read_manifest(directory_store, "others") is None
    result = _import(archive, metadata, directory_store)
    assert (result.extracted, result.present) == (600 - len(stored), len(stored))
