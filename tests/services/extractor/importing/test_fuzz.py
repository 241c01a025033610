"""Mutated files of other programs: each is read or refused by an error that names it, in little time and memory."""

import collections
import io
import pickle
import random
import resource
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.extractor.importing.openhands.clip_file import read_clip_file
from services.extractor.importing.parquet.landmark_table import read_landmark_table
from services.extractor.importing.pose_format.reader import read_pose_file
from signet.errors import ClipError
from tests.services.extractor.foreign_files import (
    holistic_pose,
    landmark_columns,
    openhands_arrays,
    pose_bytes,
    sign,
)

_MUTATIONS = 250
_MOST_SECONDS, _MOST_GROWTH = 10.0, 256 * 1024 * 1024
_JOINTS = sign(2)


def _pose_files() -> list[bytes]:
    return [pose_bytes(*holistic_pose(_JOINTS), version=version) for version in (0.1, 0.2)]


def _parquet_files() -> list[bytes]:
    files = []
    for options in ({}, {"compression": "zstd", "use_dictionary": False, "row_group_size": 400}):
        output = io.BytesIO()
        pq.write_table(pa.table(dict(landmark_columns(_JOINTS, 1.0))), output, **options)
        files.append(output.getvalue())
    return files


def _pickles() -> list[bytes]:
    arrays = openhands_arrays(_JOINTS, 1.0)
    lists = {name: array.tolist() for name, array in arrays.items()}
    return [*(pickle.dumps(arrays, protocol) for protocol in range(6)), pickle.dumps(lists)]


def _mutate(data: bytes, chance: random.Random) -> bytes:
    """One to sixteen changes, more of them near the start and the end, where the structure of these files is."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        size = len(changed)
        if not size:
            break
        place = chance.choice(
            (chance.randrange(size), chance.randrange(min(size, 300)), size - 1 - chance.randrange(min(size, 2000)))
        )
        match chance.randrange(6):
            case 0:
                changed[place] = chance.randrange(256)
            case 1:
                changed[place] ^= 1 << chance.randrange(8)
            case 2:
                word = chance.choice((b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f", b"\0\0\0\x80"))
                changed[place : place + 4] = word
            case 3:
                del changed[place:]
            case 4:
                changed[place:place] = changed[place : place + chance.randrange(1, 64)]
            case _:
                del changed[place : place + chance.randrange(1, 64)]
    return bytes(changed)


@pytest.mark.parametrize(
    ("read", "files"),
    [
        pytest.param(read_pose_file, _pose_files, id="pose"),
        pytest.param(read_landmark_table, _parquet_files, id="parquet"),
        pytest.param(read_clip_file, _pickles, id="pickle"),
    ],
)
def test_mutated_files_are_read_or_refused_by_name(
    tmp_path: Path, read: Callable[[Path], object], files: Callable[[], list[bytes]]
) -> None:
    chance = random.Random(18)  # noqa: S311
    originals = files()
    outcomes: collections.Counter[str] = collections.Counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(_MUTATIONS):
        path = tmp_path / f"{number}.bin"
        path.write_bytes(_mutate(chance.choice(originals), chance))
        started = time.monotonic()
        try:
            read(path)
            outcomes["read"] += 1
        except ClipError as error:
            assert str(path) in str(error)
            outcomes[error.reason] += 1
        assert time.monotonic() - started < _MOST_SECONDS
        path.unlink()
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) * 1024
    assert growth < _MOST_GROWTH
    assert outcomes.total() == _MUTATIONS
    assert outcomes["read"] > 0
    assert outcomes["malformed"] > 0
