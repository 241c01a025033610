"""The landmark tensor v1: the landmarks of a clip as safetensors bytes. docs/landmarks-v1.md specifies the format."""

import json
import math
import struct
from dataclasses import dataclass
from typing import Literal, NoReturn

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from signet.errors import InvalidLandmarks
from signet.field_types import Gloss, Label, describe_first_fault
from signet.landmarks.quality import ClipQuality
from signet.safetensors_header import LENGTH_BYTES, header_length, read_header, read_metadata

SCHEMA = "signet.landmarks/1"

POSE_JOINTS = 33
HAND_JOINTS = 21
JOINTS = POSE_JOINTS + 2 * HAND_JOINTS

# The joints of each part. Left and right are the signer's own.
POSE = slice(0, POSE_JOINTS)
LEFT_HAND = slice(POSE_JOINTS, POSE_JOINTS + HAND_JOINTS)
RIGHT_HAND = slice(POSE_JOINTS + HAND_JOINTS, JOINTS)
PARTS = {"pose": POSE, "left": LEFT_HAND, "right": RIGHT_HAND}

# Ten minutes at 60 fps. An isolated sign takes seconds; a longer input is a film, or an attack.
MAX_FRAMES = 36_000

# Readers sample a clip at even steps. Two frames that are weeks apart would need millions of samples.
MAX_SECONDS = 3_600.0

# The first bytes of a stored clip, this many, always hold its record.
HEADER_BYTES = 4096
_MAX_HEADER_BYTES = HEADER_BYTES - LENGTH_BYTES

_METADATA_KEY = "signet"

# The bits of an infinite float16.
_INFINITY = 0x7C00


