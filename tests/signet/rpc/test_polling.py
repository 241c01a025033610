"""A loop that nothing ends, that does not storm, and that does not repeat itself."""

import asyncio
import logging
from collections.abc import Callable
from unittest import mock

import pytest

from signet.errors import NotFound
from signet.rpc.polling import StatusLog, poll_forever

_log = logging.getLogger("looking")


def pauses(look: Callable[[int], bool], looks: int) -> list[float]:
    """The pauses after so many looks; nobody waits for them."""
    taken: list[float] = []

    async def sleep(seconds: float) -> None:
        taken.append(seconds)
        if len(taken) == looks:
            raise asyncio.CancelledError

    async def one() -> bool:
        return look(len(taken))

    with mock.patch("asyncio.sleep", sleep), pytest.raises(asyncio.CancelledError):
        asyncio.run(poll_forever(one, 2.0, StatusLog(_log), _log))
    return taken


def test_failures_are_tried_ever_more_seldom_and_a_success_ends_that() -> None:
    assert pauses(lambda number: number in {0, 4}, 7) == [2, 4, 8, 16, 2, 4, 8]
    assert max(pauses(lambda _: False, 30)) == 600


def test_neither_what_is_wrong_nor_the_unexpected_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    def look(number: int) -> bool:
        if number == 3:
            raise ZeroDivisionError
        raise NotFound("no clips there.")

    assert pauses(look, 5) == [2, 2, 2, 4, 2]
    messages = [record.message for record in caplog.records]
    assert messages.count("no clips there. Looking again every 2 s.") == 1
    assert messages.count("looking failed unexpectedly") == 1


def test_what_was_over_is_news_when_it_comes_again(caplog: pytest.LogCaptureFixture) -> None:
    status = StatusLog(_log)
    for message in ("lost", "lost", "found", "lost"):
        status.report(message)
    status.clear()
    status.report("lost")
    status.report("")
    assert [record.message for record in caplog.records] == ["lost", "found", "lost", "lost"]
