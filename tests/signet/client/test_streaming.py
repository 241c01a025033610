"""Both clients recognise continuous signing with a real evaluator."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest

from services.evaluator.__main__ import evaluator
from signet.client import (
    AsyncSignetClient,
    FinalSign,
    FrameStatistics,
    ImageFrame,
    ImageRefused,
    LandmarkFrame,
    PartialSigns,
    RecognitionEvent,
    RecognitionOptions,
    ServerDraining,
    SignetClient,
    StreamOpened,
)
from signet.errors import InvalidInput, NotFound, Unavailable
from tests import servers
from tests.services.evaluator.conftest import World, everyday_clips
from tests.services.evaluator.streaming.conftest import StandInExtractor, signing

GLOSSES = ["drink", "book", "who", "go"]
FRAMES = [LandmarkFrame(7 + number / 30, joints) for number, joints in enumerate(signing(GLOSSES))]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An evaluator with a stand-in for the extractor."""
    world = World(tmp_path_factory.mktemp("world"))
    world.publish(world.snapshot(everyday_clips()))
    with (
        servers.stand_in_extractor(StandInExtractor(), 4) as extractor,
        servers.listening(lambda: evaluator(world.settings(extractor=extractor))) as found,
    ):
        yield found


def test_a_stream_gives_typed_events(address: str) -> None:
    with SignetClient(address) as client:
        events = list(client.recognise_stream(FRAMES, RecognitionOptions(hand="left", alternatives=2)))
    assert isinstance(events[0], StreamOpened)
    assert (events[0].model_name, events[0].threshold) == ("signet", None)
    assert any(isinstance(event, PartialSigns) for event in events)
    signs = [event for event in events if isinstance(event, FinalSign)]
    assert [sign.gloss for sign in signs] == GLOSSES
    assert signs[0].start < 7.75 < signs[0].end
    assert signs[0].alternatives[0].gloss == "drink"
    assert len(signs[0].alternatives) == 2
    last = events[-1]
    assert isinstance(last, FrameStatistics)
    assert (last.received, last.signs, last.is_last) == (len(FRAMES), 4, True)


def test_float32_and_single_frames_give_the_same_signs(address: str) -> None:
    precise = [LandmarkFrame(frame.seconds, frame.joints.astype(np.float32)) for frame in FRAMES]
    with SignetClient(address) as client:
        signs = [
            [event for event in client.recognise_stream(frames, options) if isinstance(event, FinalSign)]
            for frames, options in ((FRAMES, RecognitionOptions()), (precise, RecognitionOptions(group_seconds=0)))
        ]
    assert signs[0] == signs[1]


def test_pictures_are_recognised_and_unusable_ones_named(address: str) -> None:
    pictures = [ImageFrame(frame.seconds, frame.joints.tobytes()) for frame in FRAMES[::3]]
    with SignetClient(address) as client:
        events = list(client.recognise_stream([ImageFrame(6.9, b"bad"), *pictures]))
    assert [event.gloss for event in events if isinstance(event, FinalSign)] == GLOSSES
    assert ImageRefused(6.9, "html", "a web page") in events


def test_asyncio_gives_the_same_events(address: str) -> None:
    async def frames() -> AsyncIterator[LandmarkFrame]:
        for frame in FRAMES:
            await asyncio.sleep(0)
            yield frame

    async def scenario() -> None:
        async with AsyncSignetClient(address) as client:
            streams = [client.recognise_stream(frames()) for _ in range(3)]
            for stream in streams:
                signs = [event.gloss async for event in stream if isinstance(event, FinalSign)]
                assert signs == GLOSSES

    asyncio.run(scenario())


def test_a_stream_that_is_left_ends_although_its_camera_waits(address: str) -> None:
    left = threading.Event()

    def camera() -> Iterator[LandmarkFrame]:
        yield from FRAMES[:10]
        left.wait(30)

    async def endless() -> AsyncIterator[LandmarkFrame]:
        try:
            for frame in FRAMES[:10]:
                yield frame
            await asyncio.sleep(30)
        finally:
            left.set()

    async def scenario() -> None:
        async with AsyncSignetClient(address) as client:
            stream = client.recognise_stream(endless())
            assert isinstance(await anext(stream), StreamOpened)
            await stream.aclose()  # type: ignore[attr-defined]

    began = time.monotonic()
    with SignetClient(address) as client:
        for event in client.recognise_stream(camera()):
            assert isinstance(event, StreamOpened)
            break
    left.clear()
    asyncio.run(scenario())
    assert time.monotonic() - began < 15


def test_errors_are_those_of_the_server_and_of_the_frames(address: str) -> None:
    def broken() -> Iterator[LandmarkFrame]:
        yield from FRAMES
        raise RuntimeError("the camera is gone")

    with SignetClient(address) as client:
        with pytest.raises(NotFound):
            list(client.recognise_stream(FRAMES, model_name="none"))
        with pytest.raises(InvalidInput, match="at most 20"):
            list(client.recognise_stream(FRAMES, RecognitionOptions(alternatives=21)))
        found: list[RecognitionEvent] = []
        with pytest.raises(RuntimeError, match="the camera is gone"):
            found.extend(client.recognise_stream(broken()))
        assert [event.gloss for event in found if isinstance(event, FinalSign)] == GLOSSES
    with pytest.raises(InvalidInput, match="shape"):
        LandmarkFrame(0.0, np.zeros((3, 75)))
    with pytest.raises(InvalidInput, match="hand"):
        RecognitionOptions(hand="both")  # type: ignore[arg-type]


def test_a_server_that_stops_says_so_after_the_last_signs(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.publish(world.snapshot(everyday_clips()))
    sent, release = threading.Event(), threading.Event()
    events: list[RecognitionEvent] = []

    def camera() -> Iterator[LandmarkFrame]:
        yield from FRAMES
        sent.set()
        release.wait(30)

    def recognise(address: str) -> None:
        with SignetClient(address) as client, pytest.raises(Unavailable, match="Open the stream again"):
            events.extend(client.recognise_stream(camera()))

    with servers.listening(lambda: evaluator(world.settings())) as found:
        thread = threading.Thread(target=recognise, args=(found,))
        thread.start()
        assert sent.wait(30)
        time.sleep(1.0)
    thread.join(30)
    release.set()
    assert [event.gloss for event in events if isinstance(event, FinalSign)] == GLOSSES
    assert isinstance(events[-2], ServerDraining)
    assert isinstance(events[-1], FrameStatistics)
