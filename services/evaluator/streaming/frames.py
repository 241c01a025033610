"""Reads landmark frames from messages."""

import numpy as np
import numpy.typing as npt

from signet.errors import InvalidInput
from signet.landmarks import JOINTS
from signet.v1 import streaming_pb2

# The frames of one message: 20 s of a camera. More would hold up the other streams.
MAX_FRAMES = 600

Joints = npt.NDArray[np.floating[npt.NBitBase]]

_LITTLE_ENDIAN = {"float16": "<f2", "float32": "<f4"}


def read_frames(message: streaming_pb2.LandmarkFrames) -> Joints:
    """The landmarks [frames, 75, 3] of a message; NaN where a part is absent.

    Raises:
        InvalidInput: the message has no landmarks, too many frames, or a wrong number of bytes.
    """
    count = len(message.seconds)
    if count > MAX_FRAMES:
        raise InvalidInput(
            f"frames has {count} frames; at most {MAX_FRAMES} are allowed. Send them in several messages."
        )
    kind = message.WhichOneof("values")
    if kind is None:
        if count:
            raise InvalidInput(f"frames has {count} times and no landmarks. Set `float16` or `float32`.")
        return np.zeros((0, JOINTS, 3), np.float16)
    data: bytes = getattr(message, kind)
    dtype = np.dtype(_LITTLE_ENDIAN[kind])
    expected = count * JOINTS * 3 * dtype.itemsize
    if len(data) != expected:
        raise InvalidInput(
            f"frames.{kind} has {len(data)} bytes, but {count} frames of [{JOINTS}, 3] numbers have {expected}. Give "
            "each frame its time in `seconds`."
        )
    landmarks: Joints = np.frombuffer(data, dtype).reshape(count, JOINTS, 3)
    return landmarks
