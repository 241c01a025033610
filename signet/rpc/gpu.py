"""GPU telemetry through NVML: absent series and one log line where there is no GPU, and a zero where one was lost."""

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

# Why a GPU may run slower than it could, as the bits of NVML's answer. Idling and what somebody set on purpose are not
# among them: nobody has to be told.
_THROTTLE_REASONS = {
    "power_cap": pynvml.nvmlClocksEventReasonSwPowerCap,
    "thermal_software": pynvml.nvmlClocksEventReasonSwThermalSlowdown,
    "thermal_hardware": pynvml.nvmlClocksEventReasonHwThermalSlowdown,
    "slowdown_hardware": pynvml.nvmlClocksEventReasonHwSlowdown,
    "power_brake": pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown,
}

_CLOCKS = {"sm": pynvml.NVML_CLOCK_SM, "memory": pynvml.NVML_CLOCK_MEM}

# What concerns the whole GPU, whichever of its sensors was asked. Any other error is that sensor's own.
_GONE = (
    pynvml.NVMLError_GpuIsLost,
    pynvml.NVMLError_ResetRequired,
    pynvml.NVMLError_Uninitialized,
    pynvml.NVMLError_DriverNotLoaded,
)


@dataclass(frozen=True)
class GpuReading:
    """One GPU at one instant. A figure that this GPU does not give is None, or empty.

    Attributes:
        index: its number in this machine.
        uuid: its name wherever it is; of a lost GPU the one that it had, "" if it never answered.
        up: 1 if it answers, 0 if it does not; it has no other figure then.
        temperature_celsius: of its core.
        memory_used_bytes: by all processes.
        memory_total_bytes: all there is.
        utilisation_ratio: share of the last sample period in which a kernel ran.
        power_watts: drawn now.
        clock_hertz: of "sm" and "memory".
        throttle: of each reason, 1 while it holds, else 0.
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
    """A connection to NVML, for as many threads as ask.

    A driver that is not there is looked for again whenever somebody asks. What is wrong is logged when it begins and
    when it ends, however often somebody asks in between.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connected = False
        # Whether NVML answered when it was last asked; None before the first time.
        self._answered: bool | None = None
        # The number at which each GPU was last found.
        self._known: dict[str, int] = {}
        self._lost: frozenset[str] = frozenset()
        # Of each GPU, the sensors that do not answer.
        self._silent: dict[str, frozenset[str]] = {}
        with self._lock:
            self._count()

    def read(self) -> list[GpuReading]:
        """Every GPU that there is, and every one that there was; none where there never was a driver."""
        with self._lock:
            readings, failures = [], {}
            for index in range(self._count()):
                try:
                    readings.append(self._read_one(index))
                except pynvml.NVMLError as error:
                    failures[index] = str(error)
            here = {reading.uuid: reading.index for reading in readings}
            self._known |= here
            lost = {uuid: index for uuid, index in self._known.items() if uuid not in here}
            readings += [GpuReading(index, uuid, up=0) for uuid, index in lost.items()]
            readings += [GpuReading(index, "", up=0) for index in failures.keys() - lost.values()]
            # One line tells of NVML as a whole, and none then of each GPU.
            if self._answered:
                self._tell_lost([reading for reading in readings if not reading.up], failures)
            return readings

    def temperature(self, uuid: str) -> float:
        """The core temperature of one GPU, degrees Celsius.

        Args:
            uuid: the GPU's name as NVML writes it: "GPU-" and the UUID that CUDA gives.

        Raises:
            Unavailable: it cannot be read: no driver, no such GPU, a lost one, or one without the sensor.
        """
        with self._lock:
            try:
                if not self._count():
                    raise Unavailable(f"{uuid}: NVML finds no GPU. `nvidia-smi` says more.")
                return _temperature(pynvml.nvmlDeviceGetHandleByUUID(uuid))
            except pynvml.NVMLError as error:
                raise Unavailable(f"{uuid}: NVML gives no temperature ({error}). `nvidia-smi` says more.") from error

    def _count(self) -> int:
        """How many GPUs there are to ask; 0 while NVML does not answer."""
        try:
            if not self._connected:
                pynvml.nvmlInit()
                self._connected = True
            count = int(pynvml.nvmlDeviceGetCount())
        except pynvml.NVMLError as error:
            if self._connected:
                # A driver that comes back wants to be met anew.
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

    def _read_one(self, index: int) -> GpuReading:
        device = pynvml.nvmlDeviceGetHandleByIndex(index)
        uuid = str(pynvml.nvmlDeviceGetUUID(device))
        reading, silent = _read(index, uuid, device)
        self._tell_silence(_name(reading), silent)
        return reading

    def _tell_lost(self, lost: list[GpuReading], failures: Mapping[int, str]) -> None:
        """Log which GPUs went and which came back since the last reading."""
        before, self._lost = self._lost, frozenset(map(_name, lost))
        for reading in lost:
            if _name(reading) not in before:
                why = failures.get(reading.index, "NVML lists it no more")
                _log.warning("%s does not answer: %s. Its signet_gpu_up is 0", _name(reading), why)
        for name in sorted(before - self._lost):
            _log.info("%s answers again", name)

    def _tell_silence(self, name: str, silent: Mapping[str, str]) -> None:
        """Log which sensors a GPU lacks, where that changed since it was last read."""
        before, now = self._silent.get(name, frozenset()), frozenset(silent)
        self._silent[name] = now
        if now - before:
            named = ", ".join(f"{sensor} ({silent[sensor]})" for sensor in sorted(now - before))
            _log.info("%s does not give: %s. These series are absent for it", name, named)
        if before - now:
            _log.info("%s gives again: %s", name, ", ".join(sorted(before - now)))


