"""Archives of landmarks are read, and unusable archives and rows are named."""

import os
import resource
import zipfile
from pathlib import Path

import numpy as np
import pytest

from services.extractor.importing.archive import ArchiveRow, read_archive
from signet.errors import ClipError, InvalidInput, NotFound
from signet.landmarks import LEFT_HAND, POSE, RIGHT_HAND
from tests.services.extractor.archives import HEADER, hands_archive, left_hand, right_hand, write_archive


def test_hands_get_sides_and_frame_heights(tmp_path: Path) -> None:
    archive = read_archive(hands_archive(tmp_path, {"a": 6, "b": 4}))
    assert archive.kind == "hands"
    assert [(row.clip_id, row.start, row.frames) for row in archive.rows] == [("a", 0, 6), ("b", 6, 4)]
    joints, visibility = archive.joints(archive.rows[0], 1.8, 0.5)
    assert joints.shape == (6, 75, 3)
    for index in range(6):
        assert np.allclose(joints[index, RIGHT_HAND], right_hand(0.6 + 0.01 * index, 0.5), atol=2e-3)
    assert np.isnan(joints[:3, LEFT_HAND]).all()
    assert np.allclose(joints[5, LEFT_HAND], left_hand(1.15, 0.5), atol=2e-3)
    assert np.isnan(joints[:, POSE]).all()
    assert np.isnan(visibility).all()


def test_a_holistic_archive_keeps_pose_and_sides(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    arrays = {
        "pose": random.random((5, 33, 4)).astype(np.float16),
        "left_hand": np.full((5, 21, 3), np.nan, np.float16),
        "right_hand": random.random((5, 21, 3)).astype(np.float16),
        "face": np.zeros((5, 24, 3), np.float16),
    }
    rows = [(*HEADER, "fps", "width", "height"), ("a", 1, 4, 29.97, 320, 240)]
    archive = read_archive(write_archive(tmp_path, arrays, rows))
    (row,) = archive.rows
    assert (archive.kind, row.fps, row.width, row.height) == ("holistic", 29.97, 320, 240)
    joints, visibility = archive.joints(row, 320 / 240, 0.5)
    scale = np.array([4 / 3, 1, 4 / 3], np.float32)
    assert np.allclose(joints[:, POSE], arrays["pose"][1:, :, :3].astype(np.float32) * scale)
    assert np.isnan(joints[:, LEFT_HAND]).all()
    assert np.allclose(joints[:, RIGHT_HAND], arrays["right_hand"][1:].astype(np.float32) * scale)
    assert np.array_equal(visibility, arrays["pose"][1:, :, 3].astype(np.float32))


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (("x", 8, 3), "the archive has 10 frames, and not frames 8 to 11"),
        (("x", -1, 3), "and not frames -1 to 2"),
        (("x", 0, 0), "and not frames 0 to 0"),
        (("x", "zero", 3), "index.csv line 3: 'x,zero,3' is not video_id,start,frames"),
        (("x",), "index.csv line 3: 'x,,' is not video_id,start,frames"),
        (("../x", 0, 3), "'../x' cannot name a clip"),
        (("a", 0, 3), "index.csv line 3: a is listed twice"),
    ],
)
def test_an_unusable_row_is_named_and_the_others_are_read(tmp_path: Path, row: tuple[object, ...], says: str) -> None:
    frames = np.zeros((10, 2, 21, 3), np.float16)
    archive = read_archive(write_archive(tmp_path, {"frames": frames}, [HEADER, ("a", 0, 5), row, ("b", 5, 5)]))
    assert [row.clip_id for row in archive.rows] == ["a", "b"]
    (fault,) = archive.faults
    assert (fault.clip_id, fault.reason) == (str(row[0]), "index")
    assert says in fault.message


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_an_index_that_a_spreadsheet_saved_is_read(
    tmp_path: Path, separator: str, encoding: str, line_end: str
) -> None:
    folder = write_archive(tmp_path, {"frames": np.zeros((10, 2, 21, 3), np.float16)}, [])
    comma = "29,97" if separator != "," else '"29,97"'
    lines = [
        ("video_id", "Start", " frames", "fps", "width", "height"),
        ("00335", "0", "5", comma, "320", "240.0"),
        ('"00336"', '"5"', "5 ", "25", "", ""),
        ("", "", "", "", "", ""),
    ]
    text = line_end.join(separator.join(cells) for cells in lines) + line_end
    (folder / "index.csv").write_bytes(text.encode(encoding))
    archive = read_archive(folder)
    assert archive.faults == ()
    assert archive.rows == (ArchiveRow("00335", 0, 5, 29.97, 320, 240), ArchiveRow("00336", 5, 5, 25.0, 0, 0))


