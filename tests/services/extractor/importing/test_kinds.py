"""The kind of landmark files is detected by content, and damaged files of each kind are accounted for."""

import json
import shutil
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from services.extractor.importing.importer import run_import
from services.extractor.importing.kinds import KINDS, open_source
from services.extractor.importing.source import ImportOptions
from signet.errors import InvalidInput, NotFound
from signet.store import DirectoryStore
from tests.services.extractor.archives import hands_archive, write_metadata
from tests.services.extractor.importing.signers import film, write_tree

Random = np.random.Generator


def _write_mp_data(folder: Path) -> Path:
    return write_tree(folder / "data", signs=1, takes=2, width=126, frames=4) / "sign0/1/2.npy"


def _write_json(folder: Path) -> Path:
    (folder / "data").mkdir()
    for take in range(2):
        shot = film(0, take, 4)
        frames = [
            {"pose": pose[:, :3].round(4).tolist(), "left_hand": None, "right_hand": hands[1].round(4).tolist()}
            for pose, hands in zip(shot.pose, shot.hands, strict=True)
        ]
        (folder / f"data/{take}.json").write_text(json.dumps({"sign": "book", "fps": 30, "frames": frames}))
    return folder / "data/1.json"


def _write_archive(folder: Path) -> Path:
    return hands_archive(folder / "data", {"1": 4, "2": 4}) / "frames.npz"


WRITERS: dict[str, Callable[[Path], Path]] = {"mp-data": _write_mp_data, "json": _write_json, "archive": _write_archive}


@pytest.mark.parametrize("kind", WRITERS)
def test_the_kind_is_detected_by_content(tmp_path: Path, kind: str) -> None:
    WRITERS[kind](tmp_path)
    options = ImportOptions(wlasl=write_metadata(tmp_path / "wlasl", {"1": "book", "2": "drink"}))
    found = open_source(tmp_path / "data", options)
    assert len(found.clips) == 2
    assert open_source(tmp_path / "data", options, kind).fingerprint == found.fingerprint
    moved = tmp_path / "renamed"
    shutil.copytree(tmp_path / "data", moved)
    assert open_source(moved, options).kind == found.kind


def test_folders_of_several_kinds_and_of_none_are_refused_with_advice(tmp_path: Path) -> None:
    _write_mp_data(tmp_path)
    shutil.move(tmp_path / "data", tmp_path / "both/tree")
    _write_json(tmp_path)
    shutil.move(tmp_path / "data", tmp_path / "both/files")
    with pytest.raises(InvalidInput, match=r"several kinds: mp-data, json\. Import each folder by itself, or .*--kind"):
        open_source(tmp_path / "both", ImportOptions())
    assert open_source(tmp_path / "both", ImportOptions(), "json").kind == "json"
    (tmp_path / "none").mkdir()
    with pytest.raises(InvalidInput, match="the folder holds no files"):
        open_source(tmp_path / "none", ImportOptions())
    (tmp_path / "none/clip.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    with pytest.raises(InvalidInput, match=r"Found: 1 \.mp4 .*signet extract.*mp-data: folders <sign>"):
        open_source(tmp_path / "none", ImportOptions())
    with pytest.raises(NotFound, match="no such file or directory"):
        open_source(tmp_path / "missing", ImportOptions())
    with pytest.raises(InvalidInput, match=r"'nonsense' does not exist\. The kinds are archive, mp-data, json"):
        open_source(tmp_path / "none", ImportOptions(), "nonsense")


def _mutate(data: bytes, random: Random) -> bytes:
    """The bytes, damaged in one of several ways."""
    place = int(random.integers(0, len(data)))
    some = bytes(random.integers(0, 256, 8, np.uint8))
    flipped = bytearray(data)
    for at in random.integers(0, min(len(data), 200), 4):
        flipped[at] ^= 1 << int(random.integers(0, 8))
    numbers = [b"1e999", b"-0", b"NaN", b"null", b"9" * 5000, b'"x"', b"[" * 500, b"{}"]
    choices = [
        data[:place],
        bytes(flipped),
        data[:place] + some + data[place:],
        data[:place] + some + data[place + 8 :],
        data.replace(b"(126,)", (b"(-1,)", b"(9**9,)", b"(10000000000000,)", b"(2, 63)")[place % 4] + b" "),
        data.replace(b"<f8", (b"|O", b"<U9", b"<c8", b"<M8[s]")[place % 4]),
        data.replace(b"0.5", numbers[place % len(numbers)], 1 + place % 9),
        data[:8] + struct.pack("<H", 65535) + data[10:],
        b"\0" * len(data),
        data + data,
        b"",
    ]
    return choices[int(random.integers(0, len(choices)))]


@pytest.mark.parametrize("kind", WRITERS)
def test_mutated_files_are_accounted_for_and_harm_no_other_clip(
    tmp_path: Path, directory_store: DirectoryStore, kind: str
) -> None:
    random = np.random.default_rng(7)
    victim = WRITERS[kind](tmp_path)
    original = victim.read_bytes()
    options = ImportOptions(wlasl=write_metadata(tmp_path / "wlasl", {"1": "book", "2": "drink"}), fps=30.0, aspect=1.5)
    if kind == "archive":
        options = ImportOptions(wlasl=options.wlasl)
    whole = {clip.clip_id: clip.read().joints.tobytes() for clip in open_source(tmp_path / "data", options).clips}
    first = next(iter(whole))
    outcomes = {"refused": 0, "broken": 0, "noted": 0, "imported": 0}
    for number in range(120):
        victim.write_bytes(_mutate(original, random))
        try:
            source = open_source(tmp_path / "data", options, kind)
        except (InvalidInput, NotFound) as error:
            assert len(str(error)) < 5000
            outcomes["refused"] += 1
            continue
        result = run_import(source, directory_store, f"{kind}-{number}")
        assert result.done == result.total == 2
        noted = any(victim.name in note for note in source.notes)
        outcomes["broken" if result.broken else "noted" if noted else "imported"] += 1
        if kind != "archive":  # the clips of an archive are in one file
            kept = {clip.clip_id: clip for clip in source.clips}
            assert kept[first].read().joints.tobytes() == whole[first]
    damaged = outcomes["refused"] + outcomes["broken"] + outcomes["noted"]
    assert min(outcomes["imported"], damaged) > 5, outcomes


def test_a_header_that_declares_huge_arrays_takes_no_memory(tmp_path: Path) -> None:
    victim = _write_mp_data(tmp_path)
    data = victim.read_bytes()
    victim.write_bytes(
        data.replace(b"(126,)", b"(10**11,)"[:6]).replace(b"'shape': (126,), ", b"'shape': (99999999999,),")
    )
    tracemalloc.start()
    source = open_source(tmp_path / "data", ImportOptions())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 << 20
    assert any("2.npy" in note for note in source.notes)


def test_each_kind_describes_itself() -> None:
    for name, kind in KINDS.items():
        assert kind.name == name
        assert kind.layout


def test_a_file_that_may_not_be_read_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read everything, so the error is made here."""
    path = _write_json(tmp_path)
    opened = Path.open

    def refuse(self: Path, *arguments: object, **options: object) -> object:
        if self == path:
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refuse)
    source = open_source(tmp_path / "data", ImportOptions())
    assert [failure.reason for failure in source.failures] == ["unreadable"]
    assert len(source.clips) == 1
