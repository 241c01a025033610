"""The schedule: limits of each host, waits, and hosts that are given up."""

import threading
import time

from services.extractor.fetching.links import ClipLink, LinkKind
from services.extractor.fetching.schedule import FetchSchedule, FetchTask, HostLimits


def task(key: str, host: str = "a") -> FetchTask:
    return FetchTask(ClipLink(key, f"http://{host}/{key}", LinkKind.HTTP, host, ()), (key,))


def schedule(*tasks: FetchTask, at_a_time: int = 1, interval: float = 0.0, **special: HostLimits) -> FetchSchedule:
    made = FetchSchedule(HostLimits(at_a_time, interval), special)
    for each in tasks:
        made.add(each)
    return made


def taken(made: FetchSchedule) -> FetchTask:
    found = made.take()
    assert found is not None
    return found


def test_hosts_take_turns_and_keep_their_order() -> None:
    made = schedule(task("1"), task("2"), task("3", "b"), task("4", "b"), at_a_time=5)
    assert [taken(made).link.key for _ in range(4)] == ["1", "3", "2", "4"]


def test_a_host_gets_no_more_than_its_downloads_at_a_time() -> None:
    made = schedule(task("1"), task("2"), task("3", "b"))
    first = taken(made)
    assert taken(made).link.key == "3"
    threading.Timer(0.1, made.release, (first,)).start()
    began = time.monotonic()
    assert taken(made).link.key == "2"
    assert time.monotonic() - began > 0.05


def test_downloads_of_a_host_start_with_an_interval_and_special_hosts_have_their_own() -> None:
    made = schedule(task("1"), task("2"), task("3", "b"), task("4", "b"), at_a_time=5, b=HostLimits(5, 0.2))
    times = {taken(made).link.key: time.monotonic() for _ in range(4)}
    assert times["4"] - times["3"] >= 0.19
    assert times["2"] - times["1"] < 0.1


def test_a_link_that_waits_for_its_next_attempt_lets_others_go_first() -> None:
    first = task("1")
    first.earliest = time.monotonic() + 0.2
    made = schedule(first, task("2"), at_a_time=2)
    assert [taken(made).link.key for _ in range(2)] == ["2", "1"]
    assert time.monotonic() >= first.earliest


def test_a_paused_host_gets_no_request_while_others_do() -> None:
    made = schedule(task("1"), task("2", "b"))
    made.pause("a", 0.2)
    began = time.monotonic()
    assert [taken(made).link.key for _ in range(2)] == ["2", "1"]
    assert time.monotonic() - began >= 0.19


def test_a_host_that_fails_several_times_in_a_row_is_given_up() -> None:
    made = schedule(*(task(str(number)) for number in range(3)))
    for _ in range(4):
        assert made.note_failure("a") is None
    made.note_success("a")
    for _ in range(4):
        assert made.note_failure("a") is None
    removed = made.note_failure("a")
    assert removed is not None
    assert [each.link.key for each in removed] == ["0", "1", "2"]
    assert made.take() is None


def test_waiting_threads_end_when_the_last_download_has_ended() -> None:
    made = schedule(task("1"))
    only = taken(made)
    ended: list[FetchTask | None] = []
    threads = [threading.Thread(target=lambda: ended.append(made.take())) for _ in range(3)]
    for thread in threads:
        thread.start()
    made.add(task("2"))
    made.release(only)
    for thread in threads:
        thread.join(0.3)
    made.release(next(each for each in ended if each is not None))
    for thread in threads:
        thread.join(5)
    assert [each.link.key if each else None for each in ended] == ["2", None, None]


def test_a_stopped_schedule_gives_nothing() -> None:
    made = schedule(task("1"))
    made.pause("a", 60)
    threading.Timer(0.1, made.stop).start()
    assert made.take() is None
