"""A picture is shown as a player shows it, in every orientation that a display matrix can request."""

import gc
import shutil
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.bitstream import BitStreamFilterContext

from services.extractor.jobs import worker
from services.extractor.jobs.worker import Extracted, Labels
from services.extractor.jobs.workers import WorkerPool
from services.extractor.video.decode import Segment, Video, read_file
from services.extractor.video.display import RgbConverter
from signet.errors import ClipError
from signet.landmarks import Landmarks, load
from tests.services.extractor.conftest import MakeVideo

Picture = npt.NDArray[np.uint8]

# Each orientation as a counterclockwise rotation and a reflection after it, and what it makes of a picture.
ORIENTATIONS: dict[tuple[int, bool], Callable[[Picture], Picture]] = {
    (0, False): lambda picture: picture,
    (90, False): np.rot90,
    (180, False): lambda picture: np.rot90(picture, 2),
    (270, False): lambda picture: np.rot90(picture, 3),
    (0, True): lambda picture: picture[:, ::-1],
    (90, True): lambda picture: np.rot90(picture)[:, ::-1],
    (180, True): lambda picture: picture[::-1],
    (270, True): lambda picture: picture.swapaxes(0, 1),
}
CODECS = {"webm": "libvpx-vp9", "avi": "mpeg4"}


def decode(path: Path, segment: Segment | None = None) -> list[Picture]:
    return [frame.rgb for frame in Video(read_file(path), path.name).frames(segment)]


def play(path: Path, shape: tuple[int, ...]) -> Picture:
    """The first frame of a file as the program ffmpeg shows it."""
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    return np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, np.uint8).reshape(shape)


def assert_same_picture(one: Picture, other: Picture) -> None:
    """Two encodings of one picture, and two versions of FFmpeg, differ by rounding."""
    assert one.shape == other.shape
    assert np.abs(one.astype(int) - other).max() <= 3


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv", "webm"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_mirrored_display_matrix_is_shown_as_a_player_shows_it(
    make_video: MakeVideo, orientation: tuple[int, bool], container: str
) -> None:
    codec = CODECS.get(container, "libx264")
    rotation, mirrored = orientation
    stored = decode(make_video(f"stored.{container}", codec=codec))
    path = make_video(f"shown.{container}", codec=codec, rotation=rotation, mirrored=mirrored)
    shown = decode(path)
    for before, after in zip(stored, shown, strict=True):
        assert_same_picture(after, ORIENTATIONS[orientation](before))
    if shutil.which("ffmpeg"):
        assert_same_picture(play(path, shown[0].shape), shown[0])


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_wide_pixels_are_stretched_before_the_picture_is_turned_and_mirrored(
    make_video: MakeVideo, orientation: tuple[int, bool]
) -> None:
    rotation, mirrored = orientation
    stored = decode(make_video("stored.mp4", pixel_aspect=Fraction(4, 3)))
    shown = decode(make_video("shown.mp4", pixel_aspect=Fraction(4, 3), rotation=rotation, mirrored=mirrored))
    assert stored[0].shape == (48, 85, 3)
    assert_same_picture(shown[0], ORIENTATIONS[orientation](stored[0]))


def _with_orientation_in_the_stream(path: Path, target: Path, options: str) -> Path:
    """Copy an H.264 video; its stream, and not its container, names an orientation (an SEI message)."""
    with av.open(str(path)) as source, av.open(str(target), "w") as copy:
        stream = copy.add_stream_from_template(source.streams.video[0])
        add_orientation = BitStreamFilterContext(
            f"h264_metadata=display_orientation=insert:{options}", source.streams.video[0], stream
        )
        for packet in source.demux(video=0):
            for changed in add_orientation.filter(packet if packet.size else None):
                changed.stream = stream
                copy.mux(changed)
    return target


@pytest.mark.parametrize(
    ("options", "orientation"),
    [("flip=horizontal", (0, True)), ("rotate=90", (90, False)), ("rotate=90:flip=horizontal", None)],
)
@pytest.mark.parametrize("container", ["avi", "mp4", "mkv"])
def test_an_orientation_inside_the_video_stream_holds_for_all_frames(
    make_video: MakeVideo, tmp_path: Path, options: str, orientation: tuple[int, bool] | None, container: str
) -> None:
    source = make_video(f"stored.{container}")
    stored = decode(source)
    path = _with_orientation_in_the_stream(source, tmp_path / f"shown.{container}", options)
    shown = decode(path)
    assert len(shown) == len(stored)
    if orientation is not None:
        for before, after in zip(stored, shown, strict=True):
            assert_same_picture(after, ORIENTATIONS[orientation](before))
    assert_same_picture(decode(path, Segment(4, 10))[0], shown[3])
    if shutil.which("ffmpeg"):
        assert_same_picture(play(path, shown[0].shape), shown[0])


