"""The computed parts of a report's page: positions in the charts, and the order of lists."""

import re
from pathlib import Path
from typing import Any

import pytest

from services.evaluator.reports.html.page import render
from services.evaluator.reports.report import (
    Calibration,
    CalibrationBin,
    CalibrationFigures,
    ConfusionCell,
    GlossAccuracy,
    Proportion,
    Report,
)

STORED = Path(__file__).parents[1] / "golden" / "3-published.json"


def report(**changes: Any) -> Report:
    return Report.model_validate_json(STORED.read_bytes()).model_copy(update=changes)


def glosses(*clips: int) -> tuple[GlossAccuracy, ...]:
    return tuple(
        GlossAccuracy(gloss=f"g{index}", recognised=Proportion(correct=0, n=n), predicted=0)
        for index, n in enumerate(clips)
    )


def marks(drawn: str) -> dict[str, list[dict[str, str]]]:
    """The groups of a drawing by their title; each has its shapes, by their attributes."""
    groups = re.findall(r"<g><title>(.*?)</title>(.*?)</g>", drawn, re.DOTALL)
    return {
        title: [dict(re.findall(r'([\w-]+)="(.*?)"', shape)) for shape in re.findall(r"<\w+ .*?>", shapes)]
        for title, shapes in groups
    }


def test_a_confusion_is_drawn_in_the_row_of_its_truth_and_the_column_of_its_guess() -> None:
    cells = (
        ConfusionCell(truth="g0", predicted="g2", clips=1),
        ConfusionCell(truth="g1", predicted="g1", clips=3),
    )
    page = render(report(per_gloss=glosses(4, 3, 2), confusions=cells))
    (matrix,) = re.findall(r'<svg class="matrix".*?</svg>', page, re.DOTALL)
    margin = 0.56 * 12 * 2 + 12
    drawn = marks(matrix)
    assert drawn.keys() == {"g0 taken for g2: 1 of 4", "g1 recognised: 3 of 3"}
    (wrong, wrong_count), (right, right_count) = drawn.values()
    assert (float(wrong["x"]), float(wrong["y"])) == pytest.approx((margin + 2 * 26 + 0.5, margin + 0.5), abs=0.06)
    assert (float(right["x"]), float(right["y"])) == pytest.approx((margin + 26.5, margin + 26.5), abs=0.06)
    assert (wrong["class"], float(wrong["fill-opacity"])) == ("wrong", 0.4)
    assert (right["class"], float(right["fill-opacity"])) == ("right", 1.0)
    assert ("strong" in wrong_count["class"], "strong" in right_count["class"]) == (False, True)
    labels = re.findall(r'<text x=".*?" y="(.*?)" .*?>(\w+)</text>', matrix)
    assert [gloss for _, gloss in labels] == ["g0", "g1", "g2"]
    assert [float(y) for y, _ in labels] == pytest.approx([margin + 26 * index + 13 for index in range(3)], abs=0.06)


@pytest.mark.parametrize(
    ("count", "side", "has_counts"),
    [(26, 26, True), (27, 15, False), (50, 15, False), (51, 10, False), (160, 10, False)],
)
def test_cells_are_smaller_the_more_glosses_there_are(count: int, side: int, has_counts: bool) -> None:
    cell = ConfusionCell(truth="g1", predicted="g0", clips=1)
    page = render(report(per_gloss=glosses(*[1] * count), confusions=(cell,)))
    assert f'width="{side * count}" height="{side * count}"' in page
    shapes = marks(page)["g1 taken for g0: 1 of 1"]
    assert (float(shapes[0]["width"]), len(shapes) == 2) == (side - 1, has_counts)
    assert '<svg class="matrix"' not in render(report(per_gloss=glosses(*[1] * 161), confusions=(cell,)))


