"""MediaPipe's networks in ONNX Runtime: outputs, batches, and what is reported when a network cannot run."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from services.extractor.tracking.graph import MediaPipeMissing
from services.extractor.tracking.networks import network
from services.extractor.tracking.networks.network import (
    HAND,
    HAND_REGION,
    PERSON,
    POSE,
    GpuMissing,
    Network,
    NetworkFile,
    wheel_folder,
)
from services.extractor.tracking.networks.tflite_file import InvalidNetwork

FILES = {"person": PERSON, "pose": POSE, "hand_region": HAND_REGION, "hand": HAND}


def _pictures(count: int, size: int) -> npt.NDArray[np.uint8]:
    """Random colours in squares of 16 pixels, and noise."""
    rng = np.random.default_rng(7)
    squares = rng.integers(0, 256, (count, size // 16, size // 16, 3)).repeat(16, axis=1).repeat(16, axis=2)
    return np.clip(squares + rng.normal(0, 10, squares.shape), 0, 255).astype(np.uint8)


# Runs a network with the calculators of MediaPipe: from a picture of the network's size to its outputs.
MEDIAPIPE_RUNTIME = """
import sys

import numpy as np

from services.extractor.tracking.graph import create_graph
from services.extractor.tracking.networks import network
from services.extractor.tracking.networks.tflite_file import TfliteFile

file = getattr(network, sys.argv[1].upper())
picture = np.load(sys.argv[2])
tensors = TfliteFile((network.wheel_folder() / file.path).read_bytes())
every = tensors.output_names
places = [every.index(name) for name in file.outputs]
lines = ["input_stream: 'IMAGE:image'"]
lines += [f"output_stream: 'FLOATS:{number}:floats{place}'" for number, place in enumerate(places)]
lines += [f'''
node {{
    calculator: 'ImageToTensorCalculator' input_stream: 'IMAGE:image' output_stream: 'TENSORS:input'
    options {{ [mediapipe.ImageToTensorCalculatorOptions.ext] {{
        output_tensor_width: {picture.shape[1]} output_tensor_height: {picture.shape[0]}
        output_tensor_float_range {{ min: {file.low} max: {file.high} }}
    }} }}
}}
node {{
    calculator: 'InferenceCalculator' input_stream: 'TENSORS:input' output_stream: 'TENSORS:outputs'
    options {{ [mediapipe.InferenceCalculatorOptions.ext] {{
        model_path: 'mediapipe/{file.path}' delegate {{ xnnpack {{}} }}
    }} }}
}}
node {{
    calculator: 'SplitTensorVectorCalculator' input_stream: 'outputs'
    {' '.join(f"output_stream: 'tensor{place}'" for place in range(len(every)))}
    options {{ [mediapipe.SplitVectorCalculatorOptions.ext] {{
        {' '.join(f"ranges: {{ begin: {place} end: {place + 1} }}" for place in range(len(every)))}
    }} }}
}}
''']
lines += [
    f"node {{ calculator: 'TensorsToFloatsCalculator' input_stream: 'TENSORS:tensor{place}' "
    f"output_stream: 'FLOATS:floats{place}' }}"
    for place in places
]
names = [f"floats{place}" for place in places]
results = create_graph("\\n".join(lines), names).process({"image": picture})
np.savez(sys.argv[3], *[np.array(getattr(results, name), np.float32) for name in names])
"""


@pytest.mark.parametrize("name", FILES)
def test_outputs_equal_those_of_mediapipes_own_runtime(name: str, tmp_path: Path) -> None:
    """In a process of its own, because MediaPipe's imports warn. Outputs are in pixels, or logits."""
    ours = Network(FILES[name])
    picture = _pictures(1, ours.size)
    np.save(tmp_path / "picture.npy", picture[0])
    command = [sys.executable, "-c", MEDIAPIPE_RUNTIME, name, str(tmp_path / "picture.npy"), str(tmp_path / "out.npz")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "out.npz") as arrays:
        expected = list(arrays.values())
    for value, other in zip(ours.run(picture), expected, strict=True):
        channels_last = np.moveaxis(value, 1, -1) if value.ndim == 4 else value
        assert np.ptp(other) > 0 or other.size == 1
        np.testing.assert_allclose(channels_last.reshape(-1), other, rtol=1e-4, atol=5e-3)


