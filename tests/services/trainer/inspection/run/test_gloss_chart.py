"""The chart of glosses: each dot and band is at its share."""

import re

import pytest

from services.trainer.inspection.run.gloss_chart import GlossComparison, draw_gloss_comparison, draw_glosses
from signet.statistics.counts import GlossCounts
from signet.statistics.intervals import wilson

# Pixels of the scale: 0 % is at 190, and 100 % at 550.
START, LENGTH = 190.0, 360.0


def test_a_gloss_has_its_share_its_interval_and_its_counts() -> None:
    drawing = draw_glosses([GlossCounts("book", 4, 3.0, 5), GlossCounts("drink", 2, 0.5, 0)], mean=0.5)
    assert re.findall(r'class="truth" cx="([\d.]+)" cy="([\d.]+)"', drawing.body) == [("460", "30.5"), ("280", "47.5")]
    low, high = wilson(3, 4)
    x, width = re.findall(r'class="band" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', drawing.body)[0]
    assert (float(x), float(width)) == pytest.approx((START + low * LENGTH, (high - low) * LENGTH), abs=0.06)
    assert '<line class="dash" x1="370" x2="370" y1="22" y2="56">' in drawing.body
    assert re.findall(r'class="end soft">([^<]+)<', drawing.body) == ["3 / 4", "0.5 / 2"]
    assert "book: 75\u202f% of 4 clips" in drawing.body
    assert "the first guess in 5 clips" in drawing.body


def test_a_title_moves_the_rows_down_and_a_long_name_moves_them_right() -> None:
    plain, titled = (draw_glosses([GlossCounts("book", 4, 3.0, 5)], 0.5, title) for title in ("", "A title"))
    assert titled.height == plain.height + 20
    assert 'cy="50.5"' in titled.body
    long = draw_glosses([GlossCounts("a" * 30, 4, 3.0, 5)], 0.5)
    assert long.width == pytest.approx(plain.width + 30 * 6.2 + 8 - 128)


def test_runs_have_dots_in_their_colours_a_little_apart() -> None:
    glosses = [GlossComparison("book", 4, (0.5, None, 0.5)), GlossComparison("drink", 2, (0.0, 1.0, None))]
    drawing = draw_gloss_comparison(glosses, "ABC")
    dots = re.findall(r'style="fill:var\((--\w+)\)" cx="([\d.]+)" cy="([\d.]+)"', drawing.body)
    assert dots == [
        ("--right", "370", "27.5"),
        ("--third", "370", "33.5"),
        ("--right", "190", "44.5"),
        ("--wrong", "550", "47.5"),
    ]
    lines = re.findall(
        r'class="axis" x1="([\d.]+)" x2="([\d.]+)" y1="[\d.]+" y2="[\d.]+" stroke-width="2"', drawing.body
    )
    assert lines == [("370", "370"), ("190", "550")]
    assert "book, 4 clips: A 50\u202f%, C 50\u202f%" in drawing.body
    assert [gloss.width for gloss in glosses] == [0.0, 1.0]
