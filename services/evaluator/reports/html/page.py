"""A report as one HTML page that needs nothing else: no script, no font, no picture from outside."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from jinja2 import Environment

from services.evaluator.reports.html.charts import reliability_diagram, signer_strip
from services.evaluator.reports.report import ClipResult, ConfusionCell, GlossAccuracy, Report
from signet.html import NARROW_SPACE, page_environment
from signet.statistics.counts import Spread

# Beyond this a drawn matrix is a grey mist, and the list of confusions says more.
_MATRIX_GLOSSES = 160
# Cell side in pixels by the number of glosses: large enough for a figure inside, then for a finger, then for the eye.
_CELL_SIDES = ((26, 26), (50, 15), (_MATRIX_GLOSSES, 10))
_FIGURE_SIDE = 20
# Mean width of a letter in units of the font's size, with some to spare.
_LETTER = 0.56
_LABEL_FONT = 12.0
_TOP_CONFUSIONS = 12


@dataclass(frozen=True)
class Cell:
    """One cell of the matrix: its corner in pixels, and how strong its colour is, 0 to 1."""

    x: float
    y: float
    strength: float
    right: bool
    confusion: ConfusionCell
    truth_n: int


@dataclass(frozen=True)
class Label:
    """A gloss along an edge of the matrix, at the middle of its row or column."""

    gloss: str
    middle: float


@dataclass(frozen=True)
class Matrix:
    """The confusion matrix as a drawing. Rows are the truth, columns the first guess."""

    side: float
    font: float
    margin: float
    extent: float
    cells: Sequence[Cell]
    labels: Sequence[Label]

    @property
    def size(self) -> float:
        """Width and height of the whole drawing."""
        return self.margin + self.extent + 1

    @property
    def figures(self) -> bool:
        """Whether a cell has room for its count."""
        return self.side >= _FIGURE_SIDE


def render(report: Report) -> str:
    """The report's page."""
    calibration = report.calibration
    return (
        _environment()
        .get_template("report.html")
        .render(
            report=report,
            created=datetime.fromisoformat(report.created),
            glosses=_ranked(report.per_gloss),
            absent=[result.gloss for result in report.per_gloss if not result.recognised.n],
            matrix=_matrix(report),
            confusions=_most_confused(report.confusions),
            wrong=_wrong(report.clips),
            diagrams=[
                (name, figures, reliability_diagram(figures))
                for name, figures in (
                    ("As the model says", calibration.before if calibration else None),
                    ("With a temperature", calibration.after if calibration else None),
                )
                if figures is not None
            ],
            strip=signer_strip(report.signers, report.top1.value) if report.signers else None,
        )
    )


@cache
def _environment() -> Environment:
    environment = page_environment("services.evaluator.reports.html")
    environment.filters.update(points=_points, spread=_spread)
    return environment


def _ranked(results: Sequence[GlossAccuracy]) -> list[GlossAccuracy]:
    """Glosses with clips, the best first; of equal shares the one with more clips, since it is surer."""
    there = [result for result in results if result.recognised.n]
    return sorted(there, key=lambda result: (-result.recognised.value, -result.recognised.n, result.gloss))


def _wrong(clips: Sequence[ClipResult]) -> list[ClipResult]:
    """Clips whose first guess is wrong, the most confident mistakes first."""
    return sorted((clip for clip in clips if not clip.correct), key=lambda clip: -clip.guesses[0].probability)


def _most_confused(confusions: Sequence[ConfusionCell]) -> list[ConfusionCell]:
    wrong = [confusion for confusion in confusions if confusion.truth != confusion.predicted]
    return sorted(wrong, key=lambda confusion: -confusion.clips)[:_TOP_CONFUSIONS]


def _matrix(report: Report) -> Matrix | None:
    glosses = [result.gloss for result in report.per_gloss]
    side = next((side for most, side in _CELL_SIDES if len(glosses) <= most), None)
    if side is None:
        return None
    font = min(_LABEL_FONT, side * 0.85)
    margin = _LETTER * font * max(len(gloss) for gloss in glosses) + 12
    position = {gloss: margin + side * index for index, gloss in enumerate(glosses)}
    clips = {result.gloss: result.recognised.n for result in report.per_gloss}
    return Matrix(
        side=side,
        font=font,
        margin=margin,
        extent=side * len(glosses),
        cells=[
            Cell(
                x=position[confusion.predicted],
                y=position[confusion.truth],
                strength=confusion.clips / clips[confusion.truth],
                right=confusion.truth == confusion.predicted,
                confusion=confusion,
                truth_n=clips[confusion.truth],
            )
            for confusion in report.confusions
        ],
        labels=[Label(gloss, position[gloss] + side / 2) for gloss in glosses],
    )


def _spread(spread: Spread) -> str:
    """Mean and standard deviation over seeds, as percentages."""
    mean = f"{100 * spread.mean:.1f}"
    return mean if spread.deviation is None else f"{mean}{NARROW_SPACE}±{NARROW_SPACE}{100 * spread.deviation:.1f}"


def _points(share: float) -> str:
    """A difference of two shares, in percentage points."""
    points = round(100 * share)
    return f"{'−' if points < 0 else ''}{abs(points)} {'point' if abs(points) == 1 else 'points'}"
