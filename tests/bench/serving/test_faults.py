"""Faults under load in their short form, on a real evaluator and a real store."""

from pathlib import Path
from typing import Any

from bench.hostile.corpus import MODEL
from bench.serving.faults import (
    ServedSystem,
    find_wrong_versions,
    measure_outage,
    measure_promotions,
    measure_stops,
    publish_versions,
)
from bench.serving.recorded_load import RecordedCall, percentile_ms
from services.local.seaweedfs import LocalStore
from signet.landmarks import dump
from signet.store import DirectoryStore
from tests.bench.conftest import publish_small_model
from tests.services.evaluator.conftest import make_clip, place_of


def test_no_call_fails_while_versions_change_the_evaluator_stops_and_the_store_is_away(tmp_path: Path) -> None:
    models = DirectoryStore(tmp_path / "models")
    publish_small_model(models)
    clip = dump(make_clip("new", "", place_of(2, 6), frames=40))
    with LocalStore(tmp_path / "store") as store:
        publish_versions(store.open(), models, MODEL)
        system = ServedSystem(store, MODEL, [clip], 4, tmp_path / "log")
        promoted, stopped, outage = measure_promotions(system, 1), measure_stops(system, 1), measure_outage(system, 1.0)
    assert [promoted.missed, stopped.missed, outage.missed] == [[], [], []]
    assert promoted.figures["moves"] == 2
    assert stopped.figures["seconds_to_exit"][1] < 10
    assert outage.figures["answered"] > 20
    assert outage.figures["outage_seconds"] >= 1
    assert "Traceback" not in system.log.read_text()


def test_an_answer_of_a_version_that_was_not_current_is_found() -> None:
    def call(begun: float, ended: float, version: str, **named: Any) -> RecordedCall:
        return RecordedCall(begun, ended, version, **named)

    current = [("a", 0.0, 10.0), ("b", 12.0, 20.0)]
    calls = [
        call(1, 2, "a"),
        call(9, 13, "b"),
        call(10.5, 11, "a"),
        call(13, 14, "b"),
        call(3, 4, "", status="ABORTED"),
    ]
    assert find_wrong_versions(calls, current) == []
    assert find_wrong_versions([*calls, call(13, 14, "a")], current) == [
        "a call got an answer of a while b was current"
    ]
    assert percentile_ms(calls, 100) == 4000.0
    assert percentile_ms([], 50) == 0.0
