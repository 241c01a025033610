"""Fixtures for the extractor's tests: generated videos, small corpora of real clips, one pool of workers."""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from services.extractor.jobs.workers import WorkerPool

# The shortest clips of WLASL, of as many glosses: seconds of MediaPipe instead of minutes.
SHORT = ("06334", "57632", "64283", "63207", "24639")

MakeVideo = Callable[..., Path]
MakeCorpus = Callable[..., Path]


def wait_until_gone(group: int) -> None:
    """Wait for the last process of a process group; a killed worker or resource tracker takes a moment."""
    deadline = time.monotonic() + 10
    while members := _members(group):
        assert time.monotonic() < deadline, members
        time.sleep(0.05)


def _members(group: int) -> list[int]:
    """Living processes of a process group, from /proc."""
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[2]) == group and fields[0] != "Z":
                members.append(int(entry.name))
    return members


@pytest.fixture(scope="session")
def workers() -> Iterator[WorkerPool]:
    """Two workers for the whole session: loading MediaPipe costs seconds."""
    with WorkerPool(2, clip_timeout=60) as pool:
        yield pool


@pytest.fixture
def make_video(tmp_path: Path) -> MakeVideo:
    """Encodes a video whose frame i is grey of level 10·i, with a white upper left quarter."""

    def make(
        name: str = "made.mp4",
        *,
        frames: int = 12,
        size: tuple[int, int] = (64, 48),
        fps: int = 25,
        codec: str = "libx264",
        rotation: int = 0,
        mirrored: bool = False,
        matrix: Sequence[int] = (),
        pixel_aspect: Fraction | None = None,
        ticks: Sequence[int] = (),
        sound: bool = False,
    ) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w") as file:
            if frames:
                stream = file.add_stream(codec, rate=fps)
                stream.width, stream.height = size
                stream.pix_fmt = "yuv420p"
                if pixel_aspect:
                    stream.codec_context.sample_aspect_ratio = pixel_aspect
                if rotation or mirrored:
                    stream.set_display_rotation(rotation, hflip=mirrored)
                if matrix:
                    stream.set_display_matrix(matrix)
            if sound:
                voice = file.add_stream("aac", rate=44100)
            for index in range(frames):
                picture = np.full((size[1], size[0], 3), min(10 * index, 200), np.uint8)
                picture[: size[1] // 2, : size[0] // 2] = 255
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts = ticks[index] if ticks else index
                file.mux(stream.encode(frame))
            if frames:
                file.mux(stream.encode())
            if sound:
                silence = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
                silence.sample_rate = 44100
                file.mux(voice.encode(silence))
                file.mux(voice.encode())
        return path

    return make


@pytest.fixture
def make_corpus(wlasl: Path, tmp_path: Path) -> MakeCorpus:
    """Makes a WLASL directory of these real clips (by id), and of other files under ids of their own.

    The metadata has the real entries of the clips, one missing clip of each gloss of theirs, and an instance of the
    gloss "broken" for each further file.
    """

    def make(
        clips: Sequence[str], others: dict[str, Path] | None = None, segments: dict[str, tuple[int, int]] | None = None
    ) -> Path:
        folder = tmp_path / "wlasl"
        (folder / "clips").mkdir(parents=True)
        entries = []
        for entry in json.loads((wlasl / "WLASL_v0.3.json").read_text()):
            instances = [found for found in entry["instances"] if found["video_id"] in clips]
            for found in instances:
                shutil.copyfile(wlasl / "clips" / f"{found['video_id']}.mp4", folder / f"clips/{found['video_id']}.mp4")
                start, end = (segments or {}).get(found["video_id"], (1, -1))
                found.update(frame_start=start, frame_end=end)
            if instances:
                missing = dict(instances[0], video_id=f"{instances[0]['video_id']}-missing")
                entries.append({"gloss": entry["gloss"], "instances": [*instances, missing]})
        broken = []
        for clip_id, path in (others or {}).items():
            shutil.copyfile(path, folder / f"clips/{clip_id}.mp4")
            broken.append({"video_id": clip_id, "split": "train", "signer_id": 0, "frame_start": 1, "frame_end": -1})
        if broken:
            entries.append({"gloss": "broken", "instances": broken})
        (folder / "WLASL_v0.3.json").write_text(json.dumps(entries))
        return folder

    return make
