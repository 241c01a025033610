"""Pickles are read without executing anything."""

import collections
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from services.extractor.importing.openhands.safe_pickle import MalformedPickle, PickledArray, UnsafePickle, read_pickle

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_containers_numbers_texts_and_arrays_of_every_protocol_are_read(protocol: int) -> None:
    shared = [1, 2]
    plain = {
        "numbers": [0, -1, 255, 70_000, 2**40, -(2**80), 1.5, True, False, None],
        "texts": ["", "ä", "x" * 300, b"bytes"],
        "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
        "shared": [shared, shared],
        "ordered": collections.OrderedDict(a=1),
    }
    assert read_pickle(pickle.dumps(plain, protocol)) == plain
    arrays = {
        "c": np.arange(24.0).reshape(2, 3, 4),
        "f": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        "big": np.arange(3, dtype=">f4"),
        "int": np.arange(3),
        "bool": np.array([True, False]),
        "scalar": np.float32(2.5),
    }
    found = read_pickle(pickle.dumps(arrays, protocol))
    assert isinstance(found, dict)
    assert found.pop("scalar") == 2.5
    for name, array in found.items():
        assert isinstance(array, PickledArray)
        assert array.values is not None
        np.testing.assert_array_equal(array.values, np.asarray(arrays[name]))


def test_nested_tuples_are_no_keys_because_they_would_take_hours_to_hash() -> None:
    levels = b"".join(b"q" + bytes([level]) + b"h" + bytes([level]) + b"\x86" for level in range(60))
    with pytest.raises(UnsafePickle, match="keys are tuples"):
        read_pickle(b"\x80\x02}K\x01" + levels + b"K\x01s.")


class Command:
    """Writes a file when Python's own machine reads its pickle."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_pickle_that_runs_a_command_is_refused_by_the_name_of_the_command(tmp_path: Path, protocol: int) -> None:
    data = pickle.dumps({"keypoints": [Command(tmp_path / "written")]}, protocol)
    with pytest.raises(UnsafePickle, match=r"posix\.system"):
        read_pickle(data)
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("value", "says"),
    [
        (np.array([{}], object), "O8"),
        (np.zeros(2, [("a", "f4")]), "V4"),
        (np.array(["text"]), "U4"),
        (np.zeros(2, np.complex64), "c8"),
        ({1}, "set|SET"),
        (1j, "complex"),
        (Path("x"), "PosixPath"),
    ],
)
def test_other_objects_are_refused_by_name(protocol: int, value: object, says: str) -> None:
    with pytest.raises(UnsafePickle, match=says):
        read_pickle(pickle.dumps(value, protocol))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param(b"", ".", id="nothing"),
        pytest.param(pickle.dumps([1, 2])[:-1], ".", id="cut"),
        pytest.param(b"\x80\x04.", "lacks its values", id="no value"),
        pytest.param(b"e.", "lacks its mark", id="no mark"),
        pytest.param(b"\x80\x04Na.", "lacks|no list", id="append to nothing"),
        pytest.param(b"h\x05.", "before it is there", id="unknown memo"),
        pytest.param(b"\x8e" + struct.pack("<Q", 2**40) + b"abc.", ".", id="a text of a terabyte"),
        pytest.param(b"I" + b"9" * 5000 + b"\n.", ".", id="a number of 5000 digits"),
        pytest.param(b"}]Ns.", ".", id="a list as key"),
        pytest.param(pickle.dumps(np.zeros(4)).replace(struct.pack("<B", 4) + b"\x85", b"\xff\x85"), ".", id="shape"),
    ],
)
def test_damaged_pickles_are_refused(data: bytes, says: str) -> None:
    with pytest.raises(MalformedPickle, match=says):
        read_pickle(data)


def test_a_pickle_that_doubles_a_list_at_each_level_takes_no_memory() -> None:
    levels = b"]" + b"q\x00" + b"".join(b"](h%ch%ce" % (n, n) + b"q%c" % (n + 1) for n in range(100)) + b"."
    assert isinstance(read_pickle(levels), list)
