"""GPU telemetry: absent without a GPU, whole with one, and honest about sensors and GPUs that do not answer."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_READ = """
import logging, sys
logging.basicConfig(level="INFO", stream=sys.stderr)
from prometheus_client import CollectorRegistry, generate_latest
from signet.gpu import GpuCollector, Nvml
registry = CollectorRegistry()
registry.register(GpuCollector(Nvml()))
print(generate_latest(registry).decode())
"""

_SAMPLE = re.compile(r'^signet_gpu_(\w+)\{gpu="(\d)",uuid="([\w-]+)"\} (\S+)$', re.MULTILINE)

Figures = dict[tuple[str, str], float]


def _read(libraries: Path, **environment: str) -> tuple[Figures, str]:
    """What a process that finds its libraries there exposes: {(figure, uuid): value}, and its log."""
    done = subprocess.run(
        [sys.executable, "-c", _READ],
        env={**os.environ, "LD_LIBRARY_PATH": str(libraries), **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return {(figure, uuid): float(value) for figure, _, uuid, value in _SAMPLE.findall(done.stdout)}, done.stderr


def _compile(folder: Path, *flags: str) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler for the NVML stand-in: apt-get install gcc")
    source = Path(__file__).with_name("nvml_stand_in.c")
    target = folder / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-Wall", "-Werror", *flags, "-o", target, source], check=True)
    return folder


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _compile(tmp_path_factory.mktemp("driver"))


def test_without_a_driver_the_series_are_absent_and_one_line_says_why(tmp_path: Path) -> None:
    (tmp_path / "libnvidia-ml.so.1").write_text("not a library")
    figures, log = _read(tmp_path)
    assert figures == {}
    assert len(log.splitlines()) == 1
    assert "no GPU" in log
    assert "its series are absent" in log


def test_with_gpus_every_figure_is_there_in_base_units(driver: Path) -> None:
    figures, log = _read(driver)
    assert figures == {
        ("temperature_celsius", "GPU-aaaa"): 60,
        ("temperature_celsius", "GPU-bbbb"): 61,
        ("memory_used_bytes", "GPU-aaaa"): 100,
        ("memory_used_bytes", "GPU-bbbb"): 100,
        ("memory_total_bytes", "GPU-aaaa"): 1000,
        ("memory_total_bytes", "GPU-bbbb"): 1001,
        ("utilisation_ratio", "GPU-aaaa"): 0.75,
        ("utilisation_ratio", "GPU-bbbb"): 0.0,
        ("power_watts", "GPU-aaaa"): 123.5,
        ("power_watts", "GPU-bbbb"): 123.5,
    }
    assert "2 GPU(s)" in log


def test_an_older_driver_is_asked_for_the_temperature_in_its_own_way(tmp_path: Path) -> None:
    figures, _ = _read(_compile(tmp_path, "-DOLD_DRIVER"))
    assert figures["temperature_celsius", "GPU-aaaa"] == 40
    assert figures["temperature_celsius", "GPU-bbbb"] == 41


def test_a_sensor_that_a_gpu_lacks_is_absent_for_that_gpu_only(driver: Path) -> None:
    figures, _ = _read(driver, STAND_IN_PLAIN="1")
    assert ("power_watts", "GPU-aaaa") in figures
    assert ("power_watts", "GPU-bbbb") not in figures
    assert ("utilisation_ratio", "GPU-bbbb") not in figures
    assert ("memory_used_bytes", "GPU-bbbb") in figures


def test_a_lost_gpu_is_logged_and_the_others_go_on(driver: Path) -> None:
    figures, log = _read(driver, STAND_IN_LOST="1")
    assert {uuid for _, uuid in figures} == {"GPU-aaaa"}
    assert "GPU 1 does not answer" in log
    assert "lost" in log


@pytest.mark.gpu
def test_a_real_gpu_has_a_plausible_temperature_and_memory() -> None:
    if shutil.which("nvidia-smi") is None:
        pytest.skip("no NVIDIA driver here")
    done = subprocess.run([sys.executable, "-c", _READ], capture_output=True, text=True, timeout=30, check=True)
    figures = [(figure, float(value)) for figure, _, _, value in _SAMPLE.findall(done.stdout)]
    assert figures
    assert all(10 < value < 110 for figure, value in figures if figure == "temperature_celsius")
    assert all(value > 2**30 for figure, value in figures if figure == "memory_total_bytes")
