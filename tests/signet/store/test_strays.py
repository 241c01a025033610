"""Objects that do not belong in the store are logged once, and too large ones are not read."""

import logging

import pytest

from signet.errors import DataLoss, NotFound
from signet.store import ObjectStore, strays


def test_an_object_that_is_too_large_is_not_read_to_its_end(object_store: ObjectStore) -> None:
    object_store.put("reports/r/report.json", b"x" * 1000)
    assert strays.read_limited(object_store, "reports/r/report.json", 1000) == b"x" * 1000
    with pytest.raises(DataLoss, match="more than 999 bytes"):
        strays.read_limited(object_store, "reports/r/report.json", 999)
    with pytest.raises(NotFound):
        strays.read_limited(object_store, "reports/missing")


def test_an_empty_object_is_read_as_such(object_store: ObjectStore) -> None:
    object_store.put("reports/r/report.json", b"")
    assert strays.read_limited(object_store, "reports/r/report.json") == b""


def test_many_stray_objects_do_not_fill_the_log(
    object_store: ObjectStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strays, "_logged", set())
    monkeypatch.setattr(strays, "_MOST_LOGGED", 3)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            for number in range(10):
                strays.log_skipped_object(object_store, f"runs/{number}", "it is not a run.")
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 4
    assert "more than 3 objects" in caplog.text
