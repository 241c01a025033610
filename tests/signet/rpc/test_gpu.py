"""GPU metrics, without and with GPUs, and with sensors and GPUs that do not answer."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.signet.nvml import Conversation, compile_stand_in, conversation

_SCRAPE = """
import logging, sys
logging.basicConfig(level="INFO", stream=sys.stderr)
from prometheus_client import CollectorRegistry, generate_latest
from signet.rpc.gpu import GpuCollector, Nvml
registry = CollectorRegistry()
registry.register(GpuCollector(Nvml()))
for line in sys.stdin:
    print(generate_latest(registry).decode(), flush=True)
"""

_ASK = """
import sys
from signet.errors import Unavailable
from signet.rpc.gpu import Nvml
nvml = Nvml()
for line in sys.stdin:
    try:
        answer = nvml.temperature(line.strip())
    except Unavailable as error:
        answer = error
    print(answer, end="\\n\\n", flush=True)
"""

_LABEL = re.compile(r'(\w+)="([^"]*)"')

# {(figure, with its clock or reason, and the GPU's uuid): value}
Figures = dict[tuple[str, str], float]


def _figures(page: str) -> Figures:
    figures = {}
    for line in page.splitlines():
        if line.startswith("signet_gpu_"):
            series, value = line.rsplit(" ", 1)
            labels = dict(_LABEL.findall(series))
            named = (series.split("{")[0].removeprefix("signet_gpu_"), labels.get("clock"), labels.get("reason"))
            figures[" ".join(filter(None, named)), labels["uuid"]] = float(value)
    return figures


class Scraper:
    """A process that exposes its GPUs, and the reading of its metrics."""

    def __init__(self, talk: Conversation) -> None:
        self._talk = talk

    def scrape(self) -> Figures:
        return _figures(self._talk.ask())

    @property
    def log(self) -> list[str]:
        return self._talk.log


@contextmanager
def scraping(folder: Path, libraries: Path, **environment: str) -> Iterator[Scraper]:
    with conversation(_SCRAPE, folder / "log", libraries, **environment) as talk:
        yield Scraper(talk)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_stand_in(tmp_path_factory.mktemp("driver"))


def test_without_a_driver_there_are_no_series_and_one_log_line_until_a_driver_appears(
    tmp_path: Path, driver: Path
) -> None:
    (tmp_path / "libnvidia-ml.so.1").write_text("not a library")
    with scraping(tmp_path, tmp_path) as process:
        assert process.scrape() == process.scrape() == {}
        (line,) = process.log
        assert "no GPU" in line
        assert "its series are absent" in line
        (tmp_path / "libnvidia-ml.so.1").unlink()
        shutil.copy(driver / "libnvidia-ml.so.1", tmp_path)
        assert process.scrape()["up", "GPU-aaaa"] == 1
        assert "2 GPU(s)" in process.log[1]


def test_a_driver_that_is_not_loaded_counts_as_no_driver(tmp_path: Path) -> None:
    with scraping(tmp_path, compile_stand_in(tmp_path, "-DDRIVER_NOT_LOADED")) as process:
        assert process.scrape() == process.scrape() == {}
        (line,) = process.log
    assert "Driver Not Loaded" in line


def test_all_figures_of_gpus_are_in_base_units(tmp_path: Path, driver: Path) -> None:
    with scraping(tmp_path, driver) as process:
        figures = process.scrape()
        assert process.log == ["INFO:signet.rpc.gpu:GPU telemetry: 2 GPU(s) through NVML"]
    expected = {
        "up": (1, 1),
        "temperature_celsius": (60, 61),
        "memory_used_bytes": (2 * 2**30, 2 * 2**30),
        "memory_total_bytes": (80 * 2**30, 81 * 2**30),
        "utilisation_ratio": (0.75, 0.0),
        "power_watts": (323.5, 70.25),
        "clock_hertz sm": (1.5e9, 345e6),
        "clock_hertz memory": (2.619e9, 2.619e9),
        "throttle power_cap": (1, 0),
        "throttle thermal_software": (0, 0),
        "throttle thermal_hardware": (0, 0),
        "throttle slowdown_hardware": (0, 0),
        "throttle power_brake": (0, 0),
    }
    assert figures == {
        (figure, uuid): value
        for figure, values in expected.items()
        for uuid, value in zip(("GPU-aaaa", "GPU-bbbb"), values, strict=True)
    }


def test_an_older_driver_with_older_calls_gives_the_same_figures(tmp_path: Path, driver: Path) -> None:
    with (
        scraping(tmp_path, driver) as today,
        scraping(tmp_path, compile_stand_in(tmp_path, "-DOLD_DRIVER")) as older,
    ):
        assert older.scrape() == today.scrape()


def test_a_missing_sensor_is_absent_for_its_gpu_only_and_logged_once(tmp_path: Path, driver: Path) -> None:
    with scraping(tmp_path, driver, STAND_IN_PLAIN="1") as process:
        figures = process.scrape()
        assert process.scrape() == figures
        _, line = process.log
    assert ("power_watts", "GPU-aaaa") in figures
    assert ("power_watts", "GPU-bbbb") not in figures
    assert ("utilisation_ratio", "GPU-bbbb") not in figures
    assert ("memory_used_bytes", "GPU-bbbb") in figures
    assert "GPU 1 (GPU-bbbb) does not give: power (Not Supported), utilisation (Not Supported)" in line


def test_a_call_that_a_driver_lacks_makes_only_its_figures_absent(tmp_path: Path) -> None:
    with scraping(tmp_path, compile_stand_in(tmp_path, "-DNO_CLOCKS")) as process:
        figures = process.scrape()
        assert process.scrape() == figures
        log = process.log
    assert not [figure for figure, _ in figures if figure.startswith("clock")]
    assert figures["temperature_celsius", "GPU-bbbb"] == 61
    assert len(log) == 3
    assert "memory clock (Function Not Found), sm clock (Function Not Found)" in log[1]


def test_a_lost_gpu_has_up_0_and_one_log_line_until_it_is_back(tmp_path: Path, driver: Path) -> None:
    lost = tmp_path / "lost"
    with scraping(tmp_path, driver, STAND_IN_LOST=str(lost)) as process:
        before = process.scrape()
        lost.touch()
        assert process.scrape() == process.scrape()
        figures = process.scrape()
        assert {figure for figure, uuid in figures if uuid == "GPU-bbbb"} == {"up"}
        assert figures["up", "GPU-bbbb"] == 0
        assert {one: value for one, value in figures.items() if one[1] == "GPU-aaaa"} == {
            one: value for one, value in before.items() if one[1] == "GPU-aaaa"
        }
        lost.unlink()
        assert process.scrape() == process.scrape() == before
        _, gone, back = process.log
    assert "WARNING" in gone
    assert "GPU 1 (GPU-bbbb) does not answer: GPU is lost" in gone
    assert "GPU 1 (GPU-bbbb) answers again" in back


def test_a_gpu_that_never_answered_is_shown_without_a_uuid(tmp_path: Path, driver: Path) -> None:
    with scraping(tmp_path, driver, STAND_IN_LOST="1") as process:
        figures = process.scrape()
    assert {uuid for _, uuid in figures} == {"GPU-aaaa", ""}
    assert figures["up", ""] == 0


def test_a_driver_that_fails_later_gives_up_0_and_is_used_again_when_it_is_back(tmp_path: Path, driver: Path) -> None:
    failed = tmp_path / "failed"
    with scraping(tmp_path, driver, STAND_IN_FAILED=str(failed)) as process:
        before = process.scrape()
        failed.touch()
        for _ in range(2):
            assert process.scrape() == {("up", "GPU-aaaa"): 0, ("up", "GPU-bbbb"): 0}
        failed.unlink()
        assert process.scrape() == before
        first, gone, back = process.log
    assert "NVML does not answer any more (Unknown Error)" in gone
    assert back == first


def test_the_temperature_of_a_gpu_is_read_by_its_uuid(tmp_path: Path, driver: Path) -> None:
    celsius, lost = tmp_path / "celsius", tmp_path / "lost"
    with conversation(
        _ASK, tmp_path / "log", driver, STAND_IN_TEMPERATURE=str(celsius), STAND_IN_LOST=str(lost)
    ) as talk:
        assert talk.ask("GPU-aaaa") == "60.0\n"
        celsius.write_text("83")
        assert talk.ask("GPU-aaaa") == "83.0\n"
        assert talk.ask("GPU-bbbb") == "61.0\n"
        lost.touch()
        assert talk.ask("GPU-bbbb").startswith("GPU-bbbb: NVML gives no temperature (GPU is lost)")
        assert "Not Found" in talk.ask("GPU-cccc")


def test_reading_a_temperature_without_a_driver_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "libnvidia-ml.so.1").write_text("not a library")
    with conversation(_ASK, tmp_path / "log", tmp_path) as talk:
        assert "NVML finds no GPU" in talk.ask("GPU-aaaa")


@pytest.mark.gpu
def test_a_real_gpu_has_plausible_figures() -> None:
    if shutil.which("nvidia-smi") is None:
        pytest.skip("no NVIDIA driver here")
    done = subprocess.run(
        [sys.executable, "-c", _SCRAPE], input="\n", capture_output=True, text=True, timeout=30, check=True
    )
    figures = [(figure, value) for (figure, _), value in _figures(done.stdout).items()]
    assert all(value == 1 for figure, value in figures if figure == "up")
    assert all(10 < value < 110 for figure, value in figures if figure == "temperature_celsius")
    assert all(value > 2**30 for figure, value in figures if figure == "memory_total_bytes")
    assert all(1e7 < value < 1e11 for figure, value in figures if figure.startswith("clock_hertz"))
    assert {"up", "temperature_celsius", "memory_total_bytes", "clock_hertz sm"} <= {figure for figure, _ in figures}
