"""Makes videos of continuous signing from clips of single signs."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SIZE = 320, 240


def join_clips(clips: Sequence[Path], path: Path, fps: int = 25) -> float:
    """Write the pictures of all clips, one clip after the other. Returns the length in seconds."""
    count = 0
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=fps, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for clip in clips:
            with av.open(str(clip)) as source:
                for decoded in source.decode(video=0):
                    picture = av.VideoFrame.from_ndarray(
                        decoded.to_ndarray(format="rgb24", width=SIZE[0], height=SIZE[1])
                    )
                    picture.pts, picture.time_base = count, Fraction(1, fps)
                    file.mux(stream.encode(picture))
                    count += 1
        file.mux(stream.encode())
    return count / fps


def write_still(path: Path, frames: int = 20) -> None:
    """Write a video in which nobody is."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(frames):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8), format="rgb24")))
        file.mux(stream.encode())


def play_backwards(clip: Path, path: Path) -> None:
    """Write a video with the frames of a clip in the opposite order."""
    with av.open(str(clip)) as source:
        rate = source.streams.video[0].average_rate
        frames = [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in reversed(frames):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())