ONE = 1 << 16


@pytest.mark.parametrize(
    ("matrix", "orientation"),
    [
        ((0, 0, 0, 0, 0, 0, 0, 0, 1 << 30), (0, False)),  # no picture at all
        ((ONE, 0, 0, ONE, 0, 0, 0, 0, 1 << 30), (0, False)),  # a line
        ((2 * ONE, 0, 0, 0, -2 * ONE, 0, 0, 0, 1 << 30), (180, True)),  # with a scale
        ((-64000, 9000, 0, 9000, 64000, 0, 0, 0, 1 << 30), (0, True)),  # nearly a reflection
        ((-9000, -64000, 0, 64000, -9000, 0, 0, 0, 1 << 30), (90, False)),  # nearly a quarter turn
    ],
)
def test_an_odd_display_matrix_is_shown_as_the_nearest_orientation(
    make_video: MakeVideo, matrix: tuple[int, ...], orientation: tuple[int, bool]
) -> None:
    stored, shown = decode(make_video("stored.mp4")), decode(make_video("shown.mp4", matrix=matrix))
    assert_same_picture(shown[0], ORIENTATIONS[orientation](stored[0]))


def count_pictures() -> int:
    """The decoded pictures in memory."""
    return sum(type(found) is av.VideoFrame for found in gc.get_objects())


@pytest.mark.parametrize("codec", ["libx264", "rawvideo"])  # rawvideo has key frames only
def test_pictures_are_freed_at_once_without_the_garbage_collector(make_video: MakeVideo, codec: str) -> None:
    path = make_video("long.mkv", frames=60, codec=codec, rotation=90)
    gc.collect()
    gc.disable()
    try:
        before = count_pictures()
        assert len(decode(path)) == 60
        assert count_pictures() - before < 10
    finally:
        gc.enable()


def test_a_video_that_turns_midway_is_refused(make_video: MakeVideo, tmp_path: Path) -> None:
    upright = make_video("upright.avi")
    turned = _with_orientation_in_the_stream(upright, tmp_path / "turned.avi", "rotate=90")
    joined = tmp_path / "joined.avi"
    with av.open(str(joined), "w") as file:
        stream, index = None, 0
        for path in (upright, turned):
            with av.open(str(path)) as source:
                stream = stream or file.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(video=0):
                    if packet.size:
                        packet.stream, packet.pts, packet.dts = stream, index, index
                        file.mux(packet)
                        index += 1
    with pytest.raises(ClipError, match=r"joined\.avi: its frame size changes midway"):
        decode(joined)


@pytest.mark.clips
def test_a_selfie_that_is_stored_mirrored_has_the_landmarks_of_its_original(
    wlasl: Path, faults: Path, workers: WorkerPool
) -> None:
    original = wlasl / "clips" / "12315.mp4"
    paths = [original, *sorted(faults.glob("01_mirror_in_display_matrix_*.mov"))]
    assert len(paths) == 4
    clips: dict[Path, Landmarks] = {}
    for path, outcome in workers.each(
        worker.extract_bytes, [(path, (read_file(path), Labels(path.name))) for path in paths]
    ):
        assert isinstance(outcome, Extracted), outcome
        clips[path] = load(outcome.data)
    expected = clips.pop(original)
    for path, clip in clips.items():
        both = (clip.presence & expected.presence).astype(bool)
        assert both.sum() >= 0.9 * expected.presence.sum(), path.name
        distance = np.linalg.norm((clip.landmarks - expected.landmarks)[..., :2].astype(np.float32), axis=-1)
        assert np.nanmedian(distance) < 0.01, path.name


def test_conversion_starts_no_threads(make_video: MakeVideo) -> None:
    """Each thread reserves memory: a worker would reach its limit after some dozens of clips."""
    path = make_video(frames=30)
    threads = {len([*Path("/proc/self/task").iterdir()]) for _ in Video(read_file(path), path.name).frames()}
    assert len(threads | {len([*Path("/proc/self/task").iterdir()])}) == 1


def test_a_picture_that_cannot_be_converted_makes_its_video_unusable(
    make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise av.error.BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(RgbConverter, "convert", fail)
    path = make_video(frames=30)
    with pytest.raises(ClipError, match=f"{path.name}: MP4 that does not decode") as caught:
        decode(path)
    assert caught.value.reason == "undecodable"
