"""The HTML page of a report. It needs no other file: no script, no font, no picture."""

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import pairwise

from jinja2 import Environment

from services.evaluator.reports.html.charts import dot_radius, signer_strip
from services.evaluator.reports.html.operating_chart import draw_operating_charts, list_alarm_sources, list_points
from services.evaluator.reports.report import Report
from signet.html import NARROW_SPACE, page_environment
from signet.statistics.counts import Spread

# The cells of a larger confusion matrix would be too small; the page then lists the confusions only.
_MAX_MATRIX_GLOSSES = 160
# Side of a cell in pixels, for at most so many glosses. The largest cells hold their count.
_CELL_SIDES = ((26, 26), (50, 15), (_MAX_MATRIX_GLOSSES, 10))
_MIN_SIDE_WITH_COUNT = 20
# Mean width of a letter as a share of the font's size.
_LETTER_WIDTH = 0.56
_MAX_LABEL_FONT = 12.0
_LISTED_CONFUSIONS = 12


@dataclass(frozen=True)
class ConfusionMatrix:
    """The layout of the drawn confusion matrix, in pixels. Rows are the true glosses, columns the first guesses."""

    side: float  # side of a cell
    font: float  # size of the font of the labels
    margin: float  # width of the labels
    corners: dict[str, float]  # where the row, and the column, of each gloss begins
    clips: dict[str, int]  # number of clips of each gloss

    @property
    def extent(self) -> float:
        """Side of the matrix without its labels."""
        return self.side * len(self.corners)

    @property
    def size(self) -> float:
        """Width and height of the whole drawing."""
        return self.margin + self.extent + 1

    @property
    def has_counts(self) -> bool:
        """Whether a cell is large enough for its count."""
        return self.side >= _MIN_SIDE_WITH_COUNT


def render(report: Report) -> str:
    """The page of a report."""
    calibration, signing = report.calibration, report.continuous_signing
    wrong_clips = [clip for clip in report.clips if not clip.correct]
    confusions = [confusion for confusion in report.confusions if confusion.truth != confusion.predicted]
    calibrations = (
        ("Without a temperature", calibration.before if calibration else None),
        ("With a temperature", calibration.after if calibration else None),
    )
    return (
        _environment()
        .get_template("report.html")
        .render(
            report=report,
            created=datetime.fromisoformat(report.created),
            glosses=report.ranked_glosses,
            absent=[result.gloss for result in report.per_gloss if not result.recognised.n],
            matrix=_lay_out_matrix(report),
            confusions=sorted(confusions, key=lambda confusion: -confusion.clips)[:_LISTED_CONFUSIONS],
            wrong=sorted(wrong_clips, key=lambda clip: -clip.guesses[0].probability),
            calibrations=[(name, figures) for name, figures in calibrations if figures is not None],
            strip=signer_strip(report.signers, report.top1.value) if report.signers else None,
            operating=draw_operating_charts(signing) if signing else (),
            alarm_sources=list_alarm_sources(signing) if signing else (),
            listed_points=list_points(signing) if signing else (),
        )
    )


@cache
def _environment() -> Environment:
    environment = page_environment("services.evaluator.reports.html")
    environment.filters.update(points=_points, spread=_spread, dot_radius=dot_radius, pairwise=pairwise)
    return environment


def _lay_out_matrix(report: Report) -> ConfusionMatrix | None:
    """The layout of the confusion matrix; None if there are too many glosses."""
    glosses = [result.gloss for result in report.per_gloss]
    side = next((side for most, side in _CELL_SIDES if len(glosses) <= most), None)
    if side is None:
        return None
    font = min(_MAX_LABEL_FONT, side * 0.85)
    margin = _LETTER_WIDTH * font * max(len(gloss) for gloss in glosses) + 12
    return ConfusionMatrix(
        side=side,
        font=font,
        margin=margin,
        corners={gloss: margin + side * index for index, gloss in enumerate(glosses)},
        clips={result.gloss: result.recognised.n for result in report.per_gloss},
    )


def _spread(spread: Spread) -> str:
    """Mean and standard deviation over seeds, as percentages."""
    mean = f"{100 * spread.mean:.1f}"
    return mean if spread.deviation is None else f"{mean}{NARROW_SPACE}±{NARROW_SPACE}{100 * spread.deviation:.1f}"


def _points(share: float) -> str:
    """A difference of two shares, in percentage points."""
    points = round(100 * share)
    return f"{'−' if points < 0 else ''}{abs(points)} {'point' if abs(points) == 1 else 'points'}"
