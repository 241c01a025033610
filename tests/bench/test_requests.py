"""The benchmark of mutated requests in its short form, on a real evaluator, and what counts as a missed bar."""

from collections import Counter
from pathlib import Path

import pytest

from bench.hostile.corpus import moving_clip
from bench.hostile.requests import RequestMutator, ValidParts
from bench.requests import (
    SERVED,
    RequestReport,
    count_statuses,
    find_faults,
    find_growth,
    make_tokens,
    make_valid_parts,
    publish_second_version,
    send_requests,
)
from signet.landmarks import dump
from tests.bench.conftest import MakeSystem

REQUESTS = 1_000


def test_a_thousand_mutated_requests_get_a_status_and_valid_calls_are_answered(
    make_system: MakeSystem, tmp_path: Path
) -> None:
    tokens = make_tokens(tmp_path / "tokens.json")
    settings = {"SIGNET_TOKENS_FILE": str(tmp_path / "tokens.json"), "SIGNET_THREADS": "1"}
    with make_system(settings) as system:
        publish_second_version(system.store)
        system.start(["evaluator"])
        mutator = RequestMutator(SERVED["evaluator"], make_valid_parts(system, tokens), seed=19)
        requests = map(mutator.make, range(REQUESTS))
        report = send_requests(system, "evaluator", requests, REQUESTS, tokens["read"])
    assert report.missed == []
    assert (report.requests, report.controls) == (REQUESTS, REQUESTS // 100)
    statuses = {status for _, status in report.statuses}
    assert statuses >= {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNAUTHENTICATED"}
    assert {kind for kind, _ in report.statuses} == {"bytes", "names", "fields", "tensor", "metadata", "stream"}
    assert report.memory["evaluator"][-1][1] < 400
    columns, rows = count_statuses(report)
    assert all(len(row) == len(columns) for row in rows)


@pytest.mark.parametrize("service", SERVED)
def test_a_number_makes_the_same_request_each_time(service: str) -> None:
    parts = ValidParts({"model_name": ["signet", "none"]}, _clip(), token="signet_x")  # noqa: S106  (not a secret)
    mutator, again = (RequestMutator(SERVED[service], parts, seed=1) for _ in range(2))
    requests = [mutator.make(number) for number in range(300)]
    assert [again.make(number) for number in reversed(range(300))] == requests[::-1]
    assert RequestMutator(SERVED[service], parts, seed=2).make(7) != requests[7]
    own = {request.method.split("/")[1] for request in requests}
    assert own == set(SERVED[service])


def _clip() -> bytes:
    return dump(moving_clip("clip", "book", "val", 1))


@pytest.mark.parametrize(
    ("status", "message", "fault"),
    [
        ("OK", "", ""),
        ("INVALID_ARGUMENT", "landmarks: not a landmark tensor", ""),
        ("UNAVAILABLE", "this evaluator has no extractor", ""),
        ("UNAVAILABLE", "the store is away", "status UNAVAILABLE"),
        ("UNKNOWN", "Exception iterating requests", "status UNKNOWN"),
        ("INTERNAL", "unexpected KeyError", "status INTERNAL"),
        ("DEADLINE_EXCEEDED", "too slow", "status DEADLINE_EXCEEDED"),
        ("NOT_FOUND", "", "no message"),
        ("NOT_FOUND", "a\nb", "a message of more than one line"),
        ("NOT_FOUND", "x" * 3_000, "a message of 3000 bytes"),
    ],
)
def test_an_answer_without_an_ordinary_status_and_message_is_a_fault(status: str, message: str, fault: str) -> None:
    assert find_faults(status, message) == ([fault] if fault else [])


def test_memory_may_grow_by_five_percent_after_the_first_tenth() -> None:
    statuses = Counter({("bytes", "OK"): 1_000})
    steady = RequestReport(statuses, memory={"evaluator": [(50, 100.0), (100, 200.0), (1_000, 210.0)]})
    assert find_growth(steady) == []
    growing = RequestReport(statuses, memory={"evaluator": [(50, 100.0), (100, 200.0), (1_000, 211.0)]})
    assert find_growth(growing) == ["the evaluator has 211 MB at the end, 200 MB after a tenth of the requests"]
