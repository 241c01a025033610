"""Landmark tensors: the stored format, and the conversion of a stored clip to a model's input."""

from signet.landmarks.movement import NothingSigned, why_nothing_is_signed
from signet.landmarks.quality import ClipQuality
from signet.landmarks.sampling import (
    FRAME_RATE,
    MAX_GAP_SECONDS,
    SAMPLES_PER_FRAME,
    SMOOTHING_SECONDS,
    describe_sampling_difference,
    to_model_input,
    to_subframe_samples,
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
    ClipLength,
    ClipRecord,
    Landmarks,
    dump,
    load,
    read_length,
    read_record,
)

__all__ = [
    "FRAME_RATE",
    "HEADER_BYTES",
    "JOINTS",
    "LEFT_HAND",
    "MAX_GAP_SECONDS",
    "PARTS",
    "POSE",
    "POSE_JOINTS",
    "RIGHT_HAND",
    "SAMPLES_PER_FRAME",
    "SCHEMA",
    "SMOOTHING_SECONDS",
    "ClipLength",
    "ClipQuality",
    "ClipRecord",
    "Landmarks",
    "NothingSigned",
    "describe_sampling_difference",
    "dump",
    "load",
    "read_length",
    "read_record",
    "to_model_input",
    "to_subframe_samples",
    "why_nothing_is_signed",
]
