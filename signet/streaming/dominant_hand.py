"""Which hand of a stream's signer is dominant. A person does not change this, but a measure of a few seconds does."""

from signet.landmarks.body import Frames, left_dominance

# A bias that decides for a hand, whatever a window looks like. The graph's own measure is between -2 and 2.
DECIDED = 10.0
# The measures of windows are averaged with this weight of the newest one.
_NEWEST = 0.1
# The mean measure at which a hand is decided for, and the opposite one at which the decision changes.
_DECIDE, _CHANGE = 0.3, 0.6


class DominantHand:
    """Follows the dominance of a stream's windows, with hysteresis.

    Args:
        left_handed: what the client says; None to decide from the signing.
    """

    def __init__(self, left_handed: bool | None = None) -> None:
        self._left_handed = left_handed
        self._mean: float | None = None
        self._side = 0

    @property
    def bias(self) -> float:
        """What to add to the graph's measure of a window: positive for the left hand, 0 while nothing is decided."""
        if self._left_handed is not None:
            return DECIDED if self._left_handed else -DECIDED
        return DECIDED * self._side

    def add(self, window: Frames) -> None:
        """Take a window in which something is signed."""
        if self._left_handed is not None:
            return
        measure = left_dominance(window)
        self._mean = measure if self._mean is None else self._mean + _NEWEST * (measure - self._mean)
        if abs(self._mean) > (_CHANGE if self._side else _DECIDE):
            self._side = 1 if self._mean > 0 else -1