class ClipRecord(BaseModel):
    """The facts about a clip besides its landmarks. They are in the tensor's header, so that both stay together."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: Literal["signet.landmarks/1"] = Field(default="signet.landmarks/1", alias="schema")
    clip_id: Label = Field(min_length=1, max_length=200)
    corpus: Label = ""
    gloss: Gloss = ""
    split: Label = ""
    signer: Label = ""
    fps: float = Field(gt=0, le=1000)
    width: int = Field(gt=0, le=16384)
    height: int = Field(gt=0, le=16384)
    source_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    # The frames of the source that form the clip, 1-based and inclusive, as WLASL counts them.
    frame_start: int = Field(default=1, ge=1)
    frame_end: int = Field(ge=1)
    extractor: Label = ""
    # What a person should know before using the clip, in words.
    warnings: tuple[Label, ...] = ()
    # None in clips that were stored before it was measured.
    quality: ClipQuality | None = None


@dataclass(frozen=True, eq=False)
class Landmarks:
    """The landmarks of a clip."""

    # float16 [T, 75, 3]; 33 pose, 21 left hand, 21 right hand; x, y, z in units of frame height, origin top left, z
    # relative to the hips (pose) or the wrist (hands). Joints of an absent part are NaN.
    landmarks: npt.NDArray[np.float16]
    presence: npt.NDArray[np.uint8]  # uint8 [T, 3]; 1 where the pose, the left hand or the right hand was found
    # float16 [T, 33]; MediaPipe's visibility of each pose joint, 0 to 1, NaN where the pose is absent.
    visibility: npt.NDArray[np.float16]
    timestamps: npt.NDArray[np.float32]  # float32 [T]; seconds since the clip's first frame, strictly increasing
    record: ClipRecord  # the facts about the clip

    @property
    def frames(self) -> int:
        """T, the number of frames."""
        return len(self.timestamps)

    @property
    def length(self) -> "ClipLength":
        """The number of frames, and the seconds from the first to the last one."""
        return ClipLength(self.frames, float(self.timestamps[-1]) - float(self.timestamps[0]))


@dataclass(frozen=True)
class ClipLength:
    """The length of a clip."""

    frames: int
    seconds: float  # from the first frame to the last one


def dump(clip: Landmarks) -> bytes:
    """Encode a clip. Equal clips give equal bytes: with one metadata key, no hash order matters."""
    tensors: dict[str, npt.NDArray[np.generic]] = {
        "landmarks": clip.landmarks,
        "presence": clip.presence,
        "visibility": clip.visibility,
        "timestamps": clip.timestamps,
    }
    _check(tensors, clip.record.clip_id)
    # Without warnings and quality, the bytes are those that earlier versions wrote.
    left_out = {name for name in ("warnings", "quality") if not getattr(clip.record, name)}
    record = json.dumps(clip.record.model_dump(by_alias=True, exclude=left_out), sort_keys=True, separators=(",", ":"))
    data = save_safetensors(
        {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, {_METADATA_KEY: record}
    )
    # Refuse a record that is too long for `HEADER_BYTES` here, at the writer, and not later at each reader.
    read_record(data[:HEADER_BYTES], clip.record.clip_id)
    return data


def load(data: bytes, name: str = "landmarks") -> Landmarks:
    """Decode and check a clip; `name` is the name of the input in an error.

    Raises:
        InvalidLandmarks: the bytes are not a landmark tensor v1.
    """
    record = read_record(data, name)
    try:
        tensors = load_safetensors(data)
    except (SafetensorError, ValueError, KeyError) as error:
        _refuse(name, f"not readable as safetensors ({error})")
    _check(tensors, name)
    # Further tensors are parts of later versions; a reader of v1 ignores them.
    return Landmarks(tensors["landmarks"], tensors["presence"], tensors["visibility"], tensors["timestamps"], record)


def read_record(head: bytes, name: str = "landmarks") -> ClipRecord:
    """Read the record of a clip from its first `HEADER_BYTES` bytes, without its tensors."""
    try:
        header_length(head, _MAX_HEADER_BYTES)
    except ValueError as error:
        _refuse(name, str(error))
    try:
        record = read_metadata(head, _METADATA_KEY, _MAX_HEADER_BYTES)
    except ValueError:
        record = None
    if record is None:
        _refuse(name, f"it carries no {SCHEMA} record")
    try:
        return ClipRecord.model_validate_json(record)
    except ValidationError as error:
        _refuse(name, f"its record is not of {SCHEMA}: {describe_first_fault(error)}")


def read_length(data: bytes) -> ClipLength | None:
    """Read the length of a clip from its header and from its first and last time. The other tensors are not read.

    Returns None if the bytes have no such length; `load` refuses them. `load` also checks the times between.
    """
    try:
        begin, end = read_header(data, _MAX_HEADER_BYTES)["timestamps"]["data_offsets"]
        start = LENGTH_BYTES + header_length(data)
        if not 0 <= begin < end <= len(data) - start or (end - begin) % 4:
            return None
        (first,) = struct.unpack_from("<f", data, start + begin)
        (last,) = struct.unpack_from("<f", data, start + end - 4)
    except (ValueError, KeyError, TypeError, struct.error):
        return None
    seconds = last - first
    return ClipLength((end - begin) // 4, seconds) if math.isfinite(seconds) else None


def _check(tensors: dict[str, npt.NDArray[np.generic]], name: str) -> None:
    """Refuse tensors that break a rule of the specification; the error names the first broken rule."""
    frames = len(tensors["timestamps"]) if "timestamps" in tensors and tensors["timestamps"].ndim == 1 else -1
    expected: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
        "landmarks": (np.float16, (frames, JOINTS, 3)),
        "presence": (np.uint8, (frames, len(PARTS))),
        "visibility": (np.float16, (frames, POSE_JOINTS)),
        "timestamps": (np.float32, (frames,)),
    }
    for key, (dtype, shape) in expected.items():
        if key not in tensors:
            _refuse(name, f"the tensor {key!r} is missing")
        if tensors[key].dtype != dtype or tensors[key].shape != shape:
            actual = f"{tensors[key].dtype} {list(tensors[key].shape)}"
            _refuse(name, f"{key!r} must be {np.dtype(dtype)} {list(shape)}, not {actual}")
    if not 1 <= frames <= MAX_FRAMES:
        _refuse(name, f"it has {frames} frames; 1 to {MAX_FRAMES} are allowed")

    times = tensors["timestamps"].astype(np.float64)
    # Times that increase are finite if the first one and the last one are.
    if not (math.isfinite(times[0]) and math.isfinite(times[-1]) and (times[1:] > times[:-1]).all()):
        _refuse(name, "'timestamps' must be finite and strictly increasing")
    if times[-1] - times[0] > MAX_SECONDS:
        _refuse(name, f"'timestamps' span {times[-1] - times[0]:g} s; at most {MAX_SECONDS:g} s are allowed")
    presence = tensors["presence"].astype(np.uint8)
    if (presence > 1).any():
        _refuse(name, "'presence' must hold 0 and 1 only")
    # float16 without the sign, as integers: their order is that of the numbers, then infinity, then NaN.
    sizes = (tensors["landmarks"].view(np.uint16) & 0x7FFF).reshape(frames, -1)
    for index, (part, where) in enumerate(PARTS.items()):
        present = presence[:, index] == 1
        joints = sizes[:, 3 * where.start : 3 * where.stop]
        if (present & (joints.max(axis=1) >= _INFINITY)).any():
            _refuse(name, f"a frame says that {part!r} is present, but some of its joints are not finite")
        if (~present & (joints.min(axis=1) <= _INFINITY)).any():
            _refuse(name, f"a frame says that {part!r} is absent, but its joints are not NaN")


def _refuse(name: str, fault: str) -> NoReturn:
    raise InvalidLandmarks(
        f"{name}: not a landmark tensor v1: {fault}. Make one with `signet extract` or Extractor.ExtractClip; "
        "docs/landmarks-v1.md is the format."
    )
