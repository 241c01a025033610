"""Makes videos of minutes with few and small pictures, which take little time to encode."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import av
import numpy as np

SIZE = 64, 48


class _OnlyForward(io.RawIOBase):
    """A file that the muxer cannot seek in, as a network connection."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = path.open("wb")

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        return self._file.write(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def write_long_video(
    path: Path,
    codec: str,
    options: Mapping[str, str],
    *,
    ticks: Sequence[int],
    fps: int = 10,
    muxer_options: Mapping[str, str] | None = None,
    is_live: bool = False,
    rotation: int = 0,
) -> Path:
    """Write a video of a square that moves over noise, so that each picture depends on others.

    Args:
        path: the file; its suffix says the container.
        codec: FFmpeg's name of the encoder.
        options: options of the encoder.
        ticks: the display time of each picture, in steps of 1 / fps seconds.
        fps: the nominal rate.
        muxer_options: options of the container.
        is_live: whether the container is written like a live stream: without an index, lengths or cues.
        rotation: the display rotation in degrees.
    """
    random = np.random.default_rng(len(ticks))
    ground = random.integers(60, 120, (SIZE[1], SIZE[0], 3), np.uint8)
    target = _OnlyForward(path) if is_live else str(path)
    formats = {".mkv": "matroska", ".webm": "webm"}
    name = formats.get(path.suffix, path.suffix[1:])
    with av.open(target, "w", format=name, options=dict(muxer_options or {})) as file:
        stream = file.add_stream(codec, rate=fps, options=dict(options))
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        if rotation:
            stream.set_display_rotation(rotation)
        for number, tick in enumerate(ticks):
            picture = ground.copy()
            left, top = number * 3 % (SIZE[0] - 12), number * 2 % (SIZE[1] - 12)
            picture[top : top + 12, left : left + 12] = (number * 7 % 256, 255 - number % 256, 128)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = tick
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    if is_live:
        target.close()  # type: ignore[union-attr]
    return path
