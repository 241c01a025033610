"""Exports of a corpus, and imports of them."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from services.extractor.exporting.exporter import ExportChoice, run_export
from services.extractor.importing.importer import run_import
from services.extractor.importing.kinds import open_source
from services.extractor.importing.source import ImportOptions
from services.extractor.jobs.progress import ExtractionState
from signet.errors import InvalidInput, NotFound
from signet.landmarks import ClipRecord, Landmarks, dump, load
from signet.store import DirectoryStore, keys
from tests.conftest import RunSignet
from tests.reference_landmarks import make_landmarks
from tests.services.extractor.foreign_files import sign

FORMATS = ("pose", "parquet")
CLIPS = {
    "00335": ("book", "train", "7"),
    "a.b": ("thank you", "val", ""),
    "c": ("i/me", "test", "signer 8"),
    "d": ("книга", "train", "7"),
}


def _clip(number: int, clip_id: str) -> Landmarks:
    gloss, split, signer = CLIPS[clip_id]
    joints = sign(30, seed=number)
    joints[3:5, 33:54] = np.nan
    clip = make_landmarks(clip_id, joints, 29.97, 720, 400)
    fields = clip.record.model_dump() | {
        "corpus": "own", "gloss": gloss, "split": split, "signer": signer, "extractor": "test/1",
    }  # fmt: skip
    return Landmarks(clip.landmarks, clip.presence, clip.visibility, clip.timestamps, ClipRecord(**fields))


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    store = DirectoryStore(tmp_path / "store")
    for number, clip_id in enumerate(CLIPS):
        store.create(keys.clip("own", clip_id), dump(_clip(number, clip_id)))
    return store


@pytest.mark.parametrize("form", FORMATS)
def test_an_import_of_an_export_has_the_same_landmarks_and_labels(
    tmp_path: Path, store: DirectoryStore, form: str
) -> None:
    result = run_export(store, "own", tmp_path / "out", form)
    assert (result.state, result.extracted, result.frames) == (ExtractionState.SUCCEEDED, 4, 120)
    source = open_source(tmp_path / "out", ImportOptions())
    assert run_import(source, store, "again").extracted == 4
    for clip_id in CLIPS:
        before, after = (load(store.get(keys.clip(corpus, clip_id))) for corpus in ("own", "again"))
        np.testing.assert_array_equal(after.landmarks, before.landmarks)
        np.testing.assert_array_equal(after.visibility, before.visibility)
        np.testing.assert_allclose(after.timestamps, before.timestamps, atol=1e-5)
        for field in ("gloss", "split", "signer", "width", "height"):
            assert getattr(after.record, field) == getattr(before.record, field), field
        assert after.record.fps == pytest.approx(29.97)


@pytest.mark.parametrize("form", FORMATS)
def test_an_interrupted_export_is_resumed_and_filters_add_to_it(
    tmp_path: Path, store: DirectoryStore, form: str
) -> None:
    folder = tmp_path / "out"
    stopped = run_export(store, "own", folder, form, stopped=lambda: True)
    assert (stopped.state, stopped.done) == (ExtractionState.CANCELLED, 0)
    assert run_export(store, "own", folder, form, ExportChoice(splits=("train",))).extracted == 2
    assert run_export(store, "own", folder, form, ExportChoice(glosses=("i/me", "thank you"))).extracted == 2
    files = {path: path.stat().st_mtime_ns for path in folder.rglob(f"*.{form}")}
    assert len(files) == 4
    again = run_export(store, "own", folder, form)
    assert (again.extracted, again.present) == (0, 4)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob(f"*.{form}")} == files
    assert not list(folder.rglob("*.part"))
    assert {clip.gloss for clip in open_source(folder, ImportOptions()).clips} == {
        gloss for gloss, _, _ in CLIPS.values()
    }


def test_parquet_files_have_the_columns_of_kaggle(tmp_path: Path, store: DirectoryStore) -> None:
    run_export(store, "own", tmp_path / "out", "parquet", ExportChoice(glosses=("book",)))
    (path,) = (tmp_path / "out").rglob("*.parquet")
    table = pq.read_table(path)
    assert table.column_names == ["frame", "row_id", "type", "landmark_index", "x", "y", "z"]
    assert table.num_rows == 30 * 543
    assert (
        table.column("type").to_pylist()[:543]
        == ["face"] * 468 + ["left_hand"] * 21 + ["pose"] * 33 + ["right_hand"] * 21
    )
    assert table.column("x").null_count == 30 * 468 + 2 * 21
    assert path.parent.name == "7"
    assert json.loads((tmp_path / "out/sign_to_prediction_index_map.json").read_bytes()) == {"book": 0}
    header = (tmp_path / "out/train.csv").read_text().splitlines()[0]
    assert header.startswith("path,participant_id,sequence_id,sign,")


def test_a_damaged_clip_is_named_and_the_others_are_written(tmp_path: Path, store: DirectoryStore) -> None:
    whole = store.get(keys.clip("own", "c"))
    store.delete(keys.clip("own", "c"))
    store.create(keys.clip("own", "c"), whole[:-7])
    result = run_export(store, "own", tmp_path / "out", "pose")
    assert (result.extracted, result.broken) == (3, 1)
    assert [failure.clip_id for failure in result.failures] == ["c"]


def test_a_folder_of_another_export_and_an_empty_choice_are_refused(tmp_path: Path, store: DirectoryStore) -> None:
    run_export(store, "own", tmp_path / "out", "pose")
    with pytest.raises(InvalidInput, match="holds an export of something else"):
        run_export(store, "own", tmp_path / "out", "parquet")
    with pytest.raises(NotFound, match=r"none of its 4 clips .* Its splits are 'test', 'train', 'val'"):
        run_export(store, "own", tmp_path / "other", "pose", ExportChoice(splits=("dev",)))
    with pytest.raises(NotFound, match="has no clip"):
        run_export(store, "nothing", tmp_path / "other", "pose")
    with pytest.raises(InvalidInput, match="--format 'bvh' does not exist"):
        run_export(store, "own", tmp_path / "other", "bvh")
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="cannot be"):
        run_export(store, "own", tmp_path / "file", "pose")


def test_a_misspelled_gloss_or_split_is_refused_beside_those_that_exist(tmp_path: Path, store: DirectoryStore) -> None:
    with pytest.raises(NotFound, match=r"no clip has the gloss 'bok'\. Correct --gloss"):
        run_export(store, "own", tmp_path / "out", "pose", ExportChoice(glosses=("book", "bok")))
    with pytest.raises(NotFound, match=r"'dev' is no split\. The splits are train, val, test"):
        run_export(store, "own", tmp_path / "out", "pose", ExportChoice(splits=("train", "dev")))
    assert not (tmp_path / "out").exists()


def test_a_table_that_a_spreadsheet_has_saved_is_not_overwritten(tmp_path: Path, store: DirectoryStore) -> None:
    folder = tmp_path / "out"
    run_export(store, "own", folder, "pose", ExportChoice(glosses=("book",)))
    for damaged in (
        b"clip;gloss;split;signer\nbook/00335;book;train;7\n",
        "clip,gloss\nkn\xefga,x\n".encode("latin-1"),
    ):
        (folder / "clips.csv").write_bytes(damaged)
        with pytest.raises(InvalidInput, match=r"clips\.csv: is not the table that the earlier export wrote"):
            run_export(store, "own", folder, "pose")
        assert (folder / "clips.csv").read_bytes() == damaged


def test_the_command_exports_and_says_where(run_signet: RunSignet, store: DirectoryStore, tmp_path: Path) -> None:
    status, output, error = run_signet(["export", "own", "--format", "pose", "--split", "train"])
    assert (status, error) == (0, "")
    assert "written to own-pose" in output
    assert len(list((tmp_path / "own-pose").rglob("*.pose"))) == 2
