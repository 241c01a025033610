"""`signet transcribe --server` over real gRPC: the files are those of a transcription without a server."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from services.evaluator.__main__ import evaluator
from services.standalone import server_transcription
from signet.client import RetryPolicy
from signet.transcripts import Transcript
from tests import servers
from tests.conftest import RunSignet
from tests.services.evaluator.conftest import World, everyday_clips
from tests.services.evaluator.streaming.conftest import StandInExtractor
from tests.services.evaluator.streaming.test_transcription import GLOSSES, make_video


class UnreliableExtractor(StandInExtractor):
    """Ends its next calls with the statuses of `script`, in the middle of the video."""

    def __init__(self) -> None:
        super().__init__()
        self.script: list[tuple[grpc.StatusCode, str, str]] = []
        self.times: list[float] = []

    def ExtractClipStream(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:  # noqa: N802
        """Read a message, then end the call, or answer."""
        self.times.append(time.monotonic())
        if self.script:
            code, details, milliseconds = self.script.pop(0)
            next(requests)
            context.set_trailing_metadata((("grpc-retry-pushback-ms", milliseconds),))
            context.abort(code, details)
        yield from super().ExtractClipStream(requests, context)


@pytest.fixture(scope="module")
def extractor() -> UnreliableExtractor:
    return UnreliableExtractor()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, extractor: UnreliableExtractor) -> Iterator[str]:
    """An evaluator with the stand-in for the extractor."""
    world = World(tmp_path_factory.mktemp("world"))
    world.publish(world.snapshot(everyday_clips()))
    with (
        servers.stand_in_extractor(extractor, 4) as found,
        servers.listening(lambda: evaluator(world.settings(extractor=found))) as listening,
    ):
        yield listening


@pytest.fixture
def video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(server_transcription, "_RETRY", RetryPolicy(attempts=3, first_seconds=0.02))
    path = tmp_path / "my talk.mp4"
    path.write_bytes(make_video())
    return path


def test_all_files_are_written(address: str, video: Path, run_signet: RunSignet) -> None:
    pytest.importorskip("pympi")
    folder = str(video.parent)
    options = [word for kind in ("vtt", "srt", "eaf", "json") for word in (f"--{kind}", folder)]
    status, output, error = run_signet(["transcribe", str(video), "--server", address, "--threshold", "0", *options])
    assert (status, error) == (0, "")
    transcript = Transcript.model_validate_json((video.parent / "my talk.json").read_bytes())
    assert [sign.gloss for sign in transcript.signs] == list(GLOSSES)
    assert transcript.media.name == "my talk.mp4"
    assert len(transcript.media.sha256) == 64
    assert transcript.media.duration == pytest.approx(179 / 30)
    assert (transcript.model.name, transcript.model.threshold) == ("signet", 0)
    assert transcript.warnings == ("more than one person",)
    assert "warning: more than one person" in output
    for kind in ("vtt", "srt", "eaf"):
        text = (video.parent / f"my talk.{kind}").read_text()
        assert all(gloss in text for gloss in GLOSSES)


def test_a_busy_or_lost_server_is_asked_again_when_it_says(
    address: str, video: Path, extractor: UnreliableExtractor, run_signet: RunSignet
) -> None:
    extractor.script = [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "the extractor works on 3 videos.", "700"),
        (grpc.StatusCode.UNAVAILABLE, "the extractor is stopped.", "100"),
    ]
    extractor.times.clear()
    status, output, error = run_signet(["transcribe", str(video), "--server", address, "--threshold", "0"])
    assert status == 0
    assert "4 signs in 6.0 s of video" in output
    busy, lost = error.splitlines()
    assert busy.startswith("note: the extractor works on 3 videos. The video is sent again in 1 s.")
    assert lost.startswith("note: the extractor at ")
    assert "is stopped." in lost
    assert extractor.times[1] - extractor.times[0] >= 0.7
    extractor.script = [(grpc.StatusCode.RESOURCE_EXHAUSTED, "the extractor works on 3 videos.", "10")] * 3
    status, output, error = run_signet(["transcribe", str(video), "--server", address])
    assert (status, output) == (1, "")
    assert error.splitlines()[-1].startswith("error: the extractor works on 3 videos.")


def test_errors_name_the_video_and_a_way_out(
    address: str, video: Path, extractor: UnreliableExtractor, run_signet: RunSignet
) -> None:
    extractor.script = [(grpc.StatusCode.INVALID_ARGUMENT, "video: 700 s; the limit is 600 s. Cut it.", "0")]
    status, _, error = run_signet(["transcribe", str(video), "--server", address, "--vtt", str(video.parent)])
    assert status == 1
    assert error == (
        f"error: {video}: 700 s; the limit is 600 s. Cut it. Without --server, this machine transcribes a video of any "
        "length.\n"
    )
    assert not list(video.parent.glob("*.vtt"))
    began = time.monotonic()
    status, _, error = run_signet(["transcribe", str(video), "--server", "127.0.0.1:9"])
    assert status == 1
    assert error.startswith("error: 127.0.0.1:9: no evaluator answers at this address")
    assert time.monotonic() - began < 20
    status, _, error = run_signet(["transcribe", str(video), "--server", address, "--workers", "2"])
    assert (status, error[:18]) == (1, "error: --workers 2")
