"""A function that several stages need."""

import numpy as np
import numpy.typing as npt

# exp of more than this overflows; the logistic function is 0 or 1 there.
_LARGEST = 80.0


def sigmoid(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The logistic function."""
    result: npt.NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(values, -_LARGEST, _LARGEST)))
    return result
