"""The networks of MediaPipe that find and track a signer, as sessions of ONNX Runtime."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from services.extractor.tracking.graph import MediaPipeMissing
from services.extractor.tracking.networks.onnx_conversion import convert

Array = npt.NDArray[Any]

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


@dataclass(frozen=True)
class NetworkFile:
    """A network in MediaPipe's wheel: its file, the outputs that are used, and the range of its input."""

    path: str
    outputs: tuple[str, ...]
    low: float = 0.0
    high: float = 1.0


# Finds people. Outputs: float32 [n, 2254, 12] boxes and points relative to anchors, in pixels; [n, 2254, 1] logits.
PERSON = NetworkFile("modules/pose_detection/pose_detection.tflite", ("Identity", "Identity_1"), low=-1.0)
# Finds the joints of a body in a crop. Outputs: float32 [n, 195]: x, y, z in pixels, the logits of visibility and
# presence, for 39 joints; [n, 1] the probability of a body; [n, 39, 64, 64] logits of a heatmap for each joint. Its
# other outputs, a segmentation mask and joints in metres, take a third of its time.
POSE = NetworkFile("modules/pose_landmark/pose_landmark_full.tflite", ("Identity", "Identity_1", "Identity_3"))
# Finds a hand's region in a crop about the wrist. Output: float32 [n, 4, 1, 1]: x, y of the region's centre and of the
# middle of its upper edge, in pixels.
HAND_REGION = NetworkFile("modules/holistic_landmark/hand_recrop.tflite", ("output_crop",))
# Finds the joints of a hand in a crop. Outputs: float32 [n, 63]: x, y, z in pixels; [n, 1] the probability of a hand.
HAND = NetworkFile("modules/hand_landmark/hand_landmark_full.tflite", ("Identity", "Identity_1"))


class Network:
    """A network, ready to run.

    Args:
        file: which network.
        device: "cpu" or "cuda".

    Raises:
        MediaPipeMissing: MediaPipe or the network's file is missing.
    """

    def __init__(self, file: NetworkFile, device: str = "cpu") -> None:
        path = wheel_folder() / file.path
        try:
            model = convert(path, file.outputs, file.low, file.high)
        except OSError as error:
            raise MediaPipeMissing(
                f"{path}: MediaPipe's model cannot be read ({error.strerror}). Install mediapipe==0.10.21 again."
            ) from error
        options = onnxruntime.SessionOptions()
        # One thread: clips are tracked in parallel, and the landmarks do not depend on the number of cores.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(model, options, providers=[_PROVIDERS[device]])
        self.size: int = self._session.get_inputs()[0].shape[1]

    def run(self, pictures: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
        """Run the network on pictures, uint8 [n, size, size, 3]."""
        outputs: list[npt.NDArray[np.float32]] = self._session.run(None, {"picture": pictures})
        return outputs


def wheel_folder() -> Path:
    """The folder of the installed MediaPipe.

    Raises:
        MediaPipeMissing: it is not installed.
    """
    spec = importlib.util.find_spec("mediapipe")
    if spec is None or spec.origin is None:
        raise MediaPipeMissing('MediaPipe is not installed. Install the extractor: pip install "signet[extractor]".')
    return Path(spec.origin).parent
