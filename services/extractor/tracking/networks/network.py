"""The networks of MediaPipe that find and track a signer, as sessions of ONNX Runtime."""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from services.extractor.tracking.graph import MediaPipeMissing
from services.extractor.tracking.networks.onnx_conversion import convert
from services.extractor.tracking.networks.onnx_graph import PICTURE
from services.extractor.tracking.networks.tflite_file import InvalidNetwork
from signet.errors import SignetError

Array = npt.NDArray[Any]

_REINSTALL = "Install MediaPipe again: pip install --force-reinstall --no-deps mediapipe==0.10.21."
# The newest build of ONNX Runtime for GPUs. It replaces the package onnxruntime: both have the same module.
GPU_PACKAGE = "onnxruntime-gpu==1.31.1"

# ONNX Runtime's words for it.
_NO_MEMORY = "Failed to allocate memory"


class GpuMissing(SignetError):
    """Networks cannot run on a GPU here."""

    code = "FAILED_PRECONDITION"


@dataclass(frozen=True)
class NetworkFile:
    """A network in the wheel of MediaPipe 0.10.21.

    Args:
        path: the file, relative to the folder of the package.
        sha256: of the file.
        outputs: the outputs that are used.
        low: the value that the network wants for black, 0.
        high: the value that it wants for white, 255.
    """

    path: str
    sha256: str
    outputs: tuple[str, ...]
    low: float = 0.0
    high: float = 1.0


# Finds people. Outputs: float32 [n, 2254, 12] boxes and points relative to anchors, in pixels; [n, 2254, 1] logits.
PERSON = NetworkFile(
    "modules/pose_detection/pose_detection.tflite",
    "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    ("Identity", "Identity_1"),
    low=-1.0,
)
# Finds the joints of a body in a crop. Outputs: float32 [n, 195]: x, y, z in pixels, the logits of visibility and
# presence, for 39 joints; [n, 1] the probability of a body; [n, 39, 64, 64] logits of a heatmap for each joint. Its
# other outputs, a segmentation mask and joints in metres, are left out.
POSE = NetworkFile(
    "modules/pose_landmark/pose_landmark_full.tflite",
    "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    ("Identity", "Identity_1", "Identity_3"),
)
# Finds a hand's region in a crop about the wrist. Output: float32 [n, 4, 1, 1]: x, y of the region's centre and of the
# middle of its upper edge, in pixels.
HAND_REGION = NetworkFile(
    "modules/holistic_landmark/hand_recrop.tflite",
    "67d996ce96f9d36fe17d2693022c6da93168026ab2f028f9e2365398d8ac7d5d",
    ("output_crop",),
)
# Finds the joints of a hand in a crop. Outputs: float32 [n, 63]: x, y, z in pixels; [n, 1] the probability of a hand.
HAND = NetworkFile(
    "modules/hand_landmark/hand_landmark_full.tflite",
    "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
    ("Identity", "Identity_1"),
)


class Network:
    """A network, ready to run.

    Args:
        file: which network.
        device: "cpu" or "cuda".

    Raises:
        MediaPipeMissing: MediaPipe or the network's file is missing.
        InvalidNetwork: the file is damaged, or from another version of MediaPipe.
        GpuMissing: `device` is "cuda", and no GPU can be used.
    """

    def __init__(self, file: NetworkFile, device: str = "cpu") -> None:
        self._session = _open_session(load_model(file), device)
        self.size: int = self._session.get_inputs()[0].shape[1]

    def run(self, pictures: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
        """Run the network on pictures, uint8 [n, size, size, 3].

        Raises:
            MemoryError: there is too little memory.
        """
        try:
            outputs: list[npt.NDArray[np.float32]] = self._session.run(None, {PICTURE: pictures})
        except Exception as error:
            # The classes of ONNX Runtime's errors do not tell a lack of memory.
            if _NO_MEMORY in str(error):
                raise MemoryError("a network needs more memory") from error
            raise
        return outputs


def load_model(file: NetworkFile) -> bytes:
    """Read a network of MediaPipe as an ONNX model. `Network` says what it raises."""
    path = wheel_folder() / file.path
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MediaPipeMissing(f"{path}: the network cannot be read ({error.strerror}). {_REINSTALL}") from error
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise InvalidNetwork(f"{path}: the file is damaged, or not that of MediaPipe 0.10.21. {_REINSTALL}")
    try:
        return convert(data, file.outputs, file.low, file.high)
    except InvalidNetwork as error:
        raise InvalidNetwork(f"{path}: {error} {_REINSTALL}") from error


def wheel_folder() -> Path:
    """The folder of the installed MediaPipe.

    Raises:
        MediaPipeMissing: it is not installed.
    """
    spec = importlib.util.find_spec("mediapipe")
    if spec is None or spec.origin is None:
        raise MediaPipeMissing('MediaPipe is not installed. Install the extractor: pip install "signet[extractor]".')
    return Path(spec.origin).parent


def _open_session(model: bytes, device: str) -> Any:
    """Open a session of ONNX Runtime on a device."""
    providers = ["CPUExecutionProvider"]
    if device == "cuda":
        _require_gpu_package()
        providers = ["CUDAExecutionProvider", *providers]
        # CUDA and cuDNN from the packages of NVIDIA, which are not on the system's search path.
        onnxruntime.preload_dlls()
    options = onnxruntime.SessionOptions()
    # One thread: clips are tracked in parallel, and the landmarks do not depend on the number of cores.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=providers)
    # ONNX Runtime falls back to the CPU when the GPU fails.
    if session.get_providers()[0] != providers[0]:
        raise GpuMissing(
            "ONNX Runtime cannot use a GPU here, although its build supports them. It needs an NVIDIA driver for "
            "CUDA 13 (`nvidia-smi` shows its version), and CUDA 13 with cuDNN 9: "
            f'pip install "{GPU_PACKAGE.replace("==", "[cuda,cudnn]==")}". Or use the CPU: --device cpu.'
        )
    return session


def _require_gpu_package() -> None:
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise GpuMissing(
            f"The installed ONNX Runtime {onnxruntime.__version__} has no support for GPUs. Replace it: "
            f'pip uninstall onnxruntime, then pip install "signet[extractor-gpu]". Or use the CPU: --device cpu.'
        )
