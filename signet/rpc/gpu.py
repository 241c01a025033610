"""GPU metrics through NVML. Without a GPU there are no series and one log line; a lost GPU has `signet_gpu_up` 0."""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pynvml
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from signet.errors import Unavailable

_log = logging.getLogger(__name__)

_LABELS = ("gpu", "uuid")

# The reasons why a GPU may run slower than it could, as bits of NVML's answer. Idling, and limits that a user has set,
# are left out: they are no problem.
_THROTTLE_REASONS = {
    "power_cap": pynvml.nvmlClocksEventReasonSwPowerCap,
    "thermal_software": pynvml.nvmlClocksEventReasonSwThermalSlowdown,
    "thermal_hardware": pynvml.nvmlClocksEventReasonHwThermalSlowdown,
    "slowdown_hardware": pynvml.nvmlClocksEventReasonHwSlowdown,
    "power_brake": pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown,
}

_CLOCKS = {"sm": pynvml.NVML_CLOCK_SM, "memory": pynvml.NVML_CLOCK_MEM}

# These errors concern the whole GPU. All other errors concern only the sensor that was asked.
_GONE = (
    pynvml.NVMLError_GpuIsLost,
    pynvml.NVMLError_ResetRequired,
    pynvml.NVMLError_Uninitialized,
    pynvml.NVMLError_DriverNotLoaded,
)


@dataclass(frozen=True)
class GpuReading:
    """The figures of one GPU at one time. A figure that the GPU does not provide is None, or empty.

    `GpuCollector.collect` describes the figures. A lost GPU has `up` 0, no other figure, and its last known UUID; ""
    if it never answered.
    """

    index: int
    uuid: str
    up: float
    temperature_celsius: float | None = None
    memory_used_bytes: float | None = None
    memory_total_bytes: float | None = None
    utilisation_ratio: float | None = None
    power_watts: float | None = None
    clock_hertz: Mapping[str, float] = field(default_factory=dict)
    throttle: Mapping[str, float] = field(default_factory=dict)


