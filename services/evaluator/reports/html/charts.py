"""Positions of the marks in a report's charts, in pixels; the template draws them."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from services.evaluator.reports.report import CalibrationFigures, SignerSpread

# Side of the square of a reliability diagram, and height of the bars of counts below it.
_SIDE = 240.0
_COUNTS = 34.0
# Width of the strip of signers.
_STRIP_WIDTH = 640.0
# The area of a dot is proportional to its clips; these are the smallest and the largest radius.
_SMALLEST, _LARGEST = 2.5, 9.0


@dataclass(frozen=True)
class BinMark:
    """A bin of a reliability diagram: its dot, its interval, and its bar of clips."""

    x: float
    y: float
    low: float
    high: float
    radius: float
    bar_x: float
    bar_width: float
    bar_height: float
    title: str


@dataclass(frozen=True)
class ReliabilityDiagram:
    """Accuracy by probability of the first guess; bins without clips have no mark."""

    side: float
    counts: float
    marks: tuple[BinMark, ...]

    @property
    def height(self) -> float:
        """Height of the square and the bars."""
        return self.side + self.counts


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


def reliability_diagram(figures: CalibrationFigures) -> ReliabilityDiagram:
    """Place the marks of a reliability diagram."""
    most = max((one.right.n for one in figures.bins), default=0)
    marks = []
    for one in figures.bins:
        if not one.right.n:
            continue
        share = one.right.n / most
        height = max(1.0, share * (_COUNTS - 6))
        marks.append(
            BinMark(
                x=one.confidence * _SIDE,
                y=(1 - one.right.value) * _SIDE,
                low=(1 - one.right.low) * _SIDE,
                high=(1 - one.right.high) * _SIDE,
                radius=_radius(share),
                bar_x=one.low * _SIDE + 1,
                bar_width=(one.high - one.low) * _SIDE - 2,
                bar_height=height,
                title=f"Probability {100 * one.confidence:.0f} %, right in {one.right.correct} of {one.right.n}",
            )
        )
    return ReliabilityDiagram(_SIDE, _COUNTS, tuple(marks))


def signer_strip(spread: SignerSpread, mean: float) -> SignerStrip:
    """Place the dots of the signers; `mean` is the accuracy on all clips."""
    most = max(one.recognised.n for one in spread.signers)
    inner = _STRIP_WIDTH - 2 * _LARGEST
    placed: list[tuple[float, float, float]] = []
    marks = []
    # The largest dots are placed first, so that they lie on the line.
    for one in sorted(spread.signers, key=lambda one: (-one.recognised.n, one.recognised.value, one.signer)):
        x = _LARGEST + one.recognised.value * inner
        radius = _radius(one.recognised.n / most)
        y = _free_y(x, radius, placed)
        placed.append((x, y, radius))
        marks.append(
            SignerMark(x, y, radius, f"Signer {one.signer}: {one.recognised.correct} of {one.recognised.n} clips")
        )
    lift = max(radius - y for _, y, radius in placed)
    height = lift + max(y + radius for _, y, radius in placed)
    return SignerStrip(
        width=_STRIP_WIDTH,
        height=height,
        marks=tuple(SignerMark(mark.x, mark.y + lift, mark.radius, mark.title) for mark in marks),
        median=_LARGEST + spread.median * inner,
        mean=_LARGEST + mean * inner,
    )


def _radius(share: float) -> float:
    """Radius of a dot whose area is this share of the largest dot's."""
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
