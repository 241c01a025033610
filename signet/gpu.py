"""GPU telemetry through NVML: absent series, and one log line, where there is no GPU."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pynvml
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

_log = logging.getLogger(__name__)

_LABELS = ("gpu", "uuid")


@dataclass(frozen=True)
class GpuReading:
    """One GPU at one instant. A figure that this GPU does not give is None."""

    index: int
    uuid: str
    temperature_celsius: float | None
    memory_used_bytes: float | None
    memory_total_bytes: float | None
    utilisation_ratio: float | None
    power_watts: float | None


class Nvml:
    """A connection to NVML. `available` says whether there is a driver to ask; asking without one gives nothing."""

    def __init__(self) -> None:
        try:
            pynvml.nvmlInit()
            self.available = True
            _log.info("GPU telemetry: %d GPU(s) through NVML", pynvml.nvmlDeviceGetCount())
        except pynvml.NVMLError as error:
            self.available = False
            _log.info("GPU telemetry: no GPU (%s); its series are absent", error)

    def read(self) -> list[GpuReading]:
        """Every GPU that answers. One that was lost is left out, and logged."""
        if not self.available:
            return []
        readings = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            try:
                readings.append(_read_one(index))
            except pynvml.NVMLError as error:
                _log.warning("GPU %d does not answer: %s", index, error)
        return readings


def _read_one(index: int) -> GpuReading:
    device = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = _ask(pynvml.nvmlDeviceGetMemoryInfo, device)
    rates = _ask(pynvml.nvmlDeviceGetUtilizationRates, device)
    milliwatts = _ask(pynvml.nvmlDeviceGetPowerUsage, device)
    return GpuReading(
        index=index,
        uuid=str(pynvml.nvmlDeviceGetUUID(device)),
        temperature_celsius=_temperature(device),
        memory_used_bytes=memory and float(memory.used),
        memory_total_bytes=memory and float(memory.total),
        utilisation_ratio=rates and rates.gpu / 100,
        power_watts=None if milliwatts is None else milliwatts / 1000,
    )


def _temperature(device: object) -> float | None:
    """Through the call of today's drivers, or the one of older drivers."""
    try:
        return float(pynvml.nvmlDeviceGetTemperatureV(device, pynvml.NVML_TEMPERATURE_GPU))
    except pynvml.NVMLError_FunctionNotFound:
        reading = _ask(pynvml.nvmlDeviceGetTemperature, device, pynvml.NVML_TEMPERATURE_GPU)
        return None if reading is None else float(reading)


def _ask(question: Callable[..., Any], *arguments: object) -> Any:
    """NVML's answer, or None where this GPU has no such sensor."""
    try:
        return question(*arguments)
    except pynvml.NVMLError_NotSupported:
        return None


class GpuCollector(Collector):
    """Reads NVML whenever Prometheus asks."""

    def __init__(self, nvml: Nvml) -> None:
        self._nvml = nvml

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """One family per figure, one sample per GPU that gives it."""
        families = {
            "temperature_celsius": "GPU core temperature",
            "memory_used_bytes": "GPU memory in use",
            "memory_total_bytes": "GPU memory there is",
            "utilisation_ratio": "Share of the last sample period in which a kernel ran",
            "power_watts": "Power drawn",
        }
        readings = self._nvml.read()
        for figure, text in families.items():
            family = GaugeMetricFamily(f"signet_gpu_{figure}", text, labels=_LABELS)
            for reading in readings:
                value = getattr(reading, figure)
                if value is not None:
                    family.add_metric((str(reading.index), reading.uuid), value)
            if family.samples:
                yield family
