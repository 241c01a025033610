"""Runs MediaPipe Holistic on frames and returns landmarks of the pose and both hands."""

import hashlib
import importlib.metadata
import importlib.util
import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from services.extractor.tracking.graph import MediaPipeMissing, create_graph
from services.extractor.tracking.people import PeopleCounter
from services.extractor.tracking.tracks import Tracks, TracksBuilder
from services.extractor.video.decode import Frame
from signet.landmarks import LEFT_HAND, POSE, POSE_JOINTS, RIGHT_HAND
from signet.landmarks.tensor import JOINTS

# The models of pose and hands at model_complexity 1. The wheel contains them; complexities 0 and 2 need a download.
MODEL_COMPLEXITY = 1
_ASSETS = (
    "modules/pose_detection/pose_detection.tflite",
    "modules/pose_landmark/pose_landmark_full.tflite",
    "modules/holistic_landmark/hand_recrop.tflite",
    "modules/hand_landmark/hand_landmark_full.tflite",
)
# Version of the conversion from frames to MediaPipe input and from its output to the tensor. Raise it when that
# changes.
_CONVERSION = "signet-landmarks-1"

# MediaPipe's Holistic graph (modules/holistic_landmark/holistic_landmark_cpu.pbtxt) without the face. Pose and hands do
# not depend on the face: they are bit-identical, in a tenth less time.
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


def fingerprint() -> str:
    """The extractor version of clips that this graph tracks.

    Raises:
        MediaPipeMissing: MediaPipe or one of its models is missing.
    """
    digest = networks_digest()
    return f"mediapipe-{importlib.metadata.version('mediapipe')}/holistic-{MODEL_COMPLEXITY}/{digest}/{_CONVERSION}"


@cache
def networks_digest() -> str:
    """Hash of the networks in MediaPipe's wheel.

    Raises:
        MediaPipeMissing: MediaPipe or one of its models is missing.
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
    return digest.hexdigest()[:12]


class HolisticGraph:
    """One MediaPipe graph for many clips, reset before each clip so that tracking does not leak into the next.

    It wants all frames (`rate` 0).

    Raises:
        MediaPipeMissing: MediaPipe cannot be loaded.
    """

    rate = 0.0

    def __init__(self) -> None:
        self._graph = create_graph(
            _GRAPH,
            ["pose_landmarks", "left_hand_landmarks", "right_hand_landmarks"],
            {"model_complexity": MODEL_COMPLEXITY, "smooth_landmarks": True, "use_prev_landmarks": True},
        )
        self._people = PeopleCounter()
        self._fresh = True

    def track(self, frames: Iterable[Frame]) -> Tracks:
        """Track pose and hands through the frames of one clip: at least one frame, all of the same size."""
        if not self._fresh:
            self._graph.reset()
        self._fresh = False
        self._people.start()
        builder = TracksBuilder()
        for frame in frames:
            height, width = frame.rgb.shape[:2]
            start = time.perf_counter()
            results = self._graph.process({"image": frame.rgb})
            self._people.see(frame)
            seconds = time.perf_counter() - start
            builder.add(frame, _joints(results, width / height), _visibility(results), seconds)
        return builder.build(many_people=self._people.many)


def _joints(results: Any, aspect: float) -> npt.NDArray[np.float32]:
    """Joints of one frame: float32 [75, 3] in frame heights; NaN where a part was not found.

    MediaPipe gives x and z in frame widths and y in frame heights. The aspect ratio converts x and z.
    """
    joints = np.full((JOINTS, 3), np.nan, np.float32)
    for where, part in (
        (POSE, results.pose_landmarks),
        (LEFT_HAND, results.left_hand_landmarks),
        (RIGHT_HAND, results.right_hand_landmarks),
    ):
        if part is not None:
            joints[where] = [(joint.x * aspect, joint.y, joint.z * aspect) for joint in part.landmark]
    return joints


def _visibility(results: Any) -> npt.NDArray[np.float32]:
    """MediaPipe's visibility of each pose joint: float32 [33]; NaN if no pose was found."""
    if results.pose_landmarks is None:
        return np.full(POSE_JOINTS, np.nan, np.float32)
    return np.asarray([joint.visibility for joint in results.pose_landmarks.landmark], np.float32)
