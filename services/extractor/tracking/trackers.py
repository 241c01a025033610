"""The trackers of a worker, and the extractor version that each clip's record stores."""

import importlib.metadata
from enum import StrEnum
from functools import cache

from services.extractor.tracking import holistic
from services.extractor.tracking.lockstep import LockstepTracker
from services.extractor.tracking.tracks import Tracker

# The frames per second that are tracked with the quality `fast`: as many as a model sees.
FAST_RATE = 10.0
# Version of the pipeline that turns frames into landmarks. Raise it when its landmarks change.
_PIPELINE = "signet-pipeline-1"


class TrackingQuality(StrEnum):
    """How many frames of a video are tracked, and with what.

    `FAST` tracks 10 frames a second with MediaPipe's networks in ONNX Runtime. `FULL` tracks all frames with
    MediaPipe's own graph, and takes about five times as long.
    """

    FAST = "fast"
    FULL = "full"


class Device(StrEnum):
    """What runs the networks."""

    CPU = "cpu"
    CUDA = "cuda"


@cache
def fingerprint(quality: TrackingQuality) -> str:
    """The extractor version that is stored in each clip's record. A corpus never mixes two fingerprints.

    Raises:
        MediaPipeMissing: MediaPipe or one of its networks is missing.
    """
    if quality is TrackingQuality.FULL:
        return holistic.fingerprint()
    digest = holistic.networks_digest()
    return f"mediapipe-{importlib.metadata.version('mediapipe')}/fast-{FAST_RATE:g}hz/{digest}/{_PIPELINE}"


def describe_extractor(extractor: str) -> str:
    """A fingerprint in words, with the option that makes clips of it, if there is one."""
    for quality in TrackingQuality:
        if extractor and extractor == fingerprint(quality):
            return f"{extractor} (--quality {quality})"
    return extractor or "another extractor"


def create_tracker(quality: TrackingQuality) -> Tracker:
    """Create a tracker for the clips of one process.

    Raises:
        MediaPipeMissing: MediaPipe or one of its networks is missing.
    """
    return holistic.HolisticGraph() if quality is TrackingQuality.FULL else LockstepTracker(FAST_RATE)
