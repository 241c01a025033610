"""An alignment strip shows the output of the model."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from services.trainer.inspection.posteriors import FramePosteriors
from services.trainer.inspection.strip import draw_strip

VOCABULARY = ("book", "a-gloss-of-a-very-long-name", "who")


def posteriors(p: list[list[float]], truth: int | None = 1) -> FramePosteriors:
    """Of a clip with these probabilities: blank and three glosses."""
    log_probs = np.log(np.array(p) / np.sum(p, axis=1, keepdims=True))
    present = np.ones((len(p), 3), np.bool_)
    present[0, 1:] = False
    return FramePosteriors("c1", VOCABULARY, truth, log_probs, present, ())


PEAK = [[0.97, 0.01, 0.01, 0.01], [0.1, 0.8, 0.07, 0.03], [0.2, 0.1, 0.3, 0.4], [0.97, 0.01, 0.01, 0.01]]


def test_the_tooltip_of_a_frame_has_its_probabilities() -> None:
    drawn = draw_strip(posteriors(PEAK)).body
    assert "0.1 s: book 0.80, a-gloss-of-a-very-long-name 0.07, other signs 0.03, blank 0.10" in drawn
    assert "0.2 s: book 0.10, who 0.40, other signs 0.30, blank 0.20" in drawn
    assert "forced alignment of book: 0.1 to 0.2 s" in drawn
    assert "left hand in 75 % of the frames" in drawn


def test_a_column_is_as_high_as_its_probability() -> None:
    body = draw_strip(posteriors(PEAK)).body
    heights = [
        float(high)
        for high in re.findall(r'class="truth" x="[\d.]+" y="[\d.]+" width="[\d.]+" height="([\d.]+)"', body)
    ]
    ground = float(re.search(r'class="ground" x="[\d.]+" y="[\d.]+" width="[\d.]+" height="([\d.]+)"', body).group(1))  # type: ignore[union-attr]
    assert max(heights) == pytest.approx(0.8 * ground, abs=0.2)


@pytest.mark.parametrize(("share", "axis"), [(0.9, None), (0.2, "30 %"), (0.05, "10 %"), (0.001, "2 %")])
def test_a_text_says_that_the_axis_is_cut(share: float, axis: str | None) -> None:
    drawn = draw_strip(posteriors([[1 - 3 * share / 3, share / 3, share / 3, share / 3]] * 5)).body
    assert (f"the axis ends at {axis}: the rest is blank" in drawn) is (axis is not None)
    assert ("the axis ends" in drawn) is (axis is not None)


def test_the_best_other_gloss_is_named_once_where_it_is_best() -> None:
    drawn = draw_strip(posteriors([[0.5, 0.05, 0.05, 0.4]] * 6)).body
    assert len(re.findall(r">who</text>", drawn)) == 1


def test_a_gloss_that_cannot_be_seen_is_not_named() -> None:
    assert "</text>" in draw_strip(posteriors([[0.2, 0.799, 0.0005, 0.0005]] * 6)).body
    assert "who</text>" not in draw_strip(posteriors([[0.2, 0.799, 0.0004, 0.0006]] * 6)).body


def test_without_a_truth_the_most_probable_gloss_is_aligned() -> None:
    body = draw_strip(posteriors(PEAK, truth=None)).body
    assert "forced alignment of book" in body
    assert 'class="truth"' not in body


@pytest.mark.parametrize("frames", [1, 20, 1500])
def test_a_clip_of_any_length_has_a_strip(frames: int) -> None:
    drawn = draw_strip(posteriors((PEAK * 400)[:frames]), "A title")
    assert drawn.width < 800 or frames == 1500
    ET.fromstring(drawn.file())  # noqa: S314  (ours)
    assert b"A title" in drawn.file()


def test_columns_alignment_and_presence_are_at_their_frames() -> None:
    body = draw_strip(posteriors(PEAK)).body
    # Frames are 26 wide and start at 92. The columns are 96 high and end at 114.
    columns = re.findall(r'class="(truth|other|rest)" x="([\d.]+)" y="([\d.]+)" width="25" height="([\d.]+)"', body)
    assert [column for column in columns if column[1] == "118"] == [
        ("truth", "118", "37.2", "76.8"),
        ("other", "118", "30.5", "6.7"),
        ("rest", "118", "27.6", "2.9"),
    ]
    assert re.search(r'd="M118 122H144V131H118Z"', body), "the outline of frame 1"
    left_hand = re.findall(r'class="posed" d="([^"]+)"', body)[1]
    assert re.findall(r"M([\d.]+) ([\d.]+)", left_hand) == [("118", "148"), ("144", "148"), ("170", "148")]
    assert re.findall(r'class="axis" x1="([\d.]+)" x2="[\d.]+" y1="170"', body) == ["92"], "0 s; the clip ends at 0.4 s"
    assert ">0 s</text>" in body


def test_the_shading_of_the_alignment_is_the_occupation() -> None:
    shown = posteriors(PEAK)
    body = draw_strip(shown).body
    shades = re.findall(r'class="truth" x="([\d.]+)" y="122" width="26" height="9" fill-opacity="([\d.]+)"', body)
    expected = [
        (f"{92 + 26 * t}", f"{0.6 * share:.2f}") for t, share in enumerate(shown.occupation.tolist()) if share >= 0.01
    ]
    assert shades == expected
    assert len(shades) >= 2


def test_the_name_of_another_gloss_stands_above_its_peak() -> None:
    rows = [[0.9, 0.02, 0.02, 0.06]] * 3 + [[0.2, 0.05, 0.05, 0.7]] + [[0.9, 0.02, 0.02, 0.06]] * 3
    body = draw_strip(posteriors(rows)).body
    # The centre of frame 3, and 4 pixels above the stack of 80 %.
    assert re.search(r'<text x="183" y="33.2" class="middle small halo">who</text>', body)


def test_of_two_names_without_room_for_both_the_more_probable_gloss_is_named() -> None:
    body = draw_strip(posteriors([[0.4, 0.05, 0.1, 0.45], [0.3, 0.05, 0.6, 0.05], [0.97, 0.01, 0.01, 0.01]])).body
    assert re.findall(r'class="middle small halo">([^<]+)<', body) == ["a-gloss-of-a-very-long-name"]


@pytest.mark.parametrize(("share", "cut"), [(0.28, True), (0.29, False)])
def test_the_axis_leaves_a_twentieth_above_the_highest_column(share: float, cut: bool) -> None:
    body = draw_strip(posteriors([[1 - share, share / 3, share / 3, share / 3]] * 5)).body
    assert ("the axis ends at 30 %" in body) is cut


def test_the_true_gloss_is_not_the_best_other_gloss() -> None:
    body = draw_strip(posteriors(PEAK, truth=3)).body
    assert "0.2 s: who 0.40, a-gloss-of-a-very-long-name 0.30, other signs 0.10, blank 0.20" in body
