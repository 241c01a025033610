"""The memory in which workers count frames, and the pool stops jobs."""

import multiprocessing
from collections.abc import Iterator

import pytest

from services.extractor.jobs.board import JobBoard, JobStopped


@pytest.fixture
def board() -> JobBoard:
    return JobBoard(multiprocessing.get_context("spawn"))


def test_the_frames_of_a_job_are_counted_when_they_are_done(board: JobBoard) -> None:
    board.add()
    place = board.add()
    frames = board.count(place, "abc", lambda: 3)
    assert board.progress(place) == ""
    assert next(frames) == "a"
    assert board.progress(place) == ""
    assert next(frames) == "b"
    assert board.progress(place) == "1 of 3 frames were done"
    assert list(frames) == ["c"]
    assert board.progress(place) == "3 of 3 frames were done"
    unknown = board.add()
    list(board.count(unknown, "ab", lambda: 0))
    assert board.progress(unknown) == "2 frames were done"


def test_a_stopped_job_gets_no_further_frame_and_its_neighbours_do(board: JobBoard) -> None:
    def frames(place: int) -> Iterator[str]:
        return board.count(place, "abc", lambda: 3)

    first, second = board.add(), board.add()
    stopped, other = frames(first), frames(second)
    assert (next(stopped), next(other)) == ("a", "a")
    board.stop(first)
    with pytest.raises(JobStopped):
        next(stopped)
    with pytest.raises(JobStopped):
        board.check(first)
    board.check(second)
    assert list(other) == ["b", "c"]


def test_a_place_is_used_again_as_if_it_were_new(board: JobBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.extractor.jobs.board._PLACES", 1)
    place = board.add()
    list(board.count(place, "ab", lambda: 2))
    board.stop(place)
    assert board.add() == place
    board.check(place)
    assert board.progress(place) == ""
