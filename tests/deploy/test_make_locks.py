"""The lock files: each file that pip may install is named by its hash, and each image has what it needs."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.make_locks import CUDA_PREFIXES, HEADLESS, MEDIAPIPE_NEEDS, ONNX_GPU, OPENCV, TORCH_CPU
from services.extractor.tracking.networks.network import GPU_PACKAGE
from tests.conftest import ROOT

IMAGES = ("extractor", "trainer", "evaluator")
LOCKS = {path.stem: path for path in (ROOT / "requirements.lock", *(ROOT / "deploy/locks").glob("*.lock"))}


def _pins(path: Path) -> dict[str, tuple[str, set[str]]]:
    """Name -> version and hashes. Every line of the file is understood."""
    text = path.read_text().replace(" \\\n", " ")
    pins: dict[str, tuple[str, set[str]]] = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        found = re.fullmatch(r"([\w.-]+)==([\w.!]+)((?: +--hash=sha256:[0-9a-f]{64})+)", line)
        assert found is not None, f"{path.name}: {line[:60]} has no hash"
        pins[canonicalize_name(found[1])] = (found[2], set(re.findall("[0-9a-f]{64}", found[3])))
    return pins


PINS = {name: _pins(path) for name, path in LOCKS.items()}


def test_every_requirement_of_each_lock_has_a_hash() -> None:
    assert set(PINS) == {"requirements", "cuda", "extractor-gpu", *IMAGES}
    assert all(len(pins) > 15 for name, pins in PINS.items() if name != "extractor-gpu")


def test_onnx_runtime_for_gpus_has_its_own_lock() -> None:
    """It would overwrite the module of onnxruntime. Its CUDA libraries have the versions of torch's."""
    gpu = dict(PINS["extractor-gpu"])
    assert gpu.pop(ONNX_GPU)[0] == GPU_PACKAGE.removeprefix(f"{ONNX_GPU}==")
    assert {"nvidia-cuda-runtime", "nvidia-cudnn-cu13", "nvidia-cublas", "nvidia-cufft"} <= set(gpu)
    assert all(pin == PINS["cuda"][name] for name, pin in gpu.items())
    assert not any(ONNX_GPU in PINS[name] for name in ("requirements", *IMAGES))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extra,) = project["optional-dependencies"]["extractor-gpu"]
    assert extra.replace("[cuda,cudnn]", "") == GPU_PACKAGE


def test_an_image_has_the_versions_and_hashes_of_the_lock() -> None:
    for image in IMAGES:
        for name, pin in PINS[image].items():
            if name != HEADLESS:
                assert pin == PINS["requirements"][name], f"{image}: {name}"
    assert PINS["extractor"][HEADLESS][0] == PINS["requirements"][OPENCV][0]
    assert not set(PINS["cuda"]) & set(PINS["requirements"])
    assert all(name.startswith(CUDA_PREFIXES) for name in PINS["cuda"])


def test_each_image_has_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for image in IMAGES:
        for text in [*project["dependencies"], *project["optional-dependencies"][image]]:
            need = Requirement(text)
            name = canonicalize_name(need.name)
            if (image, name) != ("extractor", OPENCV):
                assert need.specifier.contains(PINS[image][name][0]), f"{image}: {text}"
    assert set(MEDIAPIPE_NEEDS) <= set(PINS["extractor"])
    assert not {"torch", "jax", "scipy", OPENCV} & set(PINS["extractor"])
    assert not {"torch", "mediapipe"} & set(PINS["evaluator"])


def test_the_cpu_build_of_torch_is_accepted() -> None:
    version, hashes = PINS["trainer"]["torch"]
    assert TORCH_CPU[version] in hashes
    assert len(hashes) > 1


@pytest.mark.parametrize("good", [True, False])
def test_a_package_that_was_changed_is_refused(tmp_path: Path, good: bool) -> None:
    """As `make` and the images install, with a package of its own, and no index."""
    source, folder = tmp_path / "source", tmp_path / "wheels"
    source.mkdir()
    (source / "harmless.py").write_text("")
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "harmless"\nversion = "1.0"\n[tool.setuptools]\npy-modules = ["harmless"]\n'
    )
    pip = [sys.executable, "-m", "pip"]
    build = [*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.iterdir()
    told = subprocess.run([*pip, "hash", str(wheel)], check=True, capture_output=True, text=True).stdout
    (digest,) = re.findall("sha256:([0-9a-f]{64})", told)
    if not good:
        with wheel.open("ab") as file:
            file.write(b"changed")
    lock = tmp_path / "some.lock"
    lock.write_text(f"harmless==1.0 \\\n    --hash=sha256:{digest}\n")
    python = tmp_path / "environment/bin/python"
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "environment")], check=True)
    done = subprocess.run(
        ["sh", str(ROOT / "deploy/install-locked"), str(python), str(lock)],
        env={
            "PATH": "/usr/bin:/bin",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(folder),
            "PIP_CONFIG_FILE": "/dev/null",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    installed = subprocess.run([str(python), "-c", "import harmless"], capture_output=True, check=False).returncode == 0
    assert (done.returncode == 0, installed) == (good, good), done.stderr
    assert good or "DO NOT MATCH THE HASHES" in done.stderr
