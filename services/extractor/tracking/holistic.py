"""MediaPipe Holistic: frames in, landmarks of pose and both hands out."""

import hashlib
import importlib.metadata
import importlib.util
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from services.extractor.video.decode import Frame
from signet.errors import SignetError
from signet.landmarks import LEFT_HAND, PARTS, POSE, POSE_JOINTS, RIGHT_HAND
from signet.landmarks.tensor import JOINTS

# The models that decide pose and hands at model_complexity 1. The wheel brings them; 0 and 2 would be downloads.
MODEL_COMPLEXITY = 1
_ASSETS = (
    "modules/pose_detection/pose_detection.tflite",
    "modules/pose_landmark/pose_landmark_full.tflite",
    "modules/holistic_landmark/hand_recrop.tflite",
    "modules/hand_landmark/hand_landmark_full.tflite",
)
# How we turn frames into what MediaPipe sees, and its answers into the tensor. Raise it when either changes.
_CONVERSION = "signet-landmarks-1"

# MediaPipe's own Holistic graph (modules/holistic_landmark/holistic_landmark_cpu.pbtxt) less the face: pose and hands
# do not depend on it and come out the same to the bit, in a tenth less time.
_GRAPH = """
    input_stream: "IMAGE:image"
    input_side_packet: "MODEL_COMPLEXITY:model_complexity"
    input_side_packet: "SMOOTH_LANDMARKS:smooth_landmarks"
    input_side_packet: "USE_PREV_LANDMARKS:use_prev_landmarks"
    output_stream: "POSE_LANDMARKS:pose_landmarks"
    output_stream: "LEFT_HAND_LANDMARKS:left_hand_landmarks"
    output_stream: "RIGHT_HAND_LANDMARKS:right_hand_landmarks"
    node {
        calculator: "PoseLandmarkCpu"
        input_stream: "IMAGE:image"
        input_side_packet: "MODEL_COMPLEXITY:model_complexity"
        input_side_packet: "SMOOTH_LANDMARKS:smooth_landmarks"
        input_side_packet: "USE_PREV_LANDMARKS:use_prev_landmarks"
        output_stream: "LANDMARKS:pose_landmarks"
    }
    node {
        calculator: "HandLandmarksLeftAndRightCpu"
        input_stream: "IMAGE:image"
        input_stream: "POSE_LANDMARKS:pose_landmarks"
        output_stream: "LEFT_HAND_LANDMARKS:left_hand_landmarks"
        output_stream: "RIGHT_HAND_LANDMARKS:right_hand_landmarks"
    }
"""


class MediaPipeMissing(SignetError):
    """MediaPipe, or a system library that it needs, is not installed."""

    code = "FAILED_PRECONDITION"


@cache
def fingerprint() -> str:
    """What every clip's record says of how it was extracted. Landmarks of two fingerprints are never mixed.

    Raises:
        MediaPipeMissing: there is no MediaPipe, or not all of its models.
    """
    spec = importlib.util.find_spec("mediapipe")
    if spec is None or spec.origin is None:
        raise MediaPipeMissing('MediaPipe is not installed. Install the extractor: pip install "signet[extractor]".')
    digest = hashlib.sha256()
    for asset in _ASSETS:
        path = Path(spec.origin).parent / asset
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError as error:
            raise MediaPipeMissing(
                f"{path}: MediaPipe's model cannot be read ({error.strerror}). Install mediapipe==0.10.21 again."
            ) from error
    version = importlib.metadata.version("mediapipe")
    return f"mediapipe-{version}/holistic-{MODEL_COMPLEXITY}/{digest.hexdigest()[:12]}/{_CONVERSION}"


@dataclass(frozen=True, eq=False)
class Tracks:
    """What MediaPipe found in one clip: the tensors of `signet.landmarks.Landmarks`, and the size of its frames."""

    landmarks: npt.NDArray[np.float16]
    presence: npt.NDArray[np.uint8]
    visibility: npt.NDArray[np.float16]
    timestamps: npt.NDArray[np.float32]
    width: int
    height: int
    decode_seconds: float
    landmark_seconds: float


