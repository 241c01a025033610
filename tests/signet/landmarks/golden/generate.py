"""Writes the golden files: `python tests/signet/landmarks/golden/generate.py`.

Each invalid file breaks only the rule in its name.

They are written with the standard library and numpy alone, byte by byte as docs/landmarks-v1.md says, so that they test
`signet.landmarks` and not themselves.
"""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FOLDER = Path(__file__).parent
PARTS = {"pose": slice(0, 33), "left": slice(33, 54), "right": slice(54, 75)}
DTYPES = {"float16": "F16", "float32": "F32", "uint8": "U8", "int64": "I64"}

Tensors = dict[str, npt.NDArray[Any]]

RECORD: dict[str, object] = {
    "schema": "signet.landmarks/1",
    "clip_id": "golden-1",
    "corpus": "golden",
    "gloss": "book",
    "split": "train",
    "signer": "7",
    "fps": 25.0,
    "width": 640,
    "height": 480,
    "source_sha256": "",
    "frame_start": 1,
    "frame_end": 3,
    "extractor": "golden-1",
}


def tensors() -> Tensors:
    """Three frames: all there, the left hand gone, all gone. Joint j, channel c of frame t: j/64 + c/4 + t/8."""
    presence = np.asarray([[1, 1, 1], [1, 0, 1], [0, 0, 0]], np.uint8)
    frame, joint, channel = np.meshgrid(np.arange(3), np.arange(75), np.arange(3), indexing="ij")
    landmarks = (joint / 64 + channel / 4 + frame / 8).astype(np.float16)
    visibility = np.full((3, 33), 0.5, np.float16)
    for index, where in enumerate(PARTS.values()):
        landmarks[presence[:, index] == 0, where] = np.nan
    visibility[presence[:, 0] == 0] = np.nan
    timestamps = np.asarray([0.0, 0.04, 0.12], np.float32)  # a frame was dropped before the third
    return {"landmarks": landmarks, "presence": presence, "visibility": visibility, "timestamps": timestamps}


def encode(content: Tensors, record: object = RECORD, metadata: dict[str, str] | None = None) -> bytes:
    """Safetensors: the length of a JSON header, the header padded to 8 bytes, the tensors by falling alignment."""
    header: dict[str, object] = {
        "__metadata__": metadata
        or {"signet": record if isinstance(record, str) else json.dumps(record, sort_keys=True, separators=(",", ":"))}
    }
    body = b""
    for name, tensor in sorted(content.items(), key=lambda pair: (-pair[1].itemsize, pair[0])):
        data = np.ascontiguousarray(tensor).astype(tensor.dtype.newbyteorder("<")).tobytes()
        header[name] = {
            "dtype": DTYPES[tensor.dtype.name],
            "shape": list(tensor.shape),
            "data_offsets": [len(body), len(body) + len(data)],
        }
        body += data
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def changed(name: str, index: Any, value: float) -> Tensors:
    """The tensors with one value changed."""
    content = tensors()
    content[name][index] = value
    return content


def files() -> dict[str, bytes]:
    """Every golden file by name; an invalid one begins with the number of the rule that it breaks."""
    whole, frames = tensors(), np.s_[:2]
    bare = {name: tensor for name, tensor in whole.items() if name != "visibility"}
    short = whole | {"presence": whole["presence"][frames]}
    none = {name: tensor[:0] for name, tensor in whole.items()}
    one = {name: tensor[:1] for name, tensor in whole.items()}
    lips = whole | {"lips": np.zeros((3, 40, 3), np.float16)}
    minimal = {
        "schema": "signet.landmarks/1",
        "clip_id": "golden-2",
        "fps": 30,
        "width": 2,
        "height": 1,
        "frame_end": 1,
    }
    return {
        "valid/three-frames.safetensors": encode(whole),
        "valid/minimal-record.safetensors": encode(one, minimal),
        "valid/unknown-tensor.safetensors": encode(lips),
        "valid/unknown-field.safetensors": encode(whole, RECORD | {"camera": "left"}),
        "invalid/1-1-cut-off.safetensors": encode(whole)[:-1],
        "invalid/1-1-not-safetensors.safetensors": b"PK\x03\x04" + bytes(60),
        "invalid/1-2-header-too-long.safetensors": encode(whole, RECORD | {"note": "x" * 4000}),
        "invalid/2-1-no-record.safetensors": encode(whole, metadata={"format": "pt"}),
        "invalid/2-2-other-schema.safetensors": encode(whole, RECORD | {"schema": "signet.landmarks/2"}),
        "invalid/2-3-no-clip-id.safetensors": encode(whole, {k: v for k, v in RECORD.items() if k != "clip_id"}),
        "invalid/2-3-zero-height.safetensors": encode(whole, RECORD | {"height": 0}),
        "invalid/2-5-gloss-with-newline.safetensors": encode(whole, RECORD | {"gloss": "book\nforged"}),
        "invalid/3-1-missing-tensor.safetensors": encode(bare),
        "invalid/3-2-wrong-dtype.safetensors": encode(whole | {"landmarks": whole["landmarks"].astype(np.float32)}),
        "invalid/3-3-wrong-shape.safetensors": encode(short),
        "invalid/3-4-no-frames.safetensors": encode(none),
        "invalid/4-1-time-stands-still.safetensors": encode(changed("timestamps", 2, 0.04)),
        "invalid/4-1-time-not-finite.safetensors": encode(changed("timestamps", 2, float("inf"))),
        "invalid/4-3-more-than-an-hour.safetensors": encode(changed("timestamps", 2, 3601.0)),
        "invalid/5-1-presence-of-two.safetensors": encode(changed("presence", (0, 0), 2)),
        "invalid/5-2-present-but-nan.safetensors": encode(changed("landmarks", (0, 60, 1), float("nan"))),
        "invalid/5-3-absent-but-zero.safetensors": encode(changed("landmarks", (2, slice(33, 54)), 0.0)),
    }


if __name__ == "__main__":
    for name, data in files().items():
        path = FOLDER / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
