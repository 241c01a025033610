"""Writes to a store that is unavailable for a while."""

import logging
from collections.abc import Callable

import pytest

from services.trainer.runs import store_retry
from services.trainer.runs.store_retry import StoreRetry
from signet.errors import Conflict, Unavailable


class Clock:
    """Stands for the time module: sleeping takes no time here."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(store_retry, "time", clock)
    return clock


def unavailable_until(clock: Clock, end: float) -> Callable[[], None]:
    def write() -> None:
        if clock.now < end:
            raise Unavailable("the store is away.")

    return write


def hint() -> str:
    return "Resume with --resume r."


def test_a_result_waits_ten_minutes_for_the_store_and_then_says_how_to_resume(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    retry = StoreRetry("r", lambda: False)
    with caplog.at_level(logging.WARNING):
        retry.write_until_done(unavailable_until(clock, 699.0), hint)
    assert clock.now == 699.0, "it is tried once a second"
    assert len(caplog.records) == 1, "and logged once"
    with pytest.raises(Unavailable, match=r"the store is away\. Resume with --resume r\."):
        retry.write_until_done(unavailable_until(clock, 699.0 + 610.0), hint)
    assert clock.now < 699.0 + 605.0


def test_an_aborted_run_does_not_wait_for_the_store(clock: Clock) -> None:
    with pytest.raises(Unavailable, match="--resume r"):
        StoreRetry("r", lambda: True).write_until_done(unavailable_until(clock, 200.0), hint)
    assert clock.now == 100.0


def test_an_aborted_run_still_writes_to_a_store_that_is_there(clock: Clock) -> None:
    StoreRetry("r", lambda: True).write_until_done(unavailable_until(clock, 100.0), hint)


def test_only_an_unavailable_store_is_tried_again(clock: Clock) -> None:
    def write() -> None:
        raise Conflict("another owner")

    retry = StoreRetry("r", lambda: False)
    for attempt in (lambda: retry.write_until_done(write, hint), lambda: retry.try_write("state", write)):
        with pytest.raises(Conflict):
            attempt()
    assert clock.now == 100.0


def test_the_return_of_the_store_is_logged_once(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    retry = StoreRetry("r", lambda: False)
    write = unavailable_until(clock, 101.0)
    with caplog.at_level(logging.WARNING):
        assert not retry.try_write("state", write)
        assert not retry.try_write("history", write)
        clock.sleep(1.0)
        assert retry.try_write("state", write)
        assert retry.try_write("state", write)
    assert [record.message.split(".")[0] for record in caplog.records] == [
        "run r: its state cannot be written now",
        "run r: its history cannot be written now",
        "run r: the store is back, and its state is written",
    ]