def test_an_index_with_the_line_that_tells_excel_the_separator_is_read(tmp_path: Path) -> None:
    folder = write_archive(tmp_path, {"frames": np.zeros((10, 2, 21, 3), np.float16)}, [])
    (folder / "index.csv").write_text('sep=;\nvideo_id;start;frames\n="00335";0;5\n')
    assert read_archive(folder).rows == (ArchiveRow("00335", 0, 5),)


@pytest.mark.parametrize(
    "line", ["x,0,5,29,97,320,240", "x,0,5,25,320,240,7", "x,1.000,5", 'x,"1,000",5', "x,1E+02,5", "x,1_0,5"]
)
def test_a_number_that_may_mean_another_one_is_refused(tmp_path: Path, line: str) -> None:
    folder = write_archive(tmp_path, {"frames": np.zeros((2000, 2, 21, 3), np.float16)}, [])
    (folder / "index.csv").write_text(f"video_id,start,frames,fps,width,height\n{line}\n")
    archive = read_archive(folder)
    assert archive.rows == ()
    assert "index.csv line 2" in archive.faults[0].message


@pytest.mark.clips
def test_the_index_that_excel_saved_is_read(tmp_path: Path, faults: Path) -> None:
    folder = write_archive(tmp_path, {"frames": np.zeros((2000, 2, 21, 3), np.float16)}, [])
    (folder / "index.csv").write_bytes((faults / "05_bom/index_saved_by_excel_utf8.csv").read_bytes())
    archive = read_archive(folder)
    assert archive.faults == ()
    assert archive.rows[0] == ArchiveRow("07068", 0, 68, 29.97, 736, 414)


@pytest.mark.parametrize("known", [("nan", 320, 240), (2000, 320, 240), (25, -1, 240), (25, 320, 99999)])
def test_impossible_rates_and_sizes_are_refused(tmp_path: Path, known: tuple[object, ...]) -> None:
    rows = [(*HEADER, "fps", "width", "height"), ("a", 0, 5, *known)]
    archive = read_archive(write_archive(tmp_path, {"frames": np.zeros((5, 2, 21, 3), np.float16)}, rows))
    assert not archive.rows
    assert "is not a video" in archive.faults[0].message


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"other": np.zeros(3)}, r"holds other\. What can be imported: frames \(hands\)"),
        (
            {"frames": np.zeros((5, 42, 3), np.float16)},
            r"'frames' must be .* \[5, 2, 21, 3\], not float16 \[5, 42, 3\]",
        ),
        ({"frames": np.zeros((5, 2, 21, 3), np.int64)}, r"'frames' must be float16 or float32 .*, not int64"),
        (
            {
                "pose": np.zeros((5, 33, 4), np.float16),
                "left_hand": np.zeros((5, 21, 3), np.float16),
                "right_hand": np.zeros((4, 21, 3), np.float16),
            },
            r"'right_hand' must be .* \[5, 21, 3\], not float16 \[4, 21, 3\]",
        ),
        ({"frames": np.array([{"a": 1}], dtype=object)}, "not a whole .npz file .*allow_pickle"),
    ],
)
def test_arrays_of_another_kind_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], says: str) -> None:  # type: ignore[type-arg]
    write_archive(tmp_path, arrays, [HEADER])
    with pytest.raises(InvalidInput, match=says):
        read_archive(tmp_path)


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"frames\.npz: no such file"):
        read_archive(tmp_path)
    hands_archive(tmp_path, {"a": 40})
    whole = (tmp_path / "frames.npz").read_bytes()
    for broken in (b"", b"<html>", whole[:-100], whole[:100] + bytes(50) + whole[150:]):
        (tmp_path / "frames.npz").write_bytes(broken)
        with pytest.raises(InvalidInput, match=r"frames\.npz: not a whole \.npz file"):
            read_archive(tmp_path)
    (tmp_path / "frames.npz").write_bytes(whole)
    (tmp_path / "index.csv").write_text("id,first\n1,2\n")
    with pytest.raises(InvalidInput, match=r"index\.csv: has no column frames, start, video_id"):
        read_archive(tmp_path)
    (tmp_path / "index.csv").unlink()
    with pytest.raises(NotFound, match=r"index\.csv: no such file"):
        read_archive(tmp_path)


