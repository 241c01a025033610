"""Mutations of landmark tensors. They keep the layout of safetensors, so that each check of a reader is reached."""

import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.hostile.mutations import mutate_bytes
from signet.landmarks import JOINTS, PARTS, POSE_JOINTS
from signet.landmarks.tensor import MAX_FRAMES
from signet.safetensors_header import LENGTH_BYTES, header_length, read_header

_DTYPES: tuple[Any, ...] = (
    "BOOL",
    "U8",
    "I8",
    "F8_E4M3",
    "I16",
    "F16",
    "BF16",
    "I32",
    "F32",
    "I64",
    "U64",
    "F64",
    "F4",
    "float16",
    "",
    7,
)
_SIZES: tuple[Any, ...] = (
    -1,
    0,
    1,
    2,
    3,
    75,
    2**31 - 1,
    2**31,
    2**32,
    2**63 - 1,
    2**63,
    2**64,
    10**30,
    1.5,
    None,
    "1",
    [],
    True,
)
_VALUES = (np.nan, np.inf, -np.inf, 0.0, -0.0, 65_504.0, -65_504.0, 6e-8)
_TIMES = (np.nan, np.inf, -np.inf, -1.0, 0.0, 1e-38, 3.4e38, 3_600.0, 1e9)
_FACTS: tuple[Any, ...] = (
    None,
    "",
    "x" * 10_000,
    "a\nb",
    "\u202e",
    "../..",
    -1,
    0,
    2**63,
    1e308,
    [],
    {},
    True,
    ["a"] * 5_000,
    "NaN",
)
_EMPTY_AND_SHORT = (0, 1, 2, 3)
# A valid tensor of so many frames costs a service up to some 10 ms.
_LONG = (150, 721, 3_601, 7_201)
_NESTING = 100_000

Header = dict[str, Any]
TensorMutation = Callable[[Header, bytes, random.Random], bytes]


def mutate_tensor(tensor: bytes, chance: random.Random) -> bytes:
    """A landmark tensor after one mutation of its header, its shapes, its values or its bytes."""
    header = read_header(tensor)
    return chance.choice(_TENSOR_MUTATIONS)(header, tensor[LENGTH_BYTES + header_length(tensor) :], chance)


def _pack(header: Header | str, data: bytes, length: int | None = None) -> bytes:
    """The bytes of a safetensors file. `length` replaces the length of the header."""
    text = header.encode() if isinstance(header, str) else json.dumps(header).encode()
    return (len(text) if length is None else length % 2**64).to_bytes(LENGTH_BYTES, "little") + text + data


def _tensor_names(header: Header) -> list[str]:
    return [name for name in header if name != "__metadata__"]


def _change_shape(header: Header, data: bytes, chance: random.Random) -> bytes:
    shape = header[chance.choice(_tensor_names(header))]["shape"]
    action = chance.randrange(4)
    if action == 0:
        shape.append(chance.choice(_SIZES))
    elif action == 1:
        shape.pop()
    elif action == 2:
        shape.reverse()
    else:
        shape[chance.randrange(len(shape))] = chance.choice(_SIZES)
    return _pack(header, data)


def _change_dtype(header: Header, data: bytes, chance: random.Random) -> bytes:
    header[chance.choice(_tensor_names(header))]["dtype"] = chance.choice(_DTYPES)
    return _pack(header, data)


def _change_offsets(header: Header, data: bytes, chance: random.Random) -> bytes:
    entry = header[chance.choice(_tensor_names(header))]
    offsets = entry["data_offsets"]
    if chance.random() < 0.2:
        offsets.reverse()
    else:
        near = offsets[0] + chance.choice((-8, -1, 1, 2, 4, 1_000))
        offsets[chance.randrange(2)] = chance.choice((*_SIZES, near))
    return _pack(header, data)


