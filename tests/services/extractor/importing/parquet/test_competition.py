"""Folders in the layout of asl-signs."""

from pathlib import Path

import numpy as np
import pytest

from services.extractor.importing.importer import run_import
from services.extractor.importing.kinds import open_source
from services.extractor.importing.source import ImportOptions
from signet.errors import InvalidInput, NotFound
from signet.landmarks import load
from signet.store import DirectoryStore, keys
from tests.services.extractor.foreign_files import landmark_columns, sign
from tests.services.extractor.importing.parquet.test_landmark_table import write_table


def write_set(
    folder: Path, participants: int = 6, signs: tuple[str, ...] = ("book", "drink"), aspect: float = 0.75
) -> None:
    rows = ["path,participant_id,sequence_id,sign"]
    for participant in range(participants):
        for number, gloss in enumerate(signs):
            path = f"train_landmark_files/{participant}/{1000 + number}.parquet"
            write_table(folder / path, landmark_columns(sign(3, seed=participant), aspect))
            rows.append(f"{path},{participant},{1000 + number},{gloss}")
    (folder / "train.csv").write_text("\n".join(rows) + "\n")
    (folder / "sign_to_prediction_index_map.json").write_text('{"book": 0, "drink": 1}')


def test_participants_are_signers_and_a_fifth_of_them_is_held_out(tmp_path: Path) -> None:
    write_set(tmp_path)
    source = open_source(tmp_path, ImportOptions())
    assert source.kind == "parquet"
    assert {clip.gloss for clip in source.clips} == {"book", "drink"}
    sides = {signer: {clip.split for clip in source.clips if clip.signer == signer} for signer in map(str, range(6))}
    assert all(len(found) == 1 for found in sides.values())
    assert sum(found == {"val"} for found in sides.values()) in (1, 2)
    again = open_source(tmp_path, ImportOptions())
    assert [(clip.clip_id, clip.split) for clip in again.clips] == [(clip.clip_id, clip.split) for clip in source.clips]
    assert again.fingerprint == source.fingerprint


def test_rate_and_aspect_are_derived_and_said_and_options_change_them(tmp_path: Path) -> None:
    write_set(tmp_path)
    source = open_source(tmp_path, ImportOptions())
    assert {(clip.fps, clip.width, clip.height) for clip in source.clips} == {(30.0, 360, 480)}
    assert any("30 frames a second are assumed" in note for note in source.notes)
    assert any("3:4 (6 signers)" in note for note in source.notes)
    other = open_source(tmp_path, ImportOptions(fps=15.0, aspect=1.0))
    assert {(clip.fps, clip.width, clip.height) for clip in other.clips} == {(15.0, 480, 480)}
    assert other.fingerprint != source.fingerprint


def test_the_stored_landmarks_are_those_of_the_files(tmp_path: Path) -> None:
    write_set(tmp_path)
    store = DirectoryStore(tmp_path / "store")
    result = run_import(open_source(tmp_path, ImportOptions()), store, "signs")
    assert (result.extracted, result.broken) == (12, 0)
    clip = load(store.get(keys.clip("signs", "3-1001")))
    np.testing.assert_allclose(clip.landmarks, sign(3, seed=3), atol=1e-3)
    np.testing.assert_allclose(clip.timestamps, np.arange(3) / 30, atol=1e-6)
    assert clip.record.gloss == "drink"
    assert clip.record.signer == "3"


def test_missing_files_are_counted_and_unusable_rows_are_named(tmp_path: Path) -> None:
    write_set(tmp_path)
    (tmp_path / "train_landmark_files/0/1000.parquet").unlink()
    (tmp_path / "train_landmark_files/1/1000.parquet").write_bytes(b"PAR1")
    with (tmp_path / "train.csv").open("a") as table:
        table.write("../../etc/passwd,1,5,book\n/etc/passwd,1,6,book\nx.parquet,1,7,\n")
        table.write("train_landmark_files/2/1000.parquet,2,1000,book\n")
    source = open_source(tmp_path, ImportOptions())
    assert any("1 of the 12 files that train.csv lists do not exist" in note for note in source.notes)
    assert [failure.reason for failure in source.failures] == ["index"] * 4
    result = run_import(source, DirectoryStore(tmp_path / "store"), "signs")
    assert (result.extracted, result.broken) == (10, 5)
    assert [failure.clip_id for failure in result.failures if failure.reason == "malformed"] == ["1-1000"]


def test_a_folder_without_its_table_or_files_is_refused(tmp_path: Path) -> None:
    write_set(tmp_path)
    table = (tmp_path / "train.csv").read_text()
    (tmp_path / "train.csv").unlink()
    with pytest.raises(NotFound, match=r"train\.csv: no such file. It names the sign"):
        open_source(tmp_path, ImportOptions())
    (tmp_path / "train.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InvalidInput, match="has no column path, sign"):
        open_source(tmp_path, ImportOptions())
    (tmp_path / "train.csv").write_text(table.replace("train_landmark_files", "elsewhere"))
    with pytest.raises(NotFound, match="has none of the 12 files"):
        open_source(tmp_path, ImportOptions())


def test_the_users_table_gives_splits(tmp_path: Path) -> None:
    write_set(tmp_path)
    (tmp_path / "splits.csv").write_text("clip,split,signer\n0-1000,test,anna\n")
    source = open_source(tmp_path, ImportOptions(splits=tmp_path / "splits.csv"))
    first = next(clip for clip in source.clips if clip.clip_id == "0-1000")
    assert (first.split, first.signer) == ("test", "anna")


def test_few_signers_are_not_held_out(tmp_path: Path) -> None:
    write_set(tmp_path, participants=4)
    source = open_source(tmp_path, ImportOptions())
    assert sum(clip.split == "val" for clip in source.clips) == 2
    assert any("too few signers" in note for note in source.notes)


def test_rows_that_would_be_read_wrongly_are_named(tmp_path: Path) -> None:
    write_set(tmp_path)
    lines = (tmp_path / "train.csv").read_text().splitlines()
    table = [f"{lines[0]},split", *(f"{line},train" for line in lines[1:])]
    table[1] = table[1].replace("book", "hello, you")
    table[2] = table[2].replace(",train", ",held out")
    (tmp_path / "train.csv").write_text("\n".join([*table, f"{'x' * 300}.parquet,1,9,book,train"]) + "\n")
    (tmp_path / "splits.csv").write_text("clip,split\n1-1000,val\n77-1000,test\n")
    source = open_source(tmp_path, ImportOptions(splits=tmp_path / "splits.csv"))
    assert [failure.message for failure in source.failures] == [
        "train.csv line 2: has 1 more values than the first line has columns.",
        "train.csv line 3: 'held out' is no split. The splits are train, val, test.",
    ]
    notes = "\n".join(source.notes)
    assert "1 of the 11 files that train.csv lists do not exist, and are left out, for example xxx" in notes
    assert "1 lines name no clip of this corpus, for example 77-1000" in notes
    assert {clip.split for clip in source.clips} == {"train", "val"}
