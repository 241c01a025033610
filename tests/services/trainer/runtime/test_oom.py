"""Work that does not fit the GPU's memory is repeated in twice as many parts."""

import gc
import logging
import weakref

import pytest
import torch

from services.trainer.runtime.oom import MemorySplitter, explain_out_of_memory
from signet.errors import SignetError


class Recorder:
    """A splitter for a GPU that holds the work in so many parts, and what happened in order."""

    def __init__(self, fits_in: int) -> None:
        self.fits_in = fits_in
        self.events: list[str | int] = []
        self.splitter = MemorySplitter(
            "training", lambda: self.events.append("split"), lambda: self.events.append("release")
        )

    def work(self, parts: int) -> str:
        self.events.append(parts)
        if parts < self.fits_in:
            raise torch.cuda.OutOfMemoryError("full")
        return f"done in {parts}"

    def run(self, most: int) -> str:
        self.events.clear()
        return self.splitter.run(most, self.work)


def test_work_that_fits_is_done_once_and_whole() -> None:
    recorder = Recorder(1)
    assert recorder.run(8) == "done in 1"
    assert recorder.events == [1]


def test_parts_double_until_they_fit_and_stay_as_many() -> None:
    recorder = Recorder(4)
    assert recorder.run(8) == "done in 4"
    assert recorder.events == [1, "release", "split", 2, "release", "split", 4]
    recorder.fits_in = 1
    assert recorder.run(8) == "done in 4"
    assert recorder.events == [4]


def test_the_last_doubling_may_go_beyond_the_parts_that_there_are() -> None:
    recorder = Recorder(4)
    assert recorder.run(3) == "done in 4"
    assert recorder.events == [1, "release", "split", 2, "release", "split", 4]


@pytest.mark.parametrize(("most", "tried"), [(1, [1]), (2, [1, 2]), (4, [1, 2, 4]), (5, [1, 2, 4, 8])])
def test_what_cannot_be_divided_further_ends_with_a_way_out(most: int, tried: list[int]) -> None:
    recorder = Recorder(1000)
    with pytest.raises(SignetError, match=r"--hidden-dim.*--max-glosses.*--device cpu") as caught:
        recorder.run(most)
    assert [event for event in recorder.events if isinstance(event, int)] == tried
    assert recorder.events[-1] == tried[-1], "nothing is divided or released after the last attempt"
    assert isinstance(caught.value.__cause__, torch.cuda.OutOfMemoryError)


def test_nothing_of_a_failed_attempt_is_held_when_memory_is_released_and_the_next_one_begins() -> None:
    tensors: list[weakref.ref[torch.Tensor]] = []

    def is_free() -> None:
        gc.collect()
        assert tensors[-1]() is None

    def work(parts: int) -> int:
        for earlier in tensors:
            assert earlier() is None
        made = torch.ones(10)
        tensors.append(weakref.ref(made))
        if parts < 4:
            raise torch.cuda.OutOfMemoryError("full")
        return parts

    assert MemorySplitter("training", lambda: None, is_free).run(8, work) == 4
    assert len(tensors) == 3


def test_other_errors_are_passed_on_at_once() -> None:
    recorder = Recorder(1)

    def work(parts: int) -> None:
        raise ValueError("another")

    with pytest.raises(ValueError, match="another"):
        recorder.splitter.run(8, work)
    assert recorder.events == []
    with pytest.raises(ValueError, match="another"), explain_out_of_memory():
        work(1)


def test_each_doubling_is_logged_with_what_is_divided(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Recorder(4).run(8)
    first, second = (record.message for record in caplog.records)
    assert "training" in first
    assert "2 parts" in first
    assert "4 parts" in second


def test_cached_memory_goes_back_to_the_gpu_between_release_and_repetition(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(2)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: recorder.events.append("empty cache"))
    recorder.run(8)
    assert recorder.events == [1, "release", "empty cache", "split", 2]
