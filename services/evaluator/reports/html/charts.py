"""The strip of signers: positions of its dots in pixels; the template draws them."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from services.evaluator.reports.report import SignerSpread

# Width of the strip of signers.
_STRIP_WIDTH = 640.0
# The area of a dot is proportional to its clips; these are the smallest and the largest radius.
_SMALLEST, _LARGEST = 2.5, 9.0


@dataclass(frozen=True)
class SignerMark:
    """The dot of one signer."""

    x: float
    y: float
    radius: float
    title: str


@dataclass(frozen=True)
class SignerStrip:
    """A dot for each signer at its accuracy, 0 to 100 %; dots of similar accuracy are stacked."""

    width: float
    height: float
    marks: tuple[SignerMark, ...]
    median: float
    mean: float


def signer_strip(spread: SignerSpread, mean: float) -> SignerStrip:
    """Place the dots of the signers; `mean` is the accuracy on all clips."""
    most = max(result.recognised.n for result in spread.signers)
    inner = _STRIP_WIDTH - 2 * _LARGEST
    placed: list[tuple[float, float, float]] = []
    marks = []
    # The largest dots are placed first, so that they lie on the line.
    for result in sorted(
        spread.signers, key=lambda result: (-result.recognised.n, result.recognised.value, result.signer)
    ):
        recognised = result.recognised
        x = _LARGEST + recognised.value * inner
        radius = dot_radius(recognised.n / most)
        y = _free_y(x, radius, placed)
        placed.append((x, y, radius))
        title = f"Signer {result.signer}: {recognised.correct} of {recognised.n} clips"
        marks.append(SignerMark(x, y, radius, title))
    lift = max(radius - y for _, y, radius in placed)
    height = lift + max(y + radius for _, y, radius in placed)
    return SignerStrip(
        width=_STRIP_WIDTH,
        height=height,
        marks=tuple(SignerMark(mark.x, mark.y + lift, mark.radius, mark.title) for mark in marks),
        median=_LARGEST + spread.median * inner,
        mean=_LARGEST + mean * inner,
    )


def dot_radius(share: float) -> float:
    """Radius in pixels of a dot whose area is this share of the largest dot's."""
    return max(_SMALLEST, _LARGEST * sqrt(share))


def _free_y(x: float, radius: float, placed: Sequence[tuple[float, float, float]]) -> float:
    """The y nearest to the line, which is at 0, where a dot touches no other dot."""
    near = [(ox, oy, radius + other + 1) for ox, oy, other in placed if abs(ox - x) < radius + other + 1]
    candidates = [0.0]
    for ox, oy, reach in near:
        rise = sqrt(max(0.0, reach * reach - (ox - x) ** 2))
        candidates += [oy - rise, oy + rise]
    free = [
        y for y in candidates if all((ox - x) ** 2 + (oy - y) ** 2 >= reach * reach - 1e-6 for ox, oy, reach in near)
    ]
    return min(free, key=lambda y: (abs(y), y))
