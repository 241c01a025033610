"""Landmark tensors: the stored format, and the one path from it to a model's input."""

from signet.landmarks.sampling import (
    FRAME_RATE,
    INSTANTS,
    MAX_GAP_SECONDS,
    SMOOTHING_SECONDS,
    to_instants,
    to_model_input,
    unlike,
)
from signet.landmarks.tensor import (
    HEADER_BYTES,
    JOINTS,
    LEFT_HAND,
    PARTS,
    POSE,
    POSE_JOINTS,
    RIGHT_HAND,
    SCHEMA,
    ClipRecord,
    Landmarks,
    dump,
    load,
    read_record,
)

__all__ = [
    "FRAME_RATE",
    "HEADER_BYTES",
    "INSTANTS",
    "JOINTS",
    "LEFT_HAND",
    "MAX_GAP_SECONDS",
    "PARTS",
    "POSE",
    "POSE_JOINTS",
    "RIGHT_HAND",
    "SCHEMA",
    "SMOOTHING_SECONDS",
    "ClipRecord",
    "Landmarks",
    "dump",
    "load",
    "read_record",
    "to_instants",
    "to_model_input",
    "unlike",
]
