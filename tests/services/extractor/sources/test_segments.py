"""The frames of each sign are found in its video, by time."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from services.extractor.sources.instances import FRAMES_OF_VIDEO, Instance
from services.extractor.sources.segments import count_frames_to_end, segment_of
from services.extractor.sources.wlasl import read_wlasl
from services.extractor.video.decode import Segment, Video, read_file
from signet.errors import ClipError
from tests.services.extractor.conftest import MakeVideo


def instance(start: int = 1, end: int = -1, fps: float = 25.0) -> Instance:
    return Instance("00001", "book", "train", "1", start, end, fps=fps)


def at(fps: float, frames: int) -> Sequence[float]:
    """The display times of a video of this rate."""
    return [frame / fps for frame in range(frames)]


@pytest.mark.parametrize(
    ("start", "end", "frames", "expected"),
    [
        (1, -1, 60, Segment(1, 60)),
        (0, -1, 60, Segment(1, 60)),
        (11, -1, 60, Segment(11, 60)),
        (11, 40, 60, Segment(11, 40)),
        (60, 60, 60, Segment(60, 60)),
    ],
)
def test_a_segment_inside_the_video_is_taken_unchanged(start: int, end: int, frames: int, expected: Segment) -> None:
    assert segment_of(instance(start, end), at(25, frames)) == (expected, "")


@pytest.mark.parametrize(
    ("start", "end", "frames"),
    [
        (101, 160, 60),  # as long as the segment
        (31, 90, 62),  # nearly so: trimming and re-encoding cost or give a few frames
        (1, 62, 60),
        (2000, 2100, 60),  # ends before the segment begins
        (2000, -1, 60),
    ],
)
def test_a_trimmed_clip_is_taken_whole_with_a_note(start: int, end: int, frames: int) -> None:
    segment, note = segment_of(instance(start, end), at(25, frames))
    assert segment == Segment(1, frames)
    assert "trimmed already" in note


@pytest.mark.parametrize(("start", "end", "frames"), [(50, 150, 60), (1, 100, 60), (40, 20, 60)])
def test_a_segment_outside_the_video_is_refused(start: int, end: int, frames: int) -> None:
    with pytest.raises(ClipError, match=f"frames {start} to {end}") as caught:
        segment_of(instance(start, end), at(25, frames))
    assert caught.value.reason == "outside"


@pytest.mark.parametrize(
    ("fps", "expected"),
    [
        (25, Segment(373, 423)),
        (30, Segment(448, 508)),
        (30000 / 1001, Segment(447, 508)),
        (24000 / 1001, Segment(358, 406)),
        (50, Segment(745, 846)),
        (12.5, Segment(187, 212)),
    ],
)
def test_frame_numbers_count_at_the_rate_of_the_metadata_and_not_of_the_video(fps: float, expected: Segment) -> None:
    times = at(fps, round(40 * fps))
    segment, note = segment_of(instance(373, 423), times)
    assert (segment, note) == (expected, "")
    assert times[segment.start - 1] == pytest.approx(14.88 + 0.5 / fps, abs=0.55 / fps)
    assert times[segment.end - 1] + 1 / fps == pytest.approx(16.92 + 0.5 / fps, abs=0.55 / fps)


@pytest.mark.parametrize("fps", [25, 24, 24000 / 1001, 29.97, 30000 / 1001, 30, 50, 60000 / 1001, 240, 500])
@pytest.mark.parametrize("rounded", [3, 6, 12])
def test_numbers_at_the_rate_of_the_video_are_its_frames(fps: float, rounded: int) -> None:
    times = [round(time, rounded) for time in at(fps, 3000)]
    for start, end in [(1, 3000), (2, 2999), (1203, 1277), (2995, 3000), (7, 7)]:
        assert segment_of(instance(start, end, fps), times) == (Segment(start, end), "")


@pytest.mark.parametrize(
    ("written", "fps"), [(30, 30000 / 1001), (29.97, 30000 / 1001), (24, 24000 / 1001), (60, 59.94)]
)
def test_a_rounded_rate_is_the_rate_of_the_video(written: float, fps: float) -> None:
    assert segment_of(instance(9001, 9060, written), at(fps, 10_000)) == (Segment(9001, 9060), "")


def test_a_variable_rate_is_cut_at_the_times_of_its_frames() -> None:
    # 10 seconds at 10 frames per second, and then 10 at 50.
    times = list(accumulate([0.1] * 100 + [0.02] * 500, initial=0.0))
    segment, _ = segment_of(instance(226, 275), times)  # 9 to 11 seconds
    assert times[segment.start - 1] == pytest.approx(9.0)
    assert times[segment.end - 1] == pytest.approx(11.0, abs=0.03)
    assert segment.frames == 10 + 50


@pytest.mark.parametrize("fps", [24000 / 1001, 25, 30000 / 1001, 50])
@pytest.mark.parametrize("same", ["frames", "seconds"])
def test_a_trimmed_clip_of_any_rate_is_taken_whole(fps: float, same: str) -> None:
    frames = 51 if same == "frames" else round(51 / 25 * fps)
    segment, note = segment_of(instance(373, 423), at(fps, frames))
    assert segment == Segment(1, frames)
    assert "trimmed already" in note
    assert "taken whole" in note


def test_a_segment_that_ends_a_little_after_its_video_is_taken_to_the_end_with_a_note() -> None:
    segment, note = segment_of(instance(373, 423), at(30, 30 * 16 + 24))  # 16.8 s, and the segment ends at 16.92 s
    assert segment == Segment(448, 504)
    assert "ends early" in note


def test_the_end_of_the_video_is_the_end_of_an_open_segment() -> None:
    assert segment_of(instance(26, -1), at(30, 60)) == (Segment(31, 60), "")
    assert segment_of(instance(26, -1), at(500, 1000)) == (Segment(501, 1000), "")


def test_numbers_count_at_25_if_the_metadata_has_no_rate() -> None:
    assert segment_of(instance(373, 423, 0.0), at(30, 900)) == (Segment(448, 508), "")
    assert segment_of(instance(1, -1, 0.0), at(30, 900)) == (Segment(1, 900), "")


def test_a_segment_between_two_frames_is_refused() -> None:
    with pytest.raises(ClipError, match="no frame in the time of frames 3 to 3 at 25 per second"):
        segment_of(instance(3, 3), at(5, 20))


def test_the_segment_of_a_video_is_found_by_its_own_timestamps(make_video: MakeVideo) -> None:
    for name in ("made.mp4", "made.mkv", "made.avi", "made.mov"):
        path = make_video(name, frames=75, fps=30)
        video = Video(read_file(path), path.name)
        segment, note = segment_of(instance(26, 50), video.times())
        assert (segment, note) == (Segment(31, 60), "")
        assert len(list(video.frames(segment))) == 30
    path = make_video(frames=20, fps=10, ticks=[*range(10), *range(20, 30)])
    video = Video(read_file(path), path.name)
    assert segment_of(instance(21, 60), video.times()) == (Segment(9, 14), "")  # 0.8 to 2.4 seconds


@pytest.mark.clips
def test_a_video_of_30_frames_per_second_is_cut_at_the_times_that_wlasl_means(faults: Path) -> None:
    corpus = read_wlasl(faults / "02_wlasl_frames_counted_at_25fps_in_30fps_video")
    path = corpus.path(corpus.instances[0])
    video = Video(read_file(path), path.name)
    segment, note = segment_of(corpus.instances[0], video.times())
    assert (segment, note) == (Segment(448, 508), "")


@pytest.mark.clips
def test_every_published_clip_is_still_taken_whole(wlasl: Path) -> None:
    corpus = read_wlasl(wlasl)
    present = [found for found in corpus.instances if corpus.has(found)]
    assert {found.fps for found in corpus.instances} == {25.0}
    for found in present:
        times = at(30, 60)
        assert segment_of(found, times) == (Segment(1, len(times)), "")


VARIABLE = [0.0, 0.1, 0.2, 0.6, 0.7, 0.8, 0.9, 1.0]


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ({"start_seconds": 0.15, "end_seconds": 0.75}, (3, 5)),
        ({"start_seconds": 0.5}, (4, 8)),
        ({"end_seconds": 0.65}, (1, 4)),
        ({"frame_start": 2, "frame_end": 4, "fps": FRAMES_OF_VIDEO}, (2, 4)),
        ({"frame_start": 3, "fps": FRAMES_OF_VIDEO}, (3, 8)),
        ({"frame_end": 8, "fps": FRAMES_OF_VIDEO}, (1, 8)),
    ],
)
def test_parts_in_seconds_and_in_frames_of_the_video_are_found_at_a_variable_rate(
    span: dict[str, Any], expected: tuple[int, int]
) -> None:
    assert segment_of(Instance("c", "book", "", "", **span), VARIABLE) == (Segment(*expected), "")


def test_a_part_in_seconds_of_a_video_that_was_cut_to_it_is_the_whole_video() -> None:
    times = [index / 30 for index in range(60)]
    segment, note = segment_of(Instance("c", "book", "", "", start_seconds=10.0, end_seconds=12.0), times)
    assert segment == Segment(1, 60)
    assert note.startswith("trimmed already: has 60 frames, 2.00 s, metadata says 10 s to 12 s")
    with pytest.raises(ClipError, match="names 1 s to 5 s, but the video has 60 frames"):
        segment_of(Instance("c", "book", "", "", start_seconds=1.0, end_seconds=5.0), times)


@pytest.mark.parametrize(
    ("span", "frames"),
    [
        ({"end_seconds": 2.0}, 60),
        ({"frame_end": 50}, 60),
        ({"frame_end": 50, "fps": FRAMES_OF_VIDEO}, 50),
    ],
)
def test_the_frames_to_the_end_of_a_part_are_counted(span: dict[str, Any], frames: int) -> None:
    assert count_frames_to_end(Instance("c", "book", "", "", **span), 30.0) == frames
