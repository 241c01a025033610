"""Polling goes on after errors, with longer pauses, and logs each message once."""

import asyncio
import logging
from collections.abc import Callable
from unittest import mock

import pytest

from signet.errors import NotFound
from signet.rpc.polling import StatusLog, poll_forever

_log = logging.getLogger("looking")


def pauses(look: Callable[[int], bool], looks: int) -> list[float]:
    """The pauses after this many checks; they are not waited for."""
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


def test_pauses_double_with_each_failure_and_a_success_resets_them() -> None:
    assert pauses(lambda number: number in {0, 4}, 7) == [2, 4, 8, 16, 2, 4, 8]
    assert max(pauses(lambda _: False, 30)) == 600


def test_no_exception_of_a_check_ends_the_polling(caplog: pytest.LogCaptureFixture) -> None:
    def look(number: int) -> bool:
        if number == 3:
            raise ZeroDivisionError
        raise NotFound("no clips there.")

    assert pauses(look, 5) == [2, 2, 2, 4, 2]
    messages = [record.message for record in caplog.records]
    assert messages.count("no clips there. Looking again every 2 s.") == 1
    assert messages.count("looking failed unexpectedly") == 1


def test_a_message_is_logged_again_after_another_one_or_after_clear(caplog: pytest.LogCaptureFixture) -> None:
    status = StatusLog(_log)
    for message in ("lost", "lost", "found", "lost"):
        status.report(message)
    status.clear()
    status.report("lost")
    status.report("")
    assert [record.message for record in caplog.records] == ["lost", "found", "lost", "lost"]