def _change_structure(header: Header, data: bytes, chance: random.Random) -> bytes:
    """Remove, rename, add or nest an entry of the header."""
    name = chance.choice([*header])
    action = chance.randrange(6)
    if action == 0:
        del header[name]
    elif action == 1:
        header[chance.choice(("", "LANDMARKS", "a\0b", "x" * 2_000, "__metadata__ "))] = header.pop(name)
    elif action == 2:
        header[name] = chance.choice(_FACTS)
    elif action == 3:
        header["more"] = {"dtype": "F32", "shape": [0], "data_offsets": [len(data), len(data)]}
    elif action == 4:
        text = json.dumps(header)
        return _pack(f"{text[:-1]}, {json.dumps(name)}: {json.dumps(header[name])}}}", data)
    else:
        return _pack(chance.choice(("[", '{"a":')) * _NESTING, data)
    return _pack(header, data)


def _change_record(header: Header, data: bytes, chance: random.Random) -> bytes:
    record = json.loads(header["__metadata__"]["signet"])
    name = chance.choice([*record, "quality", "warnings", "unknown"])
    if chance.random() < 0.2:
        record.pop(name, None)
    else:
        record[name] = chance.choice(_FACTS)
    header["__metadata__"]["signet"] = json.dumps(record)
    return _pack(header, data)


def _change_header_length(header: Header, data: bytes, chance: random.Random) -> bytes:
    true = len(json.dumps(header))
    return _pack(header, data, chance.choice((0, 1, true - 1, true + 1, 2**31, 2**63, -1, 4_096, len(data) + true + 1)))


def _change_data(header: Header, data: bytes, chance: random.Random) -> bytes:
    return _pack(header, mutate_bytes(data, chance, data))


def _change_header_text(header: Header, data: bytes, chance: random.Random) -> bytes:
    text = json.dumps(header).encode()
    mutated = mutate_bytes(text, chance, text)
    return len(mutated).to_bytes(LENGTH_BYTES, "little") + mutated + data


def _change_values(header: Header, data: bytes, chance: random.Random) -> bytes:
    """Write special numbers into a tensor."""
    name = chance.choice(("landmarks", "landmarks", "visibility", "timestamps", "presence"))
    begin, end = header[name]["data_offsets"]
    kinds: dict[str, tuple[type[np.generic], tuple[float, ...]]] = {
        "timestamps": (np.float32, _TIMES),
        "presence": (np.uint8, (0, 1, 2, 255)),
    }
    dtype, values = kinds.get(name, (np.float16, _VALUES))
    tensor = np.frombuffer(data[begin:end], dtype).copy()
    count = chance.choice((1, 1, 10, len(tensor)))
    places = [chance.randrange(len(tensor)) for _ in range(count)]
    tensor[places] = np.array([chance.choice(values)], np.float64).astype(dtype)
    return _pack(header, data[:begin] + tensor.tobytes() + data[end:])


def _change_frames(header: Header, data: bytes, chance: random.Random) -> bytes:
    """Another number of frames, with data that go with it: none, few, many, or more than are allowed."""
    frames = chance.choice((*_EMPTY_AND_SHORT, *_EMPTY_AND_SHORT, chance.choice(_LONG)))
    if chance.random() < 0.01:
        frames = MAX_FRAMES + 1
    random_values = np.random.default_rng(chance.getrandbits(32))
    present = chance.randrange(2)
    joints = np.full((frames, JOINTS, 3), np.nan, np.float16)
    if present:
        joints[:] = random_values.random((frames, 1, 1), np.float32)
    seconds = chance.choice((0.0, 1e-6, 1 / 30, 0.04, 1.0, 100.0))
    tensors: dict[str, npt.NDArray[np.generic]] = {
        "landmarks": joints,
        "presence": np.full((frames, len(PARTS)), present, np.uint8),
        "visibility": np.ones((frames, POSE_JOINTS), np.float16),
        "timestamps": (np.arange(frames) * seconds).astype(np.float32),
    }
    packed, entries = b"", {"__metadata__": header["__metadata__"]}
    for name, tensor in tensors.items():
        begin = len(packed)
        packed += tensor.tobytes()
        offsets = [begin, len(packed)]
        entries[name] = {"dtype": header[name]["dtype"], "shape": list(tensor.shape), "data_offsets": offsets}
    return _pack(entries, packed)


_TENSOR_MUTATIONS: tuple[TensorMutation, ...] = (
    _change_shape, _change_dtype, _change_offsets, _change_structure, _change_record, _change_header_length,
    _change_data, _change_header_text, _change_values, _change_frames,
)  # fmt: skip
