"""Shards, compared with the files of the safetensors library."""

import hashlib
import struct

import numpy as np
import pytest
import safetensors.numpy

from signet.datasets.shard import decode_shard, encode_shard, shard_digest


@pytest.mark.parametrize("frames", [1, 12, 123, 1234])
@pytest.mark.parametrize("samples", [1, 3])
def test_a_shard_of_any_size_equals_the_file_of_the_library(frames: int, samples: int) -> None:
    """The length of the header differs, and so does its padding."""
    values = np.arange(frames * samples * 75 * 3, dtype=np.float32).reshape(frames, samples, 75, 3)
    shard = encode_shard(values)
    assert shard == safetensors.numpy.save({"frames": values})
    assert shard_digest(values) == hashlib.sha256(shard).hexdigest()
    assert np.array_equal(decode_shard(memoryview(shard)), values)


def _with_header(header: bytes, length: int = -1) -> memoryview:
    return memoryview(struct.pack("<Q", len(header) if length < 0 else length) + header + bytes(900))


@pytest.mark.parametrize(
    "shard",
    [
        _with_header(b"{}", 2**62),
        _with_header(b"[" * 50_000),
        _with_header(b'{"frames":{"dtype":"F32","shape":[1e9,1,75,3],"data_offsets":[0,900]}}'),
        _with_header(b'{"frames":{"dtype":"F32","shape":[-1,1,75,3],"data_offsets":[0,900]}}'),
        _with_header(b'{"frames":{"dtype":"F32","shape":[1000000000,1,75,3],"data_offsets":[0,900]}}'),
        _with_header(b'{"frames":{"dtype":"F32","shape":[1,1,75,3],"data_offsets":[-900,900]}}'),
        _with_header(b'{"frames":[]}'),
        _with_header(b"\xff\xfe"),
        memoryview(b"short"),
    ],
)
def test_a_hostile_header_of_a_shard_is_an_error_that_the_reader_names(shard: memoryview) -> None:
    with pytest.raises((ValueError, KeyError, TypeError, struct.error)):
        decode_shard(shard)
