"""The longest isolated clip: longer ones are refused before they cost memory or time."""

import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save

from services.evaluator.serving.clip_limits import MAX_BYTES, MAX_FRAMES, MAX_SECONDS, load_isolated_clip, measure_clip
from signet.errors import InvalidInput, InvalidLandmarks
from signet.landmarks import HEADER_BYTES, Landmarks, dump

MakeSign = Callable[..., Landmarks]


def stretched(sign: MakeSign, frames: int, seconds: float) -> bytes:
    """The landmark tensor of a clip with so many frames, evenly spread over so many seconds."""
    made = sign("long", "", 0.5, frames=frames)
    return dump(replace(made, timestamps=np.linspace(0, seconds, frames).astype(np.float32)))


@pytest.mark.parametrize(("frames", "seconds"), [(2, 180), (1800, 180), (MAX_FRAMES, 10), (1, 0)])
def test_a_clip_within_the_limits_is_loaded(sign: MakeSign, frames: int, seconds: float) -> None:
    data = stretched(sign, frames, seconds)
    assert measure_clip(data, "landmarks") == load_isolated_clip(data, "landmarks").length


@pytest.mark.parametrize(
    ("frames", "seconds", "length"),
    [
        (2, 3600, "2 frames and lasts 3600.0 s"),
        (2, 180.5, "2 frames and lasts 180.5 s"),
        (MAX_FRAMES + 1, 10, "7201 frames and lasts 10.0 s"),
        (36_000, 600, "36000 frames and lasts 600.0 s"),
    ],
)
@pytest.mark.parametrize(("name", "way_out"), [("landmarks", "Cut the clip to the sign"), ("video", "ffmpeg -ss 5")])
def test_a_longer_clip_is_refused_with_its_length_the_limit_and_a_way_out(
    sign: MakeSign, frames: int, seconds: float, length: str, name: str, way_out: str
) -> None:
    data = stretched(sign, frames, seconds)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInput) as refused:
            measure_clip(data, name)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    assert not isinstance(refused.value, InvalidLandmarks)
    for words in (f"{name}: ", length, f"{MAX_FRAMES} frames and {MAX_SECONDS:g} s", way_out):
        assert words in str(refused.value)


def test_a_tensor_with_64_megabytes_of_unknown_tensors_is_refused_unread(sign: MakeSign) -> None:
    made = sign("padded", "", 0.5, frames=30)
    tensors = {name: getattr(made, name) for name in ("landmarks", "presence", "visibility", "timestamps")}
    record = made.record.model_dump_json(by_alias=True)
    data = save({**tensors, "extra": np.zeros(64_000_000, np.uint8)}, {"signet": record})
    started = time.perf_counter()
    with pytest.raises(InvalidInput, match=rf"{len(data)} bytes of landmarks; at most {MAX_BYTES}"):
        measure_clip(data, "landmarks")
    assert time.perf_counter() - started < 0.1
    small = save({**tensors, "extra": np.zeros(1000, np.uint8)}, {"signet": record})
    assert measure_clip(small, "landmarks") == load_isolated_clip(small, "landmarks").length


def test_a_first_and_last_time_that_hide_a_long_clip_do_not_pass(sign: MakeSign) -> None:
    """The length is first read from two times. `load` refuses times that do not increase."""
    times = np.linspace(0, 3600, 30).astype(np.float32)
    times[-1] = 1.0
    made = sign("hidden", "", 0.5, frames=30)
    data = save(
        {**{name: getattr(made, name) for name in ("landmarks", "presence", "visibility")}, "timestamps": times},
        {"signet": made.record.model_dump_json(by_alias=True)},
    )
    assert measure_clip(data, "landmarks").seconds == 1
    with pytest.raises(InvalidLandmarks, match="strictly increasing"):
        load_isolated_clip(data, "landmarks")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_times_that_are_no_times_are_refused(sign: MakeSign, value: float) -> None:
    made = sign("times", "", 0.5, frames=30)
    for index in (0, 10, -1):
        times = made.timestamps.copy()
        times[index] = value
        tensors = {name: getattr(made, name) for name in ("landmarks", "presence", "visibility")}
        data = save({**tensors, "timestamps": times}, {"signet": made.record.model_dump_json(by_alias=True)})
        with pytest.raises(InvalidLandmarks, match=r"must be finite and strictly increasing|timestamps. span"):
            load_isolated_clip(data, "landmarks")


@pytest.mark.parametrize("data", [b"", b"\xff" * 200, b"\x02" + bytes(7) + b"{}", bytes(HEADER_BYTES)])
def test_bytes_that_have_no_length_are_refused_as_before(data: bytes) -> None:
    assert measure_clip(data, "landmarks").frames == 0
    with pytest.raises(InvalidLandmarks, match="not a landmark tensor v1"):
        load_isolated_clip(data, "landmarks")
