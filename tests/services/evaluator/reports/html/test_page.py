"""The parts of a report's page that are computed: the matrix, and which lines come first."""

import re
from pathlib import Path
from typing import Any

import pytest

from services.evaluator.reports.html.page import draw_matrix, render
from services.evaluator.reports.report import ConfusionCell, GlossAccuracy, Proportion, Report

STORED = Path(__file__).parents[1] / "golden" / "3-published.json"


def report(**changes: Any) -> Report:
    return Report.model_validate_json(STORED.read_bytes()).model_copy(update=changes)


def glosses(*clips: int) -> tuple[GlossAccuracy, ...]:
    return tuple(
        GlossAccuracy(gloss=f"g{index}", recognised=Proportion(correct=0, n=n), predicted=0)
        for index, n in enumerate(clips)
    )


def test_a_confusion_is_drawn_in_the_row_of_its_truth_and_the_column_of_its_guess() -> None:
    cells = (
        ConfusionCell(truth="g0", predicted="g2", clips=1),
        ConfusionCell(truth="g1", predicted="g1", clips=3),
    )
    matrix = draw_matrix(report(per_gloss=glosses(4, 3, 2), confusions=cells))
    assert matrix is not None
    first, second = matrix.cells
    row, column = matrix.margin, matrix.margin + 2 * matrix.side
    assert (first.x, first.y, first.strength, first.correct, first.truth_n) == (column, row, 0.25, False, 4)
    assert (second.x, second.y) == (matrix.margin + matrix.side,) * 2
    assert (second.strength, second.correct) == (1, True)
    assert [label.gloss for label in matrix.labels] == ["g0", "g1", "g2"]
    assert matrix.labels[2].middle == column + matrix.side / 2


@pytest.mark.parametrize(
    ("count", "side", "has_counts"),
    [(26, 26, True), (27, 15, False), (50, 15, False), (51, 10, False), (160, 10, False)],
)
def test_cells_are_smaller_the_more_glosses_there_are(count: int, side: int, has_counts: bool) -> None:
    matrix = draw_matrix(report(per_gloss=glosses(*[1] * count), confusions=()))
    assert matrix is not None
    assert (matrix.side, matrix.has_counts, matrix.extent) == (side, has_counts, side * count)
    assert draw_matrix(report(per_gloss=glosses(*[1] * 161), confusions=())) is None


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
