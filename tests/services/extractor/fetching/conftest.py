"""Fixtures for downloads: a web server, videos that are not tiny, and metadata with addresses of the server."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from tests.services.extractor.fetching.web_server import WebServer, serve_web

MakeMetadata = Callable[..., Path]


@pytest.fixture
def web() -> Iterator[WebServer]:
    """A server without pages."""
    with serve_web() as server:
        yield server


def encode_noise(seed: int, frames: int = 10, size: tuple[int, int] = (96, 96)) -> bytes:
    """A real video of noise: about 100 kB, other bytes for each seed."""
    rng = np.random.default_rng(seed)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as file:
        stream = file.add_stream("libx264", rate=25, options={"qp": "18"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for _ in range(frames):
            picture = av.VideoFrame.from_ndarray(rng.integers(0, 255, (*size[::-1], 3), np.uint8), format="rgb24")
            file.mux(stream.encode(picture))
        file.mux(stream.encode(None))
    return buffer.getvalue()


@pytest.fixture(scope="session")
def videos() -> list[bytes]:
    """Six different videos."""
    return [encode_noise(seed) for seed in range(6)]


@pytest.fixture
def make_metadata(tmp_path: Path) -> MakeMetadata:
    """Writes the metadata of WLASL for addresses: {gloss: [(video_id, url), ...]}. Returns its directory."""

    def make(glosses: dict[str, list[tuple[str, str]]], **fields: object) -> Path:
        folder = tmp_path / "wlasl"
        folder.mkdir(exist_ok=True)
        common = {"split": "train", "signer_id": 1, "fps": 25, "frame_start": 1, "frame_end": -1, "bbox": [0, 0, 1, 1]}
        entries = [
            {
                "gloss": gloss,
                "instances": [
                    common | {"video_id": video_id, "url": url, "source": "test"} | fields for video_id, url in listed
                ],
            }
            for gloss, listed in glosses.items()
        ]
        (folder / "WLASL_v0.3.json").write_text(json.dumps(entries))
        return folder

    return make
