"""TranscribeVideo over a real server: chunks of a video in, progress and signs out."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import grpc
import numpy as np
import pytest

from services.evaluator.__main__ import evaluator
from services.evaluator.streaming import transcription
from signet.landmarks import dump
from signet.registry import ModelCard
from signet.v1.evaluator_pb2 import (
    TRANSCRIPTION_STAGE_EXTRACTING,
    TRANSCRIPTION_STAGE_RECOGNISING,
    StreamConfig,
    TranscribeVideoRequest,
)
from signet.v1.evaluator_pb2_grpc import RecognizerStub
from tests import servers
from tests.servers import listening
from tests.services.evaluator.conftest import World, make_clip
from tests.services.evaluator.streaming.conftest import StandInExtractor, signing

GLOSSES = ("drink", "book", "who", "go")
CONFIG = TranscribeVideoRequest(config=StreamConfig(alternatives=2))


def make_video() -> bytes:
    """A landmark tensor in which signs follow one another, as `StandInExtractor` takes it for a video."""
    joints = signing(GLOSSES)
    clip = make_clip("talk", "", None, frames=len(joints))
    presence = np.stack([np.isfinite(joints[:, part, 0]) for part in (0, 33, 54)], axis=1).astype(np.uint8)
    warned = clip.record.model_copy(update={"warnings": ("more than one person",)})
    return dump(replace(clip, landmarks=joints, presence=presence, record=warned))


def chunks(video: bytes, size: int = 5000) -> Iterator[TranscribeVideoRequest]:
    """The configuration, and the video in chunks."""
    yield CONFIG
    for start in range(0, len(video), size):
        yield TranscribeVideoRequest(chunk=video[start : start + size])


@pytest.fixture
def stub(world: World, card: ModelCard) -> Iterator[Any]:
    with (
        servers.stand_in_extractor(StandInExtractor(), 4) as address,
        listening(lambda: evaluator(world.settings(extractor=address))) as server,
        grpc.insecure_channel(server) as channel,
    ):
        yield RecognizerStub(channel)


def test_a_caller_that_sends_nothing_is_ended(stub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcription, "FIRST_MESSAGE_SECONDS", 0.2)
    release = threading.Event()

    def silent() -> Iterator[TranscribeVideoRequest]:
        release.wait(30)
        yield CONFIG

    with pytest.raises(grpc.RpcError) as caught:
        list(stub.TranscribeVideo(silent(), timeout=60))
    release.set()
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "no message came for 0.2 s" in str(caught.value.details())


def test_a_video_is_answered_with_progress_and_signs(stub: Any, card: ModelCard) -> None:
    video = make_video()
    responses = list(stub.TranscribeVideo(chunks(video), timeout=60))
    assert responses[0].started.model_version == card.version
    progress = [response.progress for response in responses if response.HasField("progress")]
    assert progress[0].stage == TRANSCRIPTION_STAGE_EXTRACTING
    assert any(each.extracted_share == 0.25 for each in progress if each.stage == TRANSCRIPTION_STAGE_EXTRACTING)
    assert progress[-1].stage == TRANSCRIPTION_STAGE_RECOGNISING
    assert progress[-1].received_bytes == len(video)
    assert progress[-1].recognised_seconds == progress[-1].total_seconds == pytest.approx(179 / 30)
    assert list(progress[-1].warnings) == ["more than one person"]
    signs = [response.final for response in responses if response.HasField("final")]
    assert [sign.gloss for sign in signs] == list(GLOSSES)
    assert [len(sign.alternatives) for sign in signs] == [2] * 4
    last = responses[-1].statistics
    assert (last.is_last, last.received, last.signs) == (True, 180, 4)


@pytest.mark.parametrize(
    ("requests", "code", "message"),
    [
        ([], "INVALID_ARGUMENT", "no configuration"),
        ([TranscribeVideoRequest(chunk=b"x")], "INVALID_ARGUMENT", "no configuration"),
        ([CONFIG, TranscribeVideoRequest(chunk=b"bad")], "INVALID_ARGUMENT", "a web page"),
        ([CONFIG, TranscribeVideoRequest(chunk=bytes((4 << 20) + 1))], "INVALID_ARGUMENT", "a chunk has 4194305 bytes"),
    ],
)
def test_unusable_videos_are_refused(stub: Any, requests: list[Any], code: str, message: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.TranscribeVideo(iter(requests), timeout=60))
    assert caught.value.code().name == code
    assert message in caught.value.details()
    assert len(list(stub.TranscribeVideo(chunks(make_video()), timeout=60))) > 5
