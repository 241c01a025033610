"""Keeps a GPU below a temperature: training pauses between two batches until it has cooled."""

import logging
import time
from collections.abc import Callable

import torch

from services.trainer.training.callbacks import TrainingCallbacks, no_op
from signet.errors import Unavailable
from signet.rpc.gpu import Nvml

_log = logging.getLogger(__name__)

# How far below the limit a pause ends. A GPU loses the first degrees within a second or two of idling: with less of a
# distance training would stutter at the limit, with more it would wait for the heat sink.
HYSTERESIS_CELSIUS = 5.0

# A GPU's temperature takes seconds to move, a batch takes milliseconds.
_ASK_SECONDS = 1.0

# How long an order to stop may go unnoticed.
_NOTICE_SECONDS = 0.1


class GpuThrottle:
    """Called between batches: returns at once while the GPU is cool enough, else when it has cooled.

    It asks for the temperature about once a second. A GPU whose temperature cannot be read is not waited for.

    Args:
        read: the GPU's temperature, degrees Celsius; raises Unavailable where there is none to be had.
        limit_celsius: above this, training pauses.
        hysteresis_celsius: a pause ends so far below the limit.
        released: whether nobody waits for the run any more; no pause begins then, and one under way ends.
        callbacks: told of pauses and their seconds.
    """

    def __init__(
        self,
        read: Callable[[], float],
        limit_celsius: float,
        hysteresis_celsius: float = HYSTERESIS_CELSIUS,
        *,
        released: Callable[[], bool],
        callbacks: TrainingCallbacks,
    ) -> None:
        self._read = read
        self._limit = limit_celsius
        self._goal = limit_celsius - hysteresis_celsius
        self._released = released
        self._callbacks = callbacks
        self._next_look = time.monotonic()
        self._told_of_pauses = False
        self._told_of_blindness = False

    def __call__(self) -> None:
        """Pause if the GPU is too hot."""
        if time.monotonic() < self._next_look:
            return
        celsius = self._look()
        if celsius is not None and celsius > self._limit and not self._released():
            self._pause(celsius)

    def _look(self) -> float | None:
        """The temperature now; None, and one line in the log, if it cannot be read."""
        try:
            return self._read()
        except Unavailable as error:
            if not self._told_of_blindness:
                _log.warning("the run is not paused when the GPU is hot, since nobody knows when it is: %s", error)
            self._told_of_blindness = True
            return None
        finally:
            self._next_look = time.monotonic() + _ASK_SECONDS

    def _pause(self, celsius: float) -> None:
        first, self._told_of_pauses = not self._told_of_pauses, True
        if first:
            _log.warning(
                "the GPU is at %.0f °C: training pauses until it is at %.0f °C, now and whenever it is above %.0f °C "
                "(--max-gpu-temperature)",
                celsius,
                self._goal,
                self._limit,
            )
        begun = time.monotonic()
        self._callbacks.on_throttling(True)
        try:
            self._wait_for_goal()
        finally:
            self._callbacks.on_throttling(False)
        if first:
            _log.info(
                "training goes on after %.0f s; further pauses are counted and not logged", time.monotonic() - begun
            )

    def _wait_for_goal(self) -> None:
        """Until it is cool enough, cannot be told, or nobody waits any more."""
        counted = time.monotonic()
        while not self._released():
            time.sleep(_NOTICE_SECONDS)
            # Counted while it lasts: a rate over a pause of minutes is then right at any moment of it.
            now = time.monotonic()
            self._callbacks.on_throttled_seconds(now - counted)
            counted = now
            if now < self._next_look:
                continue
            celsius = self._look()
            if celsius is None or celsius <= self._goal:
                return


def make_gpu_throttle(
    device: torch.device,
    limit_celsius: float,
    nvml: Nvml | None,
    released: Callable[[], bool],
    callbacks: TrainingCallbacks,
) -> Callable[[], None]:
    """What to call between batches on this device.

    Args:
        device: where the run trains; only a CUDA device is guarded.
        limit_celsius: above this, training pauses; 0 never pauses.
        nvml: what to ask, if the process has a connection already.
        released: whether nobody waits for the run any more.
        callbacks: told of pauses and their seconds.
    """
    if device.type != "cuda" or not limit_celsius:
        return no_op
    connection = nvml or Nvml()
    uuid = nvml_uuid(device)
    return GpuThrottle(lambda: connection.temperature(uuid), limit_celsius, released=released, callbacks=callbacks)


def nvml_uuid(device: torch.device) -> str:
    """A CUDA device's name in NVML. Its number will not do: CUDA_VISIBLE_DEVICES and CUDA's own order change it."""
    return f"GPU-{torch.cuda.get_device_properties(device).uuid}"
