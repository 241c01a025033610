"""How much of a deadline the server takes."""

import pytest

from signet.rpc.deadline import seconds_for_call, seconds_for_work


@pytest.mark.parametrize("remaining", [0.0, 0.01, 0.3, 6.0, 60.0, 3600.0])
def test_the_work_ends_before_the_call_and_the_call_before_the_deadline(remaining: float) -> None:
    work, call = seconds_for_work(remaining), seconds_for_call(remaining)
    assert work is not None
    assert call is not None
    assert 0.9 * remaining - 1e-9 <= work <= call <= remaining
    assert remaining - work <= 0.5
    if remaining:
        assert work < call < remaining


def test_without_a_deadline_there_is_no_limit() -> None:
    assert seconds_for_work(None) is seconds_for_call(None) is None
