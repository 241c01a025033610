"""Filters over time, for several clips at once."""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


class OneEuroFilter:
    """The one-euro filter (Casiez et al. 2012): a low-pass filter that follows fast movement closely.

    Args:
        clips: number of clips.
        shape: shape of a clip's values.
        min_cutoff: cut-off frequency of values at rest, in Hz.
        beta: increase of the cut-off frequency with speed.
        derivative_cutoff: cut-off frequency of the speed, in Hz.
    """

    def __init__(
        self, clips: int, shape: tuple[int, ...], min_cutoff: float, beta: float, derivative_cutoff: float = 1.0
    ) -> None:
        self._min_cutoff, self._beta, self._derivative_cutoff = min_cutoff, beta, derivative_cutoff
        self._values = np.zeros((clips, *shape))  # filtered
        self._raw = np.zeros((clips, *shape))
        self._speeds = np.zeros((clips, *shape))
        self._started = np.zeros(clips, bool)

    def forget(self, clips: npt.NDArray[np.intp]) -> None:
        """Forget the values of these clips."""
        self._started[clips] = False

    def filter(self, clips: npt.NDArray[np.intp], values: Array, scale: Array, seconds: Array) -> Array:
        """Filter the next values of some clips.

        Args:
            clips: [n], the numbers of the clips.
            values: [n, ...].
            scale: [n], the size of the object in the unit of the values. Speeds are relative to it.
            seconds: [n], the time since the values before; greater than 0.
        """
        wide = (-1, *(1,) * (values.ndim - 1))
        first = ~self._started[clips].reshape(wide)
        rate = (1 / seconds).reshape(wide)
        speeds = np.where(first, 0.0, (values - self._raw[clips]) * rate / scale.reshape(wide))
        share = _share(np.full_like(rate, self._derivative_cutoff), rate)
        speeds = np.where(first, 0.0, share * speeds + (1 - share) * self._speeds[clips])
        share = _share(self._min_cutoff + self._beta * np.abs(speeds), rate)
        filtered = np.where(first, values, share * values + (1 - share) * self._values[clips])
        self._values[clips], self._raw[clips], self._speeds[clips] = filtered, values, speeds
        self._started[clips] = True
        return filtered


class LowPassFilter:
    """An exponential moving average, in which the newest value has the weight `share`."""

    def __init__(self, clips: int, shape: tuple[int, ...], share: float) -> None:
        self._share = share
        self._values = np.zeros((clips, *shape))
        self._started = np.zeros(clips, bool)

    def forget(self, clips: npt.NDArray[np.intp]) -> None:
        """Forget the values of these clips."""
        self._started[clips] = False

    def filter(self, clips: npt.NDArray[np.intp], values: Array) -> Array:
        """Filter the next values [n, ...] of these clips."""
        first = ~self._started[clips].reshape(-1, *(1,) * (values.ndim - 1))
        filtered = np.where(first, values, self._share * values + (1 - self._share) * self._values[clips])
        self._values[clips] = filtered
        self._started[clips] = True
        return filtered


def _share(cutoff: Array, rate: Array) -> Array:
    """The weight of the newest value for a cut-off frequency, both in Hz."""
    return 1 / (1 + rate / (2 * np.pi * cutoff))
