"""The benchmark of attacks: real attacks in their shortest form, and what counts as a missed bar."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from bench.attacks import ATTACKS, find_missed_memory, find_missed_statuses, find_missed_times, measure, settle, table
from bench.hostile.meter import CALLS, CallTimes, state_of_services
from bench.hostile.system import AttackedSystem


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AttackedSystem]:
    with AttackedSystem(tmp_path_factory.mktemp("attacked"), None) as attacked:
        yield attacked


def missed(row: dict[str, Any]) -> list[str]:
    """The bars that an attack missed, without those of time: other tests run on the same cores."""
    return [miss for miss in row["missed"] if not miss.startswith(("p50", "p95"))]


@pytest.mark.parametrize("name", ["unknown-methods", "idle-http2-connections"])
def test_an_attack_is_measured_on_a_real_evaluator(system: AttackedSystem, name: str) -> None:
    row = measure(system, name, seconds=1)
    assert missed(row) == []
    assert sum(row["statuses"].values()) > 0
    assert row["calls"]["Recognize"]["beside"]["n"] > 0
    assert 50 < row["peak_mb"]["evaluator"] < 600
    columns, cells = table({name: row})
    assert len(columns) == len(cells[0])


def test_a_service_that_has_ended_is_a_missed_bar(system: AttackedSystem) -> None:
    system.start(["evaluator"])
    before = state_of_services(system)
    system.stop(["evaluator"])
    assert settle(system, before, seconds=0.1) == ["the evaluator has ended"]


def test_times_are_compared_with_twice_the_usual_time() -> None:
    usual = CallTimes(seconds=[0.1] * 20)
    assert find_missed_times("Recognize", usual, CallTimes(seconds=[0.19] * 20)) == []
    assert len(find_missed_times("Recognize", usual, CallTimes(seconds=[0.21] * 20))) == 2
    assert len(find_missed_times("Recognize", usual, CallTimes(seconds=[0.1] * 18 + [0.5] * 2))) == 1
    refused = CallTimes(seconds=[0.1] * 20, failed=Counter(UNAVAILABLE=1))
    assert find_missed_times("Recognize", usual, refused) == ["1 x Recognize failed with UNAVAILABLE"]
    assert find_missed_times("Recognize", usual, CallTimes()) == ["no Recognize was answered beside the attack"]


def test_memory_and_statuses_have_bars() -> None:
    assert find_missed_memory({"evaluator": 600, "extractor": 401, "extractor's child": 1001}) == [
        "extractor took 401 MB",
        "extractor's child took 1001 MB",
    ]
    assert find_missed_statuses({"OK": 3, "RESOURCE_EXHAUSTED": 2, "UNKNOWN": 1}) == ["the attack got 1 x UNKNOWN"]


def test_each_attack_measures_calls_that_exist() -> None:
    for attack in ATTACKS.values():
        assert set(attack.legitimate) <= set(CALLS)
        assert attack.services
        assert attack.seconds <= 60
