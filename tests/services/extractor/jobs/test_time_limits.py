"""A job of a longer clip, or of a larger file, has more time; one that does not go on has not."""

import time
from pathlib import Path

import pytest

from services.extractor.jobs import worker
from services.extractor.jobs.time_limits import length_factor
from services.extractor.jobs.workers import WorkerPool
from services.extractor.sources.selection import Usable
from services.extractor.video.decode import Segment
from signet.errors import ClipError


def usable(frames: int) -> Usable:
    return Usable("", Segment(101, 100 + frames))


def test_the_time_grows_with_the_frames_and_with_the_bytes_of_the_file(tmp_path: Path) -> None:
    small, large = tmp_path / "small.mp4", tmp_path / "large.mp4"
    small.touch()
    with large.open("wb") as file:
        file.truncate(640 * 1024**2)
    assert length_factor((small, usable(100))) == 1
    assert length_factor((tmp_path / "absent.mp4",)) == 1
    assert length_factor((small, usable(15_000))) == 10
    assert length_factor((large, usable(100))) == 10
    assert length_factor((large, usable(30_000))) == 20
    assert length_factor(("cpu", 2, [(small, usable(100)), (small, usable(4_500))])) == 2


def _sleep(_: Usable, seconds: float) -> str:
    time.sleep(seconds)
    return "done"


def _open_and_sleep(_: Usable, seconds: float) -> str:
    """Open a video, and begin with no packet."""
    worker._state.board.open(worker._state.place)
    return _sleep(_, seconds)


def test_a_long_clip_may_take_longer_than_a_short_one() -> None:
    with WorkerPool(1, clip_timeout=0.5) as workers:
        assert dict(workers.each(_sleep, [("long", (usable(15_000), 1.5))])) == {"long": "done"}
        ((_, error),) = workers.each(_sleep, [("short", (usable(15), 30.0))])
    assert isinstance(error, ClipError)
    assert error.reason == "timeout"


@pytest.mark.parametrize("frames", [15, 30_000])
def test_a_clip_that_hangs_is_given_up_whatever_its_length(frames: int) -> None:
    with WorkerPool(1, clip_timeout=0.5) as workers:
        began = time.monotonic()
        ((_, error),) = workers.each(_open_and_sleep, [("job", (usable(frames), 60.0))])
        assert time.monotonic() - began < 20
        assert isinstance(error, ClipError)
        assert error.reason == "timeout"
        assert "--clip-timeout-seconds" in str(error)
        assert dict(workers.each(len, [("after", ("abc",))])) == {"after": 3}
