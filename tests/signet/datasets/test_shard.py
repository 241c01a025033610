"""Shards, compared with the files of the safetensors library."""

import hashlib

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