@pytest.mark.parametrize("name", FILES)
def test_a_batch_gives_what_its_pictures_give_alone(name: str) -> None:
    net = Network(FILES[name])
    pictures = _pictures(3, net.size)
    alone = [net.run(pictures[index : index + 1]) for index in range(3)]
    for together, *parts in zip(net.run(pictures), *alone, strict=True):
        np.testing.assert_allclose(together, np.concatenate(parts), rtol=1e-4, atol=2e-3)


def test_a_run_gives_the_same_bits_again() -> None:
    net = Network(HAND)
    pictures = _pictures(1, net.size)
    for first, second in zip(net.run(pictures), Network(HAND).run(pictures), strict=True):
        np.testing.assert_array_equal(first, second)


def _copy(folder: Path, file: NetworkFile, data: bytes) -> None:
    (folder / file.path).parent.mkdir(parents=True)
    (folder / file.path).write_bytes(data)


@pytest.mark.parametrize("damage", ["flipped", "short", "empty", "page"])
def test_a_damaged_file_is_named(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = (wheel_folder() / HAND_REGION.path).read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    _copy(tmp_path, HAND_REGION, {"flipped": flipped, "short": whole[:-1], "empty": b"", "page": b"<html>"}[damage])
    monkeypatch.setattr(network, "wheel_folder", lambda: tmp_path)
    with pytest.raises(InvalidNetwork, match=r"hand_recrop\.tflite: the file is damaged.*pip install") as raised:
        Network(HAND_REGION)
    assert raised.value.code == "FAILED_PRECONDITION"


def test_a_missing_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "wheel_folder", lambda: tmp_path)
    with pytest.raises(MediaPipeMissing, match=r"hand_recrop\.tflite: the network cannot be read \(No such file"):
        Network(HAND_REGION)


def test_a_missing_mediapipe_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MediaPipeMissing, match=r'pip install "signet\[extractor\]"'):
        Network(HAND_REGION)


def test_an_unknown_output_is_reported_with_the_file() -> None:
    file = NetworkFile(HAND_REGION.path, HAND_REGION.sha256, ("joints",))
    with pytest.raises(InvalidNetwork, match=r"hand_recrop\.tflite: The network has no output 'joints'\. It has: outp"):
        Network(file)


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this ONNX Runtime supports GPUs"
)
def test_without_the_package_for_gpus_the_error_says_what_to_install() -> None:
    with pytest.raises(
        GpuMissing, match=r"has no support for GPUs.*pip uninstall onnxruntime.*signet\[extractor-gpu\]"
    ):
        Network(HAND_REGION, "cuda")


class _SessionWithoutGpu:
    """A session that fell back to the CPU, as ONNX Runtime's build for GPUs does without a driver."""

    def __init__(self, *_: object, providers: list[str]) -> None:
        assert providers == ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def get_providers(self) -> list[str]:
        return ["CPUExecutionProvider"]


def test_a_gpu_that_cannot_be_used_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    monkeypatch.setattr(onnxruntime, "InferenceSession", _SessionWithoutGpu)
    with pytest.raises(GpuMissing, match=r"cannot use a GPU here.*NVIDIA driver.*--device cpu"):
        Network(HAND_REGION, "cuda")


@pytest.mark.gpu
def test_a_gpu_gives_the_outputs_of_the_cpu() -> None:
    try:
        gpu = Network(HAND, "cuda")
    except GpuMissing as error:
        pytest.skip(str(error))
    pictures = _pictures(8, gpu.size)
    for first, second in zip(gpu.run(pictures), Network(HAND).run(pictures), strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-2, atol=0.5)


def test_too_little_memory_for_a_network_is_a_memory_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Exhausted:
        def run(self, *_: object) -> None:
            raise RuntimeError("AllocateRawInternal: Failed to allocate memory for requested buffer of size 4194304")

    pose = Network(POSE)
    monkeypatch.setattr(pose, "_session", Exhausted())
    with pytest.raises(MemoryError):
        pose.run(_pictures(1, pose.size))