class HolisticGraph:
    """One MediaPipe graph, used for clip after clip and reset before each, so that tracking cannot leak.

    Raises:
        MediaPipeMissing: MediaPipe cannot be loaded.
    """

    def __init__(self) -> None:
        try:
            # Seconds; only a worker needs it. Holistic's module registers what the graph is made of.
            from google.protobuf import text_format  # noqa: PLC0415
            from mediapipe.framework.calculator_pb2 import CalculatorGraphConfig  # noqa: PLC0415
            from mediapipe.python.solution_base import SolutionBase  # noqa: PLC0415
            from mediapipe.python.solutions import holistic  # noqa: F401, PLC0415
        except ImportError as error:
            raise MediaPipeMissing(
                f"MediaPipe cannot be loaded ({error}). It needs the system libraries libGL and libglib: on Debian and "
                "Ubuntu, apt-get install libgl1 libglib2.0-0."
            ) from error
        self._graph: Any = SolutionBase(
            graph_config=text_format.Parse(_GRAPH, CalculatorGraphConfig()),
            side_inputs={"model_complexity": MODEL_COMPLEXITY, "smooth_landmarks": True, "use_prev_landmarks": True},
            outputs=["pose_landmarks", "left_hand_landmarks", "right_hand_landmarks"],
        )
        self._fresh = True

    def track(self, frames: Iterable[Frame]) -> Tracks:
        """Find pose and hands in the frames of one clip; at least one frame, all of one size."""
        if not self._fresh:
            self._graph.reset()
        self._fresh = False
        joints, visibilities, seconds = [], [], []
        height = width = 0
        began = time.perf_counter()
        landmark_seconds = 0.0
        for frame in frames:
            height, width = frame.rgb.shape[:2]
            start = time.perf_counter()
            found = self._graph.process({"image": frame.rgb})
            landmark_seconds += time.perf_counter() - start
            joints.append(_joints(found, width / height))
            visibilities.append(_visibility(found))
            seconds.append(frame.seconds)
        landmarks = np.stack(joints).astype(np.float16)
        present = np.stack([np.isfinite(landmarks[:, where]).all(axis=(1, 2)) for where in PARTS.values()], axis=1)
        for index, where in enumerate(PARTS.values()):
            landmarks[~present[:, index], where] = np.nan
        visibility = np.stack(visibilities).astype(np.float16)
        visibility[~present[:, 0]] = np.nan
        return Tracks(
            landmarks=landmarks,
            presence=present.astype(np.uint8),
            visibility=visibility,
            timestamps=np.asarray(seconds, np.float32),
            width=width,
            height=height,
            decode_seconds=time.perf_counter() - began - landmark_seconds,
            landmark_seconds=landmark_seconds,
        )


def _joints(found: Any, aspect: float) -> npt.NDArray[np.float32]:
    """float32 [75, 3] in frame heights; NaN where a part was not found.

    MediaPipe gives x in frame widths, y in frame heights, and z in frame widths as well: x and z become heights by the
    aspect ratio.
    """
    joints = np.full((JOINTS, 3), np.nan, np.float32)
    for where, part in (
        (POSE, found.pose_landmarks),
        (LEFT_HAND, found.left_hand_landmarks),
        (RIGHT_HAND, found.right_hand_landmarks),
    ):
        if part is not None:
            joints[where] = [(joint.x * aspect, joint.y, joint.z * aspect) for joint in part.landmark]
    return joints


def _visibility(found: Any) -> npt.NDArray[np.float32]:
    """MediaPipe's visibility of each pose joint: float32 [33], NaN where no pose was found."""
    if found.pose_landmarks is None:
        return np.full(POSE_JOINTS, np.nan, np.float32)
    return np.asarray([joint.visibility for joint in found.pose_landmarks.landmark], np.float32)
