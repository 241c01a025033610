"""Headers of safetensors files: real ones are read, and hostile ones are refused, by each reader alike."""

import json
from collections.abc import Callable

import numpy as np
import pytest
from safetensors.numpy import save

from services.trainer.config.train_config import TrainConfig
from services.trainer.model.build import restore_model
from services.trainer.training.state import load_state
from signet import heldout, landmarks
from signet.datasets.shard import decode_shard
from signet.errors import DataLoss, InvalidLandmarks
from signet.landmarks.tensor import read_length
from signet.safetensors_header import LENGTH_BYTES, MAX_HEADER_BYTES, header_length, read_header, read_metadata

DEEP = 100_000


def with_header(text: str, after: bytes = b"") -> bytes:
    """A file with this header."""
    data = text.encode()
    return len(data).to_bytes(LENGTH_BYTES, "little") + data + after


HOSTILE = {
    "no bytes": b"",
    "no header": b"\x01",
    "a header longer than the file": (1000).to_bytes(8, "little") + b"{}",
    "a header of 18 exabytes": b"\xff" * 8 + b"{}",
    "no JSON": with_header("{"),
    "an empty header": with_header(""),
    "a list": with_header("[]"),
    "a number": with_header("1" * 5000),
    "a metadata of another kind": with_header('{"__metadata__":[]}'),
    "a value of another kind": with_header('{"__metadata__":{"signet":{"a":1}}}'),
    "deep lists": with_header('{"a":' + "[" * DEEP + "]" * DEEP + "}"),
    "deep objects": with_header('{"a":' * DEEP + "1" + "}" * DEEP),
    "UTF-16": (4).to_bytes(8, "little") + "{}".encode("utf-16-le"),
    "bytes that are no text": (4).to_bytes(8, "little") + b'{"\xff"',
    "a name twice": with_header('{"__metadata__":{"signet":"{}"},"__metadata__":{"signet":"{}"}}'),
    "a key twice": with_header('{"__metadata__":{"signet":"{}","signet":"[]"}}'),
}


def test_a_real_file_is_read_as_the_library_wrote_it() -> None:
    data = save({"a": np.zeros((2, 3), np.float32)}, {"signet": "é"})
    assert header_length(data) == len(data) - LENGTH_BYTES - 24
    assert read_header(data)["a"] == {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
    assert read_metadata(data, "signet") == read_metadata(memoryview(data), "signet") == "é"
    assert read_metadata(data, "other") is None
    assert read_metadata(save({}, None), "signet") is None


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_header_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_metadata(data, "signet")


def test_a_header_may_not_be_longer_than_its_limit() -> None:
    data = with_header("{}" + " " * 100)
    assert read_header(data, 102) == {}
    with pytest.raises(ValueError, match="its header claims 102 bytes"):
        read_header(data, 101)
    with pytest.raises(ValueError, match="its header claims"):
        header_length((MAX_HEADER_BYTES + 1).to_bytes(8, "little") + bytes(MAX_HEADER_BYTES + 1))


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_each_reader_refuses_a_hostile_header_with_an_error_of_its_own(data: bytes) -> None:
    readers: list[tuple[Callable[[], object], type[Exception]]] = [
        (lambda: landmarks.load(data), InvalidLandmarks),
        (lambda: heldout.load_predictions(data), DataLoss),
        (lambda: load_state(data), DataLoss),
        (lambda: restore_model(TrainConfig(), 3, data, "model"), DataLoss),
        (lambda: decode_shard(memoryview(data)), (ValueError, KeyError)),  # type: ignore[list-item]
    ]
    for reader, error in readers:
        with pytest.raises(error):
            reader()
    assert read_length(data) is None


def test_a_second_tensor_of_the_same_name_cannot_give_a_clip_another_length() -> None:
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    text = json.dumps({"timestamps": entry})
    twice = f'{text[:-1]},"timestamps":{json.dumps({**entry, "data_offsets": [0, 8]})}}}'
    assert read_length(with_header(text, bytes(8))) is not None
    assert read_length(with_header(twice, bytes(8))) is None