def test_a_single_npy_array_is_refused(tmp_path: Path) -> None:
    hands_archive(tmp_path, {"a": 4})
    with (tmp_path / "frames.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(InvalidInput, match="a single array"):
        read_archive(tmp_path)


def test_landmarks_in_pixels_are_refused(tmp_path: Path) -> None:
    frames = np.full((5, 2, 21, 3), 320.0, np.float16)
    archive = read_archive(write_archive(tmp_path, {"frames": frames}, [HEADER, ("a", 0, 5)]))
    with pytest.raises(ClipError, match=r"a: has landmark values up to 320\. They must be fractions of the frame"):
        archive.joints(archive.rows[0], 1.8, 0.5)


def test_another_archive_has_another_sha256(tmp_path: Path) -> None:
    one, two = (read_archive(hands_archive(tmp_path / name, {"a": 4, name: 4})) for name in ("b", "c"))
    assert one.sha256 != two.sha256
    assert one.source_sha256(one.rows[0]) == two.source_sha256(two.rows[0])
    assert one.source_sha256(one.rows[0]) != one.source_sha256(one.rows[1])


def _npz_with_header(folder: Path, header: bytes, method: int = 0) -> None:
    """An archive whose array `frames` has this header; `method` is the compression that the file names."""
    array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(folder / "frames.npz", "w") as file:
        file.writestr("frames.npy", array)
    if method:
        data = bytearray((folder / "frames.npz").read_bytes())
        data[8:10] = method.to_bytes(2, "little")
        entry = data.index(b"PK\x01\x02")
        data[entry + 10 : entry + 12] = method.to_bytes(2, "little")
        (folder / "frames.npz").write_bytes(data)
    (folder / "index.csv").write_text(",".join(HEADER))


@pytest.mark.parametrize(
    ("header", "method"),
    [
        (b"{'descr': '<f4', 'fortran_order': False, 'shape': (999999999999, 2, 21, 3)}\n", 0),
        (b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 2, 21, 3)}\n", 0),
        (b"{'descr': '<f4', 'fortran_order': False, 'shape': (1" + b"0" * 40 + b", 2, 21, 3)}\n", 0),
        (b"(" * 5000 + b"\n", 0),
        (b"{'descr': '|O', 'fortran_order': False, 'shape': (1, 2, 21, 3)}\n", 0),
        (b"{'descr': (('a', 5), 3), 'fortran_order': False, 'shape': (1,)}\n", 0),
        (b"{'descr': '''", 0),
        (b"{}", 99),
        (b"{}", 14),
    ],
)
def test_a_hostile_header_of_an_array_is_refused_with_the_name_of_the_file(
    tmp_path: Path, header: bytes, method: int
) -> None:
    _npz_with_header(tmp_path, header, method)
    with pytest.raises(InvalidInput, match=r"frames\.npz"):
        read_archive(tmp_path)


def _write_zeros(folder: Path, megabytes: int, *, declared: int = 0) -> None:
    """An archive whose array `frames` is so many megabytes of zeros; `declared` is the packed size that it declares."""
    frames = megabytes * 1_000_000 // 252
    head = f"{{'descr': '<f2', 'fortran_order': False, 'shape': ({frames}, 2, 21, 3)}}\n".encode()
    with (
        zipfile.ZipFile(folder / "frames.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file,
        file.open("frames.npy", "w", force_zip64=True) as member,
    ):
        member.write(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head)
        for _ in range(megabytes):
            member.write(bytes(1_000_000))
    if declared:
        data = bytearray((folder / "frames.npz").read_bytes())
        at = data.index(b"PK\x01\x02") + 20
        data[at : at + 4] = declared.to_bytes(4, "little")
        (folder / "frames.npz").write_bytes(data)
    (folder / "index.csv").write_text(",".join(HEADER))


@pytest.mark.parametrize("declared", [0, 2_000_000_000])
def test_an_archive_that_inflates_to_gigabytes_is_refused_in_little_memory(tmp_path: Path, declared: int) -> None:
    _write_zeros(tmp_path, 1000, declared=declared)
    assert (tmp_path / "frames.npz").stat().st_size < 2_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InvalidInput, match=r"frames\.npz: its array 'frames' has 10\d+ bytes, compressed by a factor"):
        read_archive(tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 200_000


def test_an_archive_with_more_bytes_than_the_machine_has_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hands_archive(tmp_path, {"a": 40})
    monkeypatch.setattr(os, "sysconf", lambda _: 50)
    with pytest.raises(InvalidInput, match=r"frames\.npz: its arrays need more memory than there is"):
        read_archive(tmp_path)
