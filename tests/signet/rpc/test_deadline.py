"""How much of a deadline the server takes, and the end of calls whose client does not read."""

import asyncio
import logging

import pytest

from signet.rpc import deadline
from signet.rpc.deadline import end_if_unread, seconds_for_call, seconds_for_work


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


def test_a_call_is_cancelled_if_a_response_is_not_taken_in_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(deadline, "UNREAD_SECONDS", 0.5)

    async def send(seconds: float) -> None:
        for _ in range(3):
            with end_if_unread("Service/Method"):
                await asyncio.sleep(seconds)

    asyncio.run(send(0.0))
    assert caplog.messages == []
    with caplog.at_level(logging.WARNING), pytest.raises(asyncio.CancelledError):
        asyncio.run(send(60.0))
    assert caplog.messages == ["Service/Method: the call was ended, because its client has read nothing for 0.5 s"]
