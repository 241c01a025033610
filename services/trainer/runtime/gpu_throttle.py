"""Keeps the GPU below a temperature: training pauses between two batches until the GPU has cooled."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch

from signet.errors import Unavailable
from signet.rpc.gpu import Nvml

_log = logging.getLogger(__name__)

# A pause ends this far below the limit. A GPU loses the first degrees within two seconds of idling: with a smaller
# distance training would stutter at the limit, with a larger one it would wait for the heat sink.
_HYSTERESIS_CELSIUS = 5.0

# Seconds between two readings. A temperature changes within seconds, a batch takes milliseconds.
_READ_SECONDS = 1.0

# A pause notices a request to stop after this time at the latest.
_POLL_SECONDS = 0.1


class ThrottleCallbacks(Protocol):
    """Receives the events of a throttle."""

    def on_throttling(self, paused: bool) -> None:
        """A pause begins (True) or ends (False)."""

    def on_throttled_seconds(self, seconds: float) -> None:
        """The pause has lasted this many seconds more."""


@dataclass
class GpuThrottle:
    """A function to call between batches. It returns at once while the GPU is cool, else when the GPU has cooled.

    It reads the temperature about once a second. It never pauses while the temperature cannot be read.

    Args:
        read_celsius: returns the GPU's temperature; raises Unavailable if it cannot be read.
        limit_celsius: a pause begins above this temperature.
        should_stop: whether the run was asked to end; then no pause begins, and a pause ends.
        callbacks: receives the pauses and their duration.
    """

    read_celsius: Callable[[], float]
    limit_celsius: float
    should_stop: Callable[[], bool]
    callbacks: ThrottleCallbacks
    _next_reading: float = field(default_factory=time.monotonic, init=False)
    _logged_pause: bool = field(default=False, init=False)
    _logged_failure: bool = field(default=False, init=False)

    def __call__(self) -> None:
        """Pause if the GPU is too hot."""
        if time.monotonic() < self._next_reading:
            return
        celsius = self._read()
        if celsius is not None and celsius > self.limit_celsius and not self.should_stop():
            self._pause(celsius)

    def _read(self) -> float | None:
        """The temperature, or None if it cannot be read. The first failure is logged."""
        try:
            return self.read_celsius()
        except Unavailable as error:
            if not self._logged_failure:
                _log.warning("training does not pause for a hot GPU: its temperature cannot be read. %s", error)
            self._logged_failure = True
            return None
        finally:
            self._next_reading = time.monotonic() + _READ_SECONDS

    def _pause(self, celsius: float) -> None:
        first, self._logged_pause = not self._logged_pause, True
        if first:
            _log.warning(
                "the GPU is at %.0f °C. Training pauses until it is at %.0f °C, now and whenever it is above %.0f °C "
                "(--max-gpu-temperature)", celsius, self.limit_celsius - _HYSTERESIS_CELSIUS, self.limit_celsius,
            )  # fmt: skip
        begun = time.monotonic()
        self.callbacks.on_throttling(True)
        try:
            self._wait_until_cool()
        finally:
            self.callbacks.on_throttling(False)
        if first:
            _log.info("training continues after %.0f s. Further pauses are not logged", time.monotonic() - begun)

    def _wait_until_cool(self) -> None:
        """Return when the GPU is cool, its temperature cannot be read, or the run was asked to end."""
        counted = time.monotonic()
        while not self.should_stop():
            time.sleep(_POLL_SECONDS)
            # Report the seconds during the pause, so that a rate over them is right at any moment.
            now = time.monotonic()
            self.callbacks.on_throttled_seconds(now - counted)
            counted = now
            if now < self._next_reading:
                continue
            celsius = self._read()
            if celsius is None or celsius <= self.limit_celsius - _HYSTERESIS_CELSIUS:
                return


def never_pause() -> None:
    """The throttle of a device that needs none."""


def make_gpu_throttle(
    device: torch.device,
    limit_celsius: float,
    nvml: Nvml | None,
    should_stop: Callable[[], bool],
    callbacks: ThrottleCallbacks,
) -> Callable[[], None]:
    """The throttle of a device: `GpuThrottle` for a GPU, `never_pause` for a CPU or a limit of 0.

    Without an NVML connection of the process, it opens its own.
    """
    if device.type != "cuda" or not limit_celsius:
        return never_pause
    connection = nvml or Nvml()
    uuid = nvml_uuid(device)
    return GpuThrottle(
        lambda: connection.temperature(uuid), limit_celsius, should_stop=should_stop, callbacks=callbacks
    )


def nvml_uuid(device: torch.device) -> str:
    """The NVML name of a CUDA device. Its number differs: CUDA_VISIBLE_DEVICES and CUDA's own order change it."""
    return f"GPU-{torch.cuda.get_device_properties(device).uuid}"
