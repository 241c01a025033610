"""The frames that are tracked are chosen by their times."""

import numpy as np
import pytest

from services.extractor.video.decode import Video, read_file
from services.extractor.video.frame_choice import FrameChoice
from tests.services.extractor.conftest import MakeVideo


def chosen(fps: float, rate: float, frames: int = 61) -> list[int]:
    choice = FrameChoice(rate)
    return [index for index in range(frames) if choice.is_due(index / fps, 1 / fps)]


@pytest.mark.parametrize(
    ("fps", "expected"),
    [
        (30, list(range(0, 61, 3))),
        (60, list(range(0, 61, 6))),
        (120, list(range(0, 61, 12))),
        (25, [0, 2, 5, 7, 10, 12, 15, 17, 20, 22, 25, 27, 30]),
        (10, list(range(61))),
        (5, list(range(61))),
    ],
)
def test_the_frames_nearest_to_even_times_are_chosen(fps: float, expected: list[int]) -> None:
    assert chosen(fps, 10.0)[: len(expected)] == expected


@pytest.mark.parametrize("fps", [12.0, 15.0, 23.976, 24.0, 29.97, 50.0, 59.94])
def test_ten_frames_of_each_second_are_chosen_at_any_rate(fps: float) -> None:
    times = np.array(chosen(fps, 10.0, round(20 * fps))) / fps
    assert len(times) == 200
    assert np.abs(times - np.arange(200) / 10).max() <= 0.5 / fps + 1e-3


def test_a_gap_in_the_video_moves_no_later_choice() -> None:
    choice = FrameChoice(10.0)
    times = [0.0, 0.04, 0.08, 0.12, 1.0, 1.04, 1.08, 1.12]
    assert [seconds for seconds in times if choice.is_due(seconds, 0.04)] == [0.0, 0.08, 1.0, 1.08]


def test_all_frames_are_chosen_at_rate_0() -> None:
    assert chosen(25, 0.0) == list(range(61))


@pytest.mark.parametrize(("frames", "expected"), [(5, [0, 3, 4]), (10, [0, 3, 6, 9]), (12, [0, 3, 6, 9, 11])])
def test_the_last_frame_is_always_given(make_video: MakeVideo, frames: int, expected: list[int]) -> None:
    video = Video(read_file(make_video(frames=frames, fps=30)), "made")
    given = list(video.frames(rate=10.0))
    assert [round(frame.seconds * 30) for frame in given] == expected
    assert video.decoded == frames
    every = list(video.frames())
    for index, frame in zip(expected, given, strict=True):
        np.testing.assert_array_equal(frame.rgb, every[index].rgb)
