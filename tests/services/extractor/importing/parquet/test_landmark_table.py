"""Parquet files with a row for each landmark."""

import builtins
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.extractor.importing.parquet.landmark_table import load_pyarrow, read_landmark_table
from signet.errors import ClipError, NotReady
from tests.services.extractor.foreign_files import landmark_columns, sign


def write_table(path: Path, columns: Mapping[str, object], **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(dict(columns)), path, **options)
    return path


def test_a_file_of_asl_signs_is_read(tmp_path: Path) -> None:
    joints = sign(4)
    joints[1, 33:54] = np.nan
    joints[2, :33] = np.nan
    table = read_landmark_table(write_table(tmp_path / "1.parquet", landmark_columns(joints, 1.5)))
    scale = np.array([1.5, 1, 1.5])
    assert table.frames.tolist() == [20, 21, 22, 23]
    np.testing.assert_allclose(table.pose * scale, joints[:, :33], atol=1e-6)
    np.testing.assert_allclose(table.hands.reshape(4, 42, 3) * scale, joints[:, 33:], atol=1e-6)
    np.testing.assert_allclose(table.face[0, 3], [2 / 3 / 1.5, 0.4, 0], atol=1e-6)


@pytest.mark.parametrize("change", ["reversed rows", "float frames", "dictionary", "nan for null", "small groups"])
def test_the_same_landmarks_may_be_stored_in_other_ways(tmp_path: Path, change: str) -> None:
    joints = sign(3)
    joints[1, 33:54] = np.nan
    columns = dict(landmark_columns(joints, 1.0))
    options: dict[str, object] = {}
    if change == "reversed rows":
        columns = {name: values[::-1] for name, values in columns.items()}
    elif change == "float frames":
        columns["frame"] = list(map(float, columns["frame"]))  # type: ignore[arg-type]
    elif change == "dictionary":
        columns["type"] = pa.array(columns["type"]).dictionary_encode()
    elif change == "nan for null":
        columns["x"] = [np.nan if value is None else value for value in columns["x"]]
    else:
        options["row_group_size"] = 100
    table = read_landmark_table(write_table(tmp_path / "1.parquet", columns, **options))
    np.testing.assert_allclose(table.hands.reshape(3, 42, 3), joints[:, 33:], atol=1e-6)


@pytest.mark.parametrize(
    ("column", "values", "says"),
    [
        ("frame", None, "the column frame must hold a whole number"),
        ("frame", 0.5, "the column frame must hold a whole number"),
        ("type", "foot", "has rows of the type 'foot'"),
        ("type", None, "type"),
        ("landmark_index", "a", "the column landmark_index must hold a whole number"),
        ("x", "a", "the column x must hold numbers"),
    ],
)
def test_a_column_that_cannot_be_used_is_named(tmp_path: Path, column: str, values: object, says: str) -> None:
    columns = dict(landmark_columns(sign(1), 1.0)) | {column: [values] * 543}
    with pytest.raises(ClipError, match=says) as raised:
        read_landmark_table(write_table(tmp_path / "1.parquet", columns))
    assert str(tmp_path / "1.parquet") in str(raised.value)


def test_other_layouts_and_other_files_are_refused_with_advice(tmp_path: Path) -> None:
    columns = dict(landmark_columns(sign(1), 1.0))
    with pytest.raises(ClipError, match="has no column z"):
        read_landmark_table(write_table(tmp_path / "1.parquet", {n: v for n, v in columns.items() if n != "z"}))
    with pytest.raises(ClipError, match="fingerspelling"):
        read_landmark_table(write_table(tmp_path / "1.parquet", {"frame": [0], "x_right_hand_0": [0.5]}))
    for content in (b"", b"<html>not found</html>", (tmp_path / "1.parquet").read_bytes()[:-10]):
        (tmp_path / "2.parquet").write_bytes(content)
        with pytest.raises(ClipError, match="not a whole parquet file"):
            read_landmark_table(tmp_path / "2.parquet")


def test_a_small_file_that_inflates_to_gigabytes_is_refused(tmp_path: Path) -> None:
    count = 3_000_000
    columns = {
        "frame": np.zeros(count, np.int64), "type": pa.DictionaryArray.from_arrays(np.zeros(count, np.int8), ["pose"]),
        "landmark_index": np.zeros(count, np.int64), **{name: np.zeros(count) for name in "xyz"},
    }  # fmt: skip
    path = write_table(tmp_path / "1.parquet", columns, use_dictionary=False, compression="zstd")
    with pytest.raises(ClipError, match="compressed by a factor of more than"):
        read_landmark_table(path)
    columns = {name: np.zeros(20_000_000, np.int8) for name in ("frame", "type", "landmark_index", "x", "y", "z")}
    path = write_table(tmp_path / "1.parquet", columns, compression="zstd")
    with pytest.raises(ClipError, match="has 20000000 rows"):
        read_landmark_table(path)


def test_without_pyarrow_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def refuse(name: str, *rest: object) -> object:
        if name.startswith("pyarrow"):
            raise ImportError("no module")
        return imported(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(NotReady, match=r"pip install 'signet\[parquet\]'"):
        load_pyarrow()


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = write_table(tmp_path / "1.parquet", landmark_columns(sign(3), 1.0))
    table = pq.read_table(path)
    pq.write_table(table.append_column("x", table["y"]), path)
    with pytest.raises(ClipError, match="has the column x twice"):
        read_landmark_table(path)
