"""The memory in which workers count frames, and the pool stops jobs."""

import multiprocessing
import time
from collections.abc import Iterator

import pytest

from services.extractor.jobs.board import JobBoard, JobStopped, Progress, VideoSize


@pytest.fixture
def board() -> JobBoard:
    return JobBoard(multiprocessing.get_context("spawn"))


def test_the_frames_of_a_job_are_counted_when_they_are_done(board: JobBoard) -> None:
    board.add()
    place = board.add()
    board.note_packet(place, VideoSize(3, 64, 3))
    frames = board.count(place, "abc")
    assert str(board.progress(place)) == "its first frame was not done"
    assert next(frames) == "a"
    assert board.progress(place) == Progress(0, 3, 0.0)
    assert next(frames) == "b"
    assert str(board.progress(place)) == "1 of 3 frames were done in 0 s, so that all need about 0 s"
    assert list(frames) == ["c"]
    assert board.progress(place).done == 3
    unknown = board.add()
    list(board.count(unknown, "ab"))
    assert str(board.progress(unknown)) == "2 frames were done"


def test_the_time_of_a_job_begins_when_a_worker_takes_it(board: JobBoard) -> None:
    place = board.add()
    assert board.running_seconds(place) == 0
    board.start(place)
    time.sleep(0.1)
    assert 0.1 <= board.running_seconds(place) < 2


def test_the_time_for_all_frames_is_estimated_by_those_that_are_done(board: JobBoard) -> None:
    place = board.add()
    board.note_packet(place, VideoSize(40, 64, 40))
    frames = board.count(place, range(40))
    next(frames)
    time.sleep(0.2)
    next(frames)
    progress = board.progress(place)
    assert 0.2 <= progress.seconds < 2
    assert progress.needed_seconds == pytest.approx(40 * progress.seconds)


def test_a_stopped_job_gets_no_further_frame_and_its_neighbours_do(board: JobBoard) -> None:
    def frames(place: int) -> Iterator[str]:
        return board.count(place, "abc")

    first, second = board.add(), board.add()
    stopped, other = frames(first), frames(second)
    assert (next(stopped), next(other)) == ("a", "a")
    board.stop(first)
    with pytest.raises(JobStopped):
        next(stopped)
    with pytest.raises(JobStopped):
        board.check(first)
    with pytest.raises(JobStopped):
        board.note_packet(first, VideoSize(3, 64, 3))
    board.check(second)
    assert list(other) == ["b", "c"]


def test_a_place_is_used_again_as_if_it_were_new(board: JobBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.extractor.jobs.board._PLACES", 1)
    place = board.add()
    board.note_packet(place, VideoSize(2, 64, 2))
    list(board.count(place, "ab"))
    board.stop(place)
    assert board.add() == place
    board.check(place)
    assert board.progress(place) == Progress(0, 0, 0.0)
    assert board.size(place) == VideoSize(0, 0, 0)
