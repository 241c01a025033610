"""Numbers of frames at a constant rate."""

import numpy as np
import pytest

from services.extractor.exporting.frame_times import even_rate, frame_numbers
from tests.conftest import MakeClip


@pytest.mark.parametrize(
    ("timestamps", "rate"),
    [
        pytest.param(np.arange(50) / 25, 25.0, id="the rate of the record"),
        pytest.param(np.arange(50) / 10, 10.0, id="another even rate"),
        pytest.param([0.0], 25.0, id="one frame"),
        pytest.param(np.cumsum([0, *[0.08, 0.12] * 20]), 10.0, id="every second or third frame"),
        pytest.param([*np.arange(29) / 10, 2.84], 10.0, id="every second or third frame, and the last one"),
        pytest.param([0, 0.08, 0.16, 0.4, 0.48], None, id="every second frame, and a gap"),
        pytest.param([0, 0.04, 0.08, 0.12, 0.2], None, id="a dropped frame"),
        pytest.param([0, 0.04, 0.1, 0.14], None, id="a varying rate"),
    ],
)
def test_a_rate_is_even_if_all_frames_are_equally_far_apart(
    make_clip: MakeClip, timestamps: object, rate: float | None
) -> None:
    found = even_rate(make_clip(fps=25.0, timestamps=timestamps))
    assert found == (pytest.approx(rate, rel=0.02) if rate else None)


def test_numbers_are_those_of_the_video_and_increase(make_clip: MakeClip) -> None:
    clip = make_clip(fps=25.0, timestamps=[0, 0.04, 0.12, 0.13, 0.14, 0.4])
    assert frame_numbers(clip).tolist() == [0, 1, 3, 4, 5, 10]
    times = np.cumsum(np.random.default_rng(1).uniform(0.001, 0.2, 300)).astype(np.float32)
    numbers = frame_numbers(make_clip(fps=25.0, timestamps=times - times[0]))
    assert (np.diff(numbers) > 0).all()
    assert np.abs(numbers / 25 - (times - times[0])).max() < 0.2
