"""The soak in its short form, on a real evaluator whose versions change meanwhile."""

from collections import Counter

from bench.requests import publish_second_version
from bench.soak import SETTINGS, SoakReport, memory_table, run_soak
from tests.bench.conftest import MakeSystem

REQUESTS = 1_000


def test_a_mix_of_calls_is_answered_while_the_alias_moves(make_system: MakeSystem) -> None:
    with make_system({**SETTINGS, "SIGNET_THREADS": "1", "SIGNET_REFRESH_SECONDS": "0.1"}) as system:
        versions = publish_second_version(system.store)
        system.start(["evaluator"])
        report = run_soak(system, versions, REQUESTS, seed=19, move_every=250)
    assert report.errors == Counter()
    assert report.moves == 4
    assert report.calls.total() == REQUESTS + report.moves
    assert set(report.calls) == {"short", "medium", "still", "named", "wrong", "health", "status", "move"}
    assert set(report.versions) == set(versions)
    assert report.memory[-1][1] < 400
    assert len(memory_table(report)[1]) >= 10


def test_growth_compares_medians_after_the_first_tenth_and_at_the_end() -> None:
    early = [(calls, 100.0) for calls in range(0, 1_000, 50)]
    late = [(calls, 101.0) for calls in range(1_000, 2_001, 50)]
    assert SoakReport(memory=[(0, 10.0), *early[1:], *late]).growth() == 101 / 100 - 1
    assert SoakReport().growth() == 0