def _name(gpu: GpuReading) -> str:
    return f"GPU {gpu.index} ({gpu.uuid or 'UUID not known'})"


def _read(index: int, uuid: str, device: object) -> tuple[GpuReading, dict[str, str]]:
    """One GPU's figures, and of each sensor that gave none, why.

    Raises:
        NVMLError: the GPU does not answer.
    """
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
        # Its name is known to the driver, and that is all: it fell off the bus, whatever the code says.
        raise failures[0]
    return reading, silent


def _temperature(device: object) -> float:
    """Through the call of today's drivers, or the one of older drivers. Degrees Celsius."""
    try:
        return float(pynvml.nvmlDeviceGetTemperatureV(device, pynvml.NVML_TEMPERATURE_GPU))
    except pynvml.NVMLError_FunctionNotFound:
        return float(pynvml.nvmlDeviceGetTemperature(device, pynvml.NVML_TEMPERATURE_GPU))


def _throttle_reasons(device: object) -> int:
    """Through the call of today's drivers, or the one of older drivers. A bit for each reason that holds."""
    try:
        return int(pynvml.nvmlDeviceGetCurrentClocksEventReasons(device))
    except pynvml.NVMLError_FunctionNotFound:
        return int(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(device))


class GpuCollector(Collector):
    """Reads NVML whenever Prometheus asks."""

    def __init__(self, nvml: Nvml) -> None:
        self._nvml = nvml

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """One family per figure, one sample per GPU that gives it, or one per clock or reason."""
        plain = {
            "up": "1 while the GPU answers, 0 when it is lost",
            "temperature_celsius": "GPU core temperature",
            "memory_used_bytes": "GPU memory in use",
            "memory_total_bytes": "GPU memory there is",
            "utilisation_ratio": "Share of the last sample period in which a kernel ran",
            "power_watts": "Power drawn",
        }
        labelled = {
            "clock_hertz": ("clock", "Clock rate now"),
            "throttle": ("reason", "1 while the GPU is slowed down for this reason"),
        }
        readings = self._nvml.read()
        for figure, text in plain.items():
            family = GaugeMetricFamily(f"signet_gpu_{figure}", text, labels=_LABELS)
            for reading in readings:
                value = getattr(reading, figure)
                if value is not None:
                    family.add_metric((str(reading.index), reading.uuid), value)
            if family.samples:
                yield family
        for figure, (label, text) in labelled.items():
            family = GaugeMetricFamily(f"signet_gpu_{figure}", text, labels=(*_LABELS, label))
            for reading in readings:
                for name, value in getattr(reading, figure).items():
                    family.add_metric((str(reading.index), reading.uuid, name), value)
            if family.samples:
                yield family