def test_a_bin_is_drawn_at_its_probability_and_its_accuracy() -> None:
    bins = (
        CalibrationBin(low=0.0, high=0.5, confidence=0.25, accuracy=Proportion(correct=1, n=4)),
        CalibrationBin(low=0.5, high=1.0, confidence=0.75, accuracy=Proportion(correct=16, n=16)),
        CalibrationBin(low=0.5, high=1.0, confidence=0.0, accuracy=Proportion(correct=0, n=0)),
    )
    figures = CalibrationFigures(expected_error=0.2, negative_log_likelihood=1, brier=0.5, bins=bins)
    calibration = Calibration(before=figures, after=None, temperatures=(), groups="one signer")
    (diagram,) = re.findall(r'<svg class="reliability".*?</svg>', render(report(calibration=calibration)), re.DOTALL)
    drawn = marks(diagram)
    assert drawn.keys() == {"Probability 25 %, right in 1 of 4", "Probability 75 %, right in 16 of 16"}
    low, high = (
        [{name: float(value) for name, value in shape.items() if name != "class"} for shape in shapes]
        for shapes in drawn.values()
    )
    whisker, dot, bar = low
    assert (dot["cx"], dot["cy"]) == (60, 180), "on the diagonal of the square of 240 pixels"
    assert whisker["x1"] == whisker["x2"] == 60
    assert whisker["y1"] == pytest.approx(240 * (1 - bins[0].accuracy.low), abs=0.06)
    assert whisker["y2"] == pytest.approx(240 * (1 - bins[0].accuracy.high), abs=0.06)
    assert (high[1]["cx"], high[1]["cy"]) == (180, 0), "above the diagonal"
    assert high[1]["r"] == 2 * dot["r"] == 9, "four times the clips have four times the area"
    assert (bar["x"], bar["width"], bar["height"], bar["y"]) == (1, 118, 7, 240 + 34 - 7)
    assert (high[2]["x"], high[2]["height"]) == (121, 28)


def test_the_page_lists_the_most_frequent_confusions_and_the_surest_mistakes_first() -> None:
    stored = report()
    vocabulary = [one.gloss for one in stored.per_gloss]
    cells = [
        ConfusionCell(truth=vocabulary[0], predicted=vocabulary[0], clips=9),
        ConfusionCell(truth=vocabulary[0], predicted=vocabulary[1], clips=2),
        ConfusionCell(truth=vocabulary[1], predicted=vocabulary[2], clips=5),
    ]
    right = next(clip for clip in stored.clips if clip.correct)

    def mistake(clip_id: str, probability: float) -> Any:
        guess = right.guesses[0].model_copy(update={"probability": probability})
        return right.model_copy(update={"clip_id": clip_id, "rank": 2, "guesses": (guess, *right.guesses[1:])})

    page = render(report(confusions=tuple(cells), clips=(right, mistake("unsure", 0.4), mistake("sure", 0.9))))
    confused = page[page.index("The most frequent confusions") :]
    found = re.findall(r'<th scope="row">(\w+)</th><td>(\w+)</td><td class="n">(\d+)</td>', confused)
    assert found == [(vocabulary[1], vocabulary[2], "5"), (vocabulary[0], vocabulary[1], "2")]
    wrong = page[page.index("Clips whose first guess is wrong") :]
    assert re.findall(r'<th scope="row" class="id">(\w+)</th>', wrong) == ["sure", "unsure"]


def test_the_glosses_are_listed_best_first_and_those_without_clips_are_named() -> None:
    accuracies = tuple(
        GlossAccuracy(gloss=gloss, recognised=Proportion(correct=correct, n=n), predicted=1)
        for gloss, correct, n in (("a", 1, 4), ("b", 2, 2), ("c", 0, 0), ("d", 4, 4), ("e", 2, 4))
    )
    made = report(per_gloss=accuracies, confusions=())
    assert [one.gloss for one in made.ranked_glosses] == ["d", "b", "e", "a"]
    page = render(made)
    listed = page[
        page.index("Recognised clips by gloss") : page.index("</table>", page.index("Recognised clips by gloss"))
    ]
    assert re.findall(r'<th scope="row">(\w+)</th>', listed) == ["d", "b", "e", "a"]
    assert re.search(r"Without a clip in this split: c\.", page)


def test_differences_have_a_sign_and_a_plural() -> None:
    for gap, words in ((0.01, "1 point"), (-0.012, "−1 point"), (0.137, "14 points"), (0.0, "0 points")):
        assert f" and {words}. A large gap" in " ".join(render(report(exact_greedy_gap=gap)).split())
