"""Both clients have videos transcribed by a real evaluator."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.evaluator.__main__ import evaluator
from signet.client import (
    AsyncSignetClient,
    FinalSign,
    FrameStatistics,
    RecognitionOptions,
    SignetClient,
    StreamOpened,
    TranscriptionStage,
    VideoProgress,
)
from signet.errors import InvalidInput, NotFound, Unavailable
from tests import servers
from tests.services.evaluator.conftest import World, everyday_clips
from tests.services.evaluator.streaming.conftest import StandInExtractor
from tests.services.evaluator.streaming.test_transcription import GLOSSES, make_video


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("world"))
    world.publish(world.snapshot(everyday_clips()))
    return world


@pytest.fixture(scope="module")
def address(world: World) -> Iterator[str]:
    """An evaluator with a stand-in for the extractor."""
    with (
        servers.stand_in_extractor(StandInExtractor(), 4) as extractor,
        servers.listening(lambda: evaluator(world.settings(extractor=extractor))) as found,
    ):
        yield found


def test_a_video_gives_progress_and_signs(address: str, tmp_path: Path) -> None:
    path = tmp_path / "talk.mp4"
    path.write_bytes(make_video())
    with SignetClient(address) as client:
        events = list(client.transcribe_video(path, RecognitionOptions(alternatives=2)))
    assert isinstance(events[0], StreamOpened)
    assert events[0].model_name == "signet"
    progress = [event for event in events if isinstance(event, VideoProgress)]
    assert [each.stage for each in progress[:1]] == [TranscriptionStage.EXTRACTING]
    assert progress[-1].stage == TranscriptionStage.RECOGNISING
    assert progress[-1].received_bytes == progress[-1].total_bytes == path.stat().st_size
    assert progress[-1].recognised_seconds == progress[-1].total_seconds == pytest.approx(179 / 30)
    assert progress[-1].warnings == ("more than one person",)
    signs = [event for event in events if isinstance(event, FinalSign)]
    assert [sign.gloss for sign in signs] == list(GLOSSES)
    assert [len(sign.alternatives) for sign in signs] == [2] * 4
    last = events[-1]
    assert isinstance(last, FrameStatistics)
    assert (last.received, last.signs, last.is_last) == (180, 4, True)


def test_bytes_chunks_and_asyncio_give_the_same_signs(address: str) -> None:
    video = make_video()

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(video), 7000):
            yield video[start : start + 7000]

    async def transcribe() -> list[FinalSign]:
        async with AsyncSignetClient(address) as client:
            return [event async for event in client.transcribe_video(video) if isinstance(event, FinalSign)]

    with SignetClient(address) as client:
        answers = [
            [event for event in client.transcribe_video(given) if isinstance(event, FinalSign)]
            for given in (video, chunks())
        ]
    assert answers[0] == answers[1] == asyncio.run(transcribe())
    assert [sign.gloss for sign in answers[0]] == list(GLOSSES)


def test_errors_name_the_video_and_those_of_the_chunks_are_raised(address: str, tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield make_video()[:5000]
        raise RuntimeError("the disk is gone")

    page = tmp_path / "page.mp4"
    page.write_bytes(b"bad")
    with SignetClient(address) as client:
        with pytest.raises(InvalidInput, match=rf"{page}: a web page"):
            list(client.transcribe_video(page))
        with pytest.raises(InvalidInput, match=r"none\.mp4: cannot be read \(No such file"):
            list(client.transcribe_video(tmp_path / "none.mp4"))
        with pytest.raises(InvalidInput, match=r"cannot be read \(Is a directory\)"):
            list(client.transcribe_video(tmp_path))
        with pytest.raises(RuntimeError, match="the disk is gone"):
            list(client.transcribe_video(broken()))
        with pytest.raises(NotFound):
            list(client.transcribe_video(make_video(), model_name="none"))
        with pytest.raises(InvalidInput, match="at most 20"):
            list(client.transcribe_video(make_video(), RecognitionOptions(alternatives=21)))


def test_an_evaluator_without_an_extractor_says_so_before_the_video_is_sent(world: World) -> None:
    sent = 0

    def chunks() -> Iterator[bytes]:
        nonlocal sent
        sent += 1
        yield make_video()

    with (
        servers.listening(lambda: evaluator(world.settings())) as address,
        SignetClient(address) as client,
        pytest.raises(Unavailable, match="has no extractor"),
    ):
        list(client.transcribe_video(chunks(), timeout=3))
    assert sent == 0
