"""Reads the header of safetensors files: its length as uint64, and then JSON. See https://huggingface.co/docs/safetensors.

The safetensors library reads tensors, but its `load` does not return the metadata.
"""

import json
from typing import Any

# The length of the header is a number of so many bytes.
LENGTH_BYTES = 8

# The largest header of a file with many tensors or a long record. The record of held-out predictions is the longest:
# it names each clip for each seed, 20,000 clips of ten seeds are about 3 MB.
MAX_HEADER_BYTES = 64 << 20


def header_length(data: bytes | memoryview, most: int = MAX_HEADER_BYTES) -> int:
    """The length of the header in bytes, without the number before it.

    Raises:
        ValueError: it is longer than `most` bytes, or than the data.
    """
    if len(data) < LENGTH_BYTES:
        raise ValueError(f"{len(data)} bytes are too few for a safetensors header")
    length = int.from_bytes(data[:LENGTH_BYTES], "little")
    if length > min(most, len(data) - LENGTH_BYTES):
        raise ValueError(f"its header claims {length} bytes")
    return length


def read_header(data: bytes | memoryview, most: int = MAX_HEADER_BYTES) -> dict[str, dict[str, Any]]:
    """The header: the dtype, the shape and the offsets of each tensor by its name, and "__metadata__" if there is any.

    Raises:
        ValueError: the data does not begin with such a header. A header that names a key twice is none: two readers
            could take different values for it.
    """
    length = header_length(data, most)
    text = bytes(data[LENGTH_BYTES : LENGTH_BYTES + length]).decode()
    try:
        header = _DECODER.decode(text)
    except RecursionError:
        raise ValueError("its header is nested too deep") from None
    if not isinstance(header, dict) or not all(isinstance(entry, dict) for entry in header.values()):
        raise ValueError("its header is not an object of objects")
    return header


def read_metadata(data: bytes | memoryview, key: str, most: int = MAX_HEADER_BYTES) -> str | None:
    """The text that the metadata has for a key; None if it has none.

    Raises:
        ValueError: the data does not begin with a header, as in `read_header`; or the value is not a text.
    """
    value = read_header(data, most).get("__metadata__", {}).get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"its metadata {key!r} is not a text")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("its header names a key twice")
    return found


# `json.loads` would make a decoder for each header, which takes as long as reading one.
_DECODER = json.JSONDecoder(object_pairs_hook=_unique)
