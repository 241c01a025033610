"""A video of any length is cut into parts that cover each frame once, and each part begins a second early."""

from itertools import pairwise

import numpy as np
import pytest

from services.extractor.video.limits import MIN_FRAMES
from services.standalone.video_parts import LEAD_SECONDS, PART_SECONDS, cut_into_parts


@pytest.mark.parametrize(
    "times",
    [
        np.arange(5) / 30,
        np.arange(3 * 3600 * 30) / 30,
        np.arange(2_000) / 7.3,
        np.cumsum(np.random.default_rng(0).exponential(0.1, 5_000)),
        np.concatenate([np.arange(100) / 30, 500 + np.arange(100) / 30]),
        np.arange(50_000) / 10_000,
        np.arange(30 * 30 + 2) / 30,
        np.arange(20) * 40.0,
    ],
)
def test_each_frame_is_in_one_part(times: np.ndarray) -> None:  # type: ignore[type-arg]
    listed = (times - times[0]).tolist()
    parts = cut_into_parts(listed, PART_SECONDS)
    assert [part.start for part in parts] == [1, *(part.end + 1 for part in parts[:-1])]
    assert parts[-1].end == len(listed)
    for part in parts:
        assert part.end - part.start + 1 >= MIN_FRAMES
        assert part.lead_seconds == listed[part.lead - 1]
        assert part.start_seconds == listed[part.start - 1]
        assert part.start_seconds - LEAD_SECONDS <= part.lead_seconds <= part.start_seconds
        late = sum(seconds >= part.start_seconds + PART_SECONDS for seconds in listed[part.start - 1 : part.end])
        assert late < 2 * MIN_FRAMES
    for part, following in pairwise(parts):
        assert part.end_seconds == following.start_seconds
