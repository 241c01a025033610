"""Objects below reports/ that are no reports, or no usable ones, stop nothing."""

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from services.evaluator.reports import report_store
from services.evaluator.reports.evaluate import evaluate
from services.evaluator.reports.report import Report
from services.evaluator.reports.report_store import (
    ReportIndex,
    list_reports,
    read_report,
    read_report_html,
    read_report_texts,
    store_report,
)
from services.evaluator.service import _summary
from signet.errors import DataLoss
from signet.registry import ModelCard
from signet.rpc.limits import MAX_MESSAGE_BYTES
from signet.store import ObjectStore, keys

if TYPE_CHECKING:
    from tests.services.evaluator.conftest import World

NAMES = ("README", "a/b/report.json", "a b/report.json", ".git/report.json", "..x/report.json", "report.json")


def test_stray_objects_below_reports_are_skipped_and_logged_once(
    world: "World", card: ModelCard, caplog: pytest.LogCaptureFixture
) -> None:
    report, _ = evaluate(world.store, "signet")
    for name in NAMES:
        world.store.put(keys.reports() + name, report.to_json())
    copy = "99990101T000000000Z-00000000"
    world.store.put(keys.report(copy, "report.json"), report.to_json())
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert [made.report_id for made in list_reports(world.store)] == [report.report_id]
            assert [made.report_id for made in list_reports(world.store, 1)] == [report.report_id]
    assert "copy of another report" in caplog.text
    # A name with a folder in it, "a/b/report.json", is a file of the report "a", which has no report.json of its own.
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == len(NAMES) - 1 + 1


@pytest.mark.parametrize(
    "change",
    [
        {"top1": {"correct": 10**400, "n": 1}},
        {"top1": {"correct": 3, "n": 2}},
        {"top1": {"correct": 10**12, "n": 10**12}},
        {"top1": {"correct": -1, "n": 2}},
        {"glosses_predicted": 2**40},
        {"created": "yesterday"},
    ],
)
def test_a_report_with_impossible_numbers_is_skipped(world: "World", card: ModelCard, change: dict[str, Any]) -> None:
    report, _ = evaluate(world.store, "signet")
    forged = json.loads(report.to_json()) | {"report_id": "forged"} | change
    world.store.put(keys.report("forged", "report.json"), json.dumps(forged).encode())
    listed = list_reports(world.store)
    assert [_summary(made).report_id for made in listed] == [report.report_id]
    with pytest.raises(DataLoss, match="damaged"):
        read_report(world.store, "forged")


def test_a_page_that_is_not_text_is_data_loss(world: "World") -> None:
    world.store.put(keys.report("r", "report.html"), b"\xff\xfe")
    with pytest.raises(DataLoss, match="not UTF-8"):
        read_report_html(world.store, "r")


def test_an_index_reads_each_report_once_and_keeps_the_newest_without_their_clips(
    world: "World", card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_store, "MAX_INDEXED", 5)
    report, page = evaluate(world.store, "signet")
    for number in range(7):
        store_report(world.store, report.model_copy(update={"report_id": f"29990101T00000000{number}Z-0"}), page)
    world.store.put(keys.report("29990101T000000009Z-0", "report.json"), b"damaged")
    reads: list[str] = []
    read = report_store.read_report

    def count_read(store: ObjectStore, report_id: str) -> Report:
        reads.append(report_id)
        return read(store, report_id)

    monkeypatch.setattr(report_store, "read_report", count_read)
    index = ReportIndex(world.store)
    for _ in range(3):
        newest = index.newest()
        assert [entry.report_id[17] for entry in newest] == ["6", "5", "4", "3"]
    assert len(reads) == 5
    assert {len(entry.clips) + len(entry.per_gloss) for entry in newest} == {0}
    assert [_summary(entry).top1 for entry in newest] == [report.top1.value] * 4
    world.store.delete(keys.report(newest[0].report_id, "report.json"))
    assert [entry.report_id[17] for entry in index.newest()] == ["5", "4", "3", "2"]


def test_a_report_that_no_message_can_carry_is_refused_with_the_way_out(world: "World", card: ModelCard) -> None:
    report, _ = evaluate(world.store, "signet")
    key = keys.report(report.report_id, "report.html")
    world.store.delete(key)
    world.store.put(key, b"x" * MAX_MESSAGE_BYTES)
    with pytest.raises(DataLoss, match="`signet reports` shows it"):
        read_report_texts(world.store, report.report_id)
    world.store.put(keys.report("damaged", "report.html"), b"")
    world.store.put(keys.report("damaged", "report.json"), b"\xff")
    with pytest.raises(DataLoss, match="'damaged' is damaged: it is not UTF-8"):
        read_report_texts(world.store, "damaged")