class Nvml:
    """A thread-safe connection to NVML.

    If there is no driver, each call looks for it again. A fault is logged only when it begins and when it ends.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connected = False
        # Whether NVML answered the last call; None before the first one.
        self._answered: bool | None = None
        # The last known index of each GPU, by UUID.
        self._known: dict[str, int] = {}
        self._lost: frozenset[str] = frozenset()
        # The sensors that do not answer, by GPU.
        self._silent: dict[str, frozenset[str]] = {}
        with self._lock:
            self._count()

    def read(self) -> list[GpuReading]:
        """The figures of all GPUs, including lost ones; none if there never was a driver."""
        with self._lock:
            readings, failures = [], {}
            for index in range(self._count()):
                try:
                    reading, silent = _read(index)
                except pynvml.NVMLError as error:
                    failures[index] = str(error)
                else:
                    readings.append(reading)
                    self._log_silent(_name(reading), silent)
            answering = {reading.uuid: reading.index for reading in readings}
            self._known |= answering
            lost = {uuid: index for uuid, index in self._known.items() if uuid not in answering}
            readings += [GpuReading(index, uuid, up=0) for uuid, index in lost.items()]
            readings += [GpuReading(index, "", up=0) for index in failures.keys() - lost.values()]
            # If NVML itself does not answer, one log line about it is enough.
            if self._answered:
                self._log_lost([reading for reading in readings if not reading.up], failures)
            return readings

    def temperature(self, uuid: str) -> float:
        """The core temperature, in degrees Celsius, of the GPU with this UUID: "GPU-" and the UUID from CUDA.

        Raises:
            Unavailable: there is no driver, no such GPU or no such sensor, or the GPU is lost.
        """
        with self._lock:
            try:
                if not self._count():
                    raise Unavailable(f"{uuid}: NVML finds no GPU. `nvidia-smi` says more.")
                return _temperature(pynvml.nvmlDeviceGetHandleByUUID(uuid))
            except pynvml.NVMLError as error:
                raise Unavailable(f"{uuid}: NVML gives no temperature ({error}). `nvidia-smi` says more.") from error

    def _count(self) -> int:
        """The number of GPUs; 0 while NVML does not answer."""
        try:
            if not self._connected:
                pynvml.nvmlInit()
                self._connected = True
            count = int(pynvml.nvmlDeviceGetCount())
        except pynvml.NVMLError as error:
            if self._connected:
                # A driver that comes back needs a new connection.
                self._connected = False
                with suppress(pynvml.NVMLError):
                    pynvml.nvmlShutdown()
            if self._answered is None:
                _log.info("GPU telemetry: no GPU (%s); its series are absent", error)
            elif self._answered:
                _log.warning("GPU telemetry: NVML does not answer any more (%s); signet_gpu_up is 0", error)
            self._answered = False
            return 0
        if not self._answered:
            _log.info("GPU telemetry: %d GPU(s) through NVML", count)
        self._answered = True
        return count

    def _log_lost(self, lost: list[GpuReading], failures: Mapping[int, str]) -> None:
        """Log which GPUs were lost and which came back since the last reading."""
        before, self._lost = self._lost, frozenset(map(_name, lost))
        for reading in lost:
            if _name(reading) not in before:
                why = failures.get(reading.index, "NVML does not list it any more")
                _log.warning("%s does not answer: %s. Its signet_gpu_up is 0", _name(reading), why)
        for name in sorted(before - self._lost):
            _log.info("%s answers again", name)

    def _log_silent(self, name: str, silent: Mapping[str, str]) -> None:
        """Log which sensors a GPU lacks, if this has changed since the last reading."""
        before, now = self._silent.get(name, frozenset()), frozenset(silent)
        self._silent[name] = now
        if now - before:
            named = ", ".join(f"{sensor} ({silent[sensor]})" for sensor in sorted(now - before))
            _log.info("%s does not give: %s. Its series for these are absent", name, named)
        if before - now:
            _log.info("%s gives again: %s", name, ", ".join(sorted(before - now)))


def _name(gpu: GpuReading) -> str:
    return f"GPU {gpu.index} ({gpu.uuid or 'UUID not known'})"


def _read(index: int) -> tuple[GpuReading, dict[str, str]]:
    """The figures of a GPU, and the error of each sensor that did not answer.

    Raises:
        NVMLError: the GPU does not answer.
    """
    device = pynvml.nvmlDeviceGetHandleByIndex(index)
    uuid = str(pynvml.nvmlDeviceGetUUID(device))
    silent: dict[str, str] = {}
    failures = []

    def ask(sensor: str, question: Callable[..., Any], *arguments: object) -> Any:
        try:
            return question(device, *arguments)
        except _GONE:
            raise
        except pynvml.NVMLError as error:
            silent[sensor] = str(error)
            failures.append(error)
            return None

    temperature = ask("temperature", _temperature)
    memory = ask("memory", pynvml.nvmlDeviceGetMemoryInfo)
    rates = ask("utilisation", pynvml.nvmlDeviceGetUtilizationRates)
    milliwatts = ask("power", pynvml.nvmlDeviceGetPowerUsage)
    megahertz = {name: ask(f"{name} clock", pynvml.nvmlDeviceGetClockInfo, clock) for name, clock in _CLOCKS.items()}
    reasons = ask("throttle", _throttle_reasons)
    reading = GpuReading(
        index=index,
        uuid=uuid,
        up=1,
        temperature_celsius=temperature,
        memory_used_bytes=None if memory is None else float(memory.used),
        memory_total_bytes=None if memory is None else float(memory.total),
        utilisation_ratio=None if rates is None else rates.gpu / 100,
        power_watts=None if milliwatts is None else milliwatts / 1000,
        clock_hertz={name: rate * 1e6 for name, rate in megahertz.items() if rate is not None},
        throttle={} if reasons is None else {name: float(reasons & bit > 0) for name, bit in _THROTTLE_REASONS.items()},
    )
    if reading == GpuReading(index, uuid, up=1):
        # No sensor answers: the driver still knows the GPU's UUID, but the GPU itself is lost.
        raise failures[0]
    return reading, silent


def _temperature(device: object) -> float:
    """The core temperature in degrees Celsius, by the call of new drivers or of older ones."""
    try:
        return float(pynvml.nvmlDeviceGetTemperatureV(device, pynvml.NVML_TEMPERATURE_GPU))
    except pynvml.NVMLError_FunctionNotFound:
        return float(pynvml.nvmlDeviceGetTemperature(device, pynvml.NVML_TEMPERATURE_GPU))


def _throttle_reasons(device: object) -> int:
    """A bit for each reason that holds, by the call of new drivers or of older ones."""
    try:
        return int(pynvml.nvmlDeviceGetCurrentClocksEventReasons(device))
    except pynvml.NVMLError_FunctionNotFound:
        return int(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(device))


class GpuCollector(Collector):
    """Reads NVML at each request of Prometheus."""

    def __init__(self, nvml: Nvml) -> None:
        self._nvml = nvml

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """One family for each figure, with a sample for each GPU that has it, or for each of its clocks or reasons."""
        figures: dict[str, tuple[str, ...]] = {
            "up": ("1 while the GPU answers, 0 when it is lost",),
            "temperature_celsius": ("GPU core temperature",),
            "memory_used_bytes": ("GPU memory in use",),
            "memory_total_bytes": ("Total GPU memory",),
            "utilisation_ratio": ("Share of the last sample period in which a kernel ran",),
            "power_watts": ("Power drawn",),
            "clock_hertz": ("Clock rate now", "clock"),
            "throttle": ("1 while the GPU is slowed down for this reason", "reason"),
        }
        readings = self._nvml.read()
        for figure, (text, *label) in figures.items():
            family = GaugeMetricFamily(f"signet_gpu_{figure}", text, labels=(*_LABELS, *label))
            for reading in readings:
                value = getattr(reading, figure)
                by_label = {(name,): part for name, part in value.items()} if label else {(): value}
                for names, part in by_label.items():
                    if part is not None:
                        family.add_metric((str(reading.index), reading.uuid, *names), part)
            if family.samples:
                yield family
