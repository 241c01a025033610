"""The deadline of a call: how much of it the server may take, and how long a client may read nothing."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

_log = logging.getLogger(__name__)

# An error must reach the caller before the caller's own clock ends the call: only the server knows what was reached.
_ANSWER_SECONDS = 0.5
_ANSWER_SHARE = 0.1
# A call is ended if its client does not take a response for so long. gRPC buffers 64 KiB, so such a client has stopped
# reading; a slow link takes the largest response in less time.
UNREAD_SECONDS = 300.0


def seconds_for_work(remaining: float | None) -> float | None:
    """The part of a call's remaining seconds that its work may take; None for no limit. The rest is for the answer."""
    return _leave(remaining, 1.0)


def seconds_for_call(remaining: float | None) -> float | None:
    """The seconds after which a call is ended that did not end after `seconds_for_work`; None for no limit."""
    return _leave(remaining, 0.5)


def _leave(remaining: float | None, share: float) -> float | None:
    if remaining is None:
        return None
    return max(0.0, remaining - share * min(_ANSWER_SECONDS, _ANSWER_SHARE * remaining))


@contextmanager
def end_if_unread(method: str) -> Iterator[None]:
    """Keep this context open while a response waits for its client. After `UNREAD_SECONDS` the call is cancelled.

    A client that does not read would keep its place, and what the call holds, for as long as it wants. Use this in the
    task of the call. No status reaches the client, because a status waits for the responses before it.
    """
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  (gRPC has a task for each call)

    def end() -> None:
        _log.warning("%s: the call was ended, because its client has read nothing for %g s", method, UNREAD_SECONDS)
        task.cancel()

    timer = asyncio.get_running_loop().call_later(UNREAD_SECONDS, end)
    try:
        yield
    finally:
        timer.cancel()
