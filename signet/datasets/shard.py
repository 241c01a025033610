"""The shard of a dataset snapshot: a safetensors file with one tensor "frames", float32 [N, S, 75, 3].

The safetensors library would copy hundreds of megabytes several times, and it cannot read from our memory maps. So this
module reads and writes the format itself: the length of the header as uint64; the header as JSON, padded with spaces to
a multiple of 8; the tensors. See https://huggingface.co/docs/safetensors.
"""

import hashlib
import json
import struct

import numpy as np
import numpy.typing as npt

from signet.landmarks import JOINTS
from signet.safetensors_header import LENGTH_BYTES, header_length, read_header

# A header with one tensor has about 100 bytes.
_MOST_HEADER_BYTES = 65_536


def encode_shard(samples: npt.NDArray[np.float32]) -> bytes:
    """The bytes of a shard with these samples."""
    return b"".join((_header(samples), _bytes(samples)))


def shard_digest(samples: npt.NDArray[np.float32]) -> str:
    """The sha256 of the shard, without a copy of the samples."""
    digest = hashlib.sha256(_header(samples))
    digest.update(_bytes(samples))
    return digest.hexdigest()


def decode_shard(shard: memoryview) -> npt.NDArray[np.float32]:
    """The samples of a shard, in its own memory. Old shards, [N, 75, 3], become [N, 1, 75, 3].

    Raises:
        ValueError, KeyError, TypeError: the bytes are not a shard.
    """
    entry = read_header(shard, _MOST_HEADER_BYTES)["frames"]
    if not all(isinstance(number, int) and number >= 0 for number in (*entry["shape"], *entry["data_offsets"])):
        raise ValueError(f"shape {entry['shape']} at {entry['data_offsets']}")
    frames, *samples = entry["shape"][:-2]
    if entry["dtype"] != "F32" or entry["shape"][-2:] != [JOINTS, 3] or len(samples) > 1:
        raise ValueError(f"{entry['dtype']} {entry['shape']} instead of F32 [N, S, {JOINTS}, 3]")
    start, end = entry["data_offsets"]
    begin = LENGTH_BYTES + header_length(shard)
    tensor = np.frombuffer(shard[begin + start : begin + end], "<f4")
    return tensor.reshape((frames, *(samples or [1]), JOINTS, 3))


def _header(samples: npt.NDArray[np.float32]) -> bytes:
    entry = {"dtype": "F32", "shape": samples.shape, "data_offsets": [0, samples.nbytes]}
    text = json.dumps({"frames": entry}, separators=(",", ":"))
    text += " " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text.encode()


def _bytes(samples: npt.NDArray[np.float32]) -> memoryview:
    return np.ascontiguousarray(samples, "<f4").data.cast("B")
