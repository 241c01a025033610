"""Stored reports: they are read back unchanged, also those of older versions, and their page is complete."""

import json
import logging
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from services.evaluator.cli import app
from services.evaluator.reports import report_store as reports
from services.evaluator.reports.evaluate import evaluate
from services.evaluator.reports.html.page import render
from services.evaluator.reports.report import BlankStatistics, Proportion, Report
from signet.errors import DataLoss, NotFound
from signet.registry import ModelCard
from signet.store import keys
from tests import strict_html

if TYPE_CHECKING:
    from tests.services.evaluator.conftest import World

# Reports as the versions of their time wrote them: the first version, with cautions, and with continuous decoding and
# calibration, for a published model and for a run.
GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.json"))


class Page(strict_html.Page):
    """A report's page, whose drawings are of elements that need not be closed."""

    void = frozenset({"meta", "br", "line", "rect", "circle"})


def test_a_stored_report_comes_back_as_it_was(world: "World", card: ModelCard) -> None:
    made, page = evaluate(world.store, "signet")
    assert reports.read_report(world.store, made.report_id) == made
    assert Report.model_validate_json(made.to_json()) == made
    assert reports.read_report_html(world.store, made.report_id) == page
    assert world.store.stat(keys.report(made.report_id, "report.html"))


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_a_report_of_an_older_version_is_read_with_all_its_figures_and_shown(world: "World", file: Path) -> None:
    stored = json.loads(file.read_bytes())
    report_id = stored["report_id"]
    world.store.put(keys.report(report_id, "report.json"), file.read_bytes())
    report = reports.read_report(world.store, report_id)
    assert contains(json.loads(report.to_json()), stored)
    assert reports.list_reports(world.store) == [report]
    words = " ".join(Page(render(report)).text.split())
    assert report_id in words
    assert f"{report.top1.correct} of {report.top1.n}" in words
    shown = CliRunner().invoke(app, ["reports", report_id, "--store", world.store.url])
    assert shown.exit_code == 0, shown.output
    assert f"{report.top1.correct} of {report.top1.n}" in shown.output


def contains(whole: Any, part: Any) -> bool:
    """Whether every field of the part stands in the whole with the same value."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and contains(whole[key], part[key]) for key in part)
    if isinstance(part, list):
        return len(whole) == len(part) and all(map(contains, whole, part))
    return bool(whole == part)


@pytest.mark.parametrize("name", ["3-published", "3-run"])
def test_the_format_of_a_report_did_not_change(name: str) -> None:
    (file,) = (file for file in GOLDEN if file.stem == name)
    assert Report.model_validate_json(file.read_bytes()).to_json() == file.read_bytes()


def test_ids_sort_by_time() -> None:
    start = datetime(2026, 12, 31, 23, 59, 59, 998_000, UTC)
    ids = [reports.new_report_id("x", start + timedelta(milliseconds=step)) for step in range(5)]
    assert ids == sorted(ids)
    assert ids[0].startswith("20261231T235959998Z-")
    assert ids[3].startswith("20270101T000000001Z-")
    assert len(set(ids)) == 5


def test_a_damaged_report_is_logged_and_left_out_of_the_list(
    world: "World", card: ModelCard, caplog: pytest.LogCaptureFixture
) -> None:
    first, _ = evaluate(world.store, "signet")
    second, _ = evaluate(world.store, "signet", split="train")
    world.store.put(keys.report("19990101T000000000Z-00000000", "report.json"), b'{"half":')
    world.store.put(keys.report("20990101T000000000Z-00000000", "report.html"), b"a page whose figures never came")
    with caplog.at_level(logging.WARNING):
        assert [made.report_id for made in reports.list_reports(world.store)] == [second.report_id, first.report_id]
    assert "19990101T000000000Z-00000000" in caplog.text
    assert [made.report_id for made in reports.list_reports(world.store, 1)] == [second.report_id]
    with pytest.raises(DataLoss, match="is damaged"):
        reports.read_report(world.store, "19990101T000000000Z-00000000")
    with pytest.raises(NotFound, match="signet reports"):
        reports.read_report(world.store, "20990101T000000000Z-00000000")


@pytest.mark.parametrize(
    ("empty", "verdict"),
    [(10, "blank-collapsed"), (6, "close to blank collapse"), (5, "not blank-collapsed"), (0, "not blank-collapsed")],
)
def test_a_model_is_close_to_collapse_if_most_best_paths_are_empty(empty: int, verdict: str) -> None:
    share = Proportion(correct=empty, n=10)
    blank = BlankStatistics(frame_ratio=0.9, empty=share, collapsed=empty == 10, penalty=1.5)
    assert blank.verdict == verdict


def test_the_page_is_complete_and_refers_to_no_other_file(world: "World", card: ModelCard) -> None:
    made, html = evaluate(world.store, "signet")
    page = Page(html)
    assert not {"script", "link", "img", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    outside = [
        (tag, name) for tag, name, _ in page.attributes if name in {"src", "href", "xlink:href", "srcset", "action"}
    ]
    assert outside == []
    assert not re.search(r"https?:|//[a-z]|@import|url\(", html)
    words = " ".join(page.text.split())
    for said in (
        "12 of 14 clips recognised at the first guess",
        "Few clips: use the interval, not the share alone",
        card.version,
        made.report_id,
        made.provenance.dataset_version,
        "9001",
    ):
        assert said in words, said
    assert not re.search(r"\b(nan|inf|None)\b", html)


def test_tables_have_captions_and_headers_for_screen_readers(world: "World", card: ModelCard) -> None:
    page = Page(evaluate(world.store, "signet")[1])
    assert page.tags.count("table") == page.tags.count("caption") == 4
    assert page.tags.count("th") == sum(tag == "th" and name == "scope" for tag, name, _ in page.attributes)
    assert ("html", "lang", "en") in page.attributes
    assert page.tags.count("h1") == 1


def test_names_with_markup_are_escaped(world: "World", sign: Any) -> None:
    hostile = '<img src=x onerror="alert(1)">&amp;</title></svg><script>'
    world.publish(
        world.snapshot(
            [
                sign("c1", hostile, 0.5),
                sign("<b>c2</b>", hostile, 1.0, signer="<i>"),
                sign("c3", "plain", 1.0),
            ]
        )
    )
    page = Page(evaluate(world.store, "signet", commit="<u>commit</u>")[1])
    assert not {"img", "script", "b", "u"} & set(page.tags)
    assert hostile in page.text
    assert "<b>c2</b>" in page.text


def test_a_matrix_is_drawn_for_at_most_160_glosses(world: "World") -> None:
    for count, drawn in ((20, True), (100, True), (161, False)):
        clips = world.everyday_clips([f"g{index:03d}" for index in range(count - 3)] + ["go", "chair", "who"])
        world.publish(world.snapshot(clips))
        made, html = evaluate(world.store, "signet")
        assert (f"Confusion matrix of {count} glosses" in html) is drawn
        assert ("too many for a drawn matrix" in html) is not drawn
        Page(html)
        assert len(made.per_gloss) == count
