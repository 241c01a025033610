"""Streams of real clips through a real evaluator, a real extractor and a real S3 server, each of which is ended.

The evaluator serves the model that comes with Signet. Streams of pictures send JPEG files of real clips; streams of
landmarks send what the extractor makes of the same pictures.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import cv2
import grpc
import psutil
import pytest

from bench.requests import publish_second_version
from services.extractor.sources.wlasl import read_wlasl
from services.extractor.tracking.trackers import FAST_RATE
from services.extractor.video.decode import Video
from services.local.seaweedfs import LocalStore
from services.local.stack import LocalService
from signet import registry
from signet.pretrained import read_bundled_card, read_bundled_file
from signet.registry import LATEST
from signet.v1 import extractor_pb2, extractor_pb2_grpc
from signet.v1.evaluator_pb2 import RecognizeStreamRequest as Request
from signet.v1.evaluator_pb2 import StreamConfig
from signet.v1.evaluator_pb2_grpc import RecognizerStub
from signet.v1.streaming_pb2 import EncodedImage, LandmarkFrames
from tests.conftest import alive

pytestmark = pytest.mark.clips

MODEL = "signet"
PICTURE_STREAMS, LANDMARK_STREAMS = 2, 18
CLIPS = 2
OUTAGE_SECONDS = 20.0
FRAME_SECONDS = 1 / FAST_RATE
# A stream without a message for 2 s makes open signs final.
HOLD_SECONDS = 0.5
# Each wait ends sooner, also on a busy machine.
PATIENCE_SECONDS = 90.0


@dataclass(frozen=True)
class SignedClip:
    """A real clip, ten frames a second: its pictures, and the landmarks float16 [75, 3] that the extractor finds."""

    pictures: Sequence[bytes]
    landmarks: Sequence[bytes]


class System:
    """A store with the bundled model, an extractor, and an evaluator that uses both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = LocalStore(folder / "store")
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as started:
            started.enter_context(self.store)
            self._publish()
            environment = self.store.environment | {"SIGNET_LOG_LEVEL": "WARNING"}
            settings = {"SIGNET_WORKERS": "1", "SIGNET_PICTURE_STREAMS": str(PICTURE_STREAMS)}
            self.extractor = LocalService("extractor", environment | settings, self.folder / "extractor.log")
            settings = {"SIGNET_EXTRACTOR": self.extractor.address, "SIGNET_REFRESH_SECONDS": "0.2"}
            self.evaluator = LocalService("evaluator", environment | settings, self.folder / "evaluator.log")
            for service in (self.extractor, self.evaluator):
                started.callback(service.stop)
                service.start()
            for service in (self.extractor, self.evaluator):
                service.wait_ready()
            self._cleanup = started.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def _publish(self) -> None:
        bundled = read_bundled_card()
        files = {name: read_bundled_file(bundled, name) for name in bundled.files}
        registry.publish(self.store.open(), bundled.model_copy(update={"name": MODEL}), files)

    def restart(self, service: LocalService) -> None:
        service.stop()
        service.start()
        service.wait_ready()

    def tracebacks(self) -> list[str]:
        """The logs that have a traceback."""
        logs = (self.folder / name for name in ("extractor.log", "evaluator.log"))
        return [log.read_text()[-2000:] for log in logs if "Traceback" in log.read_text()]


@pytest.fixture(scope="module")
def system(wlasl: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with System(tmp_path_factory.mktemp("system")) as running:
        yield running


@pytest.fixture(scope="module")
def clips(wlasl: Path, system: System) -> list[SignedClip]:
    """Clips in which a stream finds a sign."""
    return asyncio.run(find_clips(wlasl, system))


async def find_clips(wlasl: Path, system: System) -> list[SignedClip]:
    vocabulary = read_bundled_card().vocabulary
    corpus = read_wlasl(wlasl)
    paths = [
        corpus.path(each)
        for each in corpus.instances
        if each.gloss in vocabulary and each.is_whole and corpus.has(each)
    ]
    found: list[SignedClip] = []
    async with connect(system.extractor.address) as channel, connect(system.evaluator.address) as evaluator:
        for path in sorted(paths, key=lambda path: path.stat().st_size):
            clip = await track(extractor_pb2_grpc.ExtractorStub(channel), path)
            stream = SigningStream(RecognizerStub(evaluator), clip, pictures=False)
            await stream.open()
            await stream.send(len(clip.pictures))
            await stream.finish()
            if stream.finals:
                found.append(clip)
            if len(found) == CLIPS:
                break
    return found


async def track(stub: Any, path: Path) -> SignedClip:
    """Decode a clip, and have the extractor track its pictures."""
    frames = Video(path, path.name).frames(rate=FAST_RATE)
    pictures = [bytes(cv2.imencode(".jpg", frame.rgb[..., ::-1])[1]) for frame in frames]
    requests = [extractor_pb2.ExtractStreamRequest(config=extractor_pb2.ExtractStreamConfig())]
    for number, picture in enumerate(pictures):
        image = EncodedImage(seconds=number / FAST_RATE, data=picture)
        requests.append(extractor_pb2.ExtractStreamRequest(image=image))
    responses = [response async for response in stub.ExtractStream(iter(requests), timeout=PATIENCE_SECONDS)]
    landmarks = [bytes(response.landmarks.float16) for response in responses if response.HasField("landmarks")]
    assert len(landmarks) == len(pictures)
    return SignedClip(pictures, landmarks)


@asynccontextmanager
async def connect(address: str) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(address) as channel:
        yield channel


class SigningStream:
    """A client that sends a clip again and again."""

    def __init__(self, stub: Any, clip: SignedClip, *, pictures: bool) -> None:
        self.call = stub.RecognizeStream(timeout=5 * PATIENCE_SECONDS)
        self.pictures = pictures
        self.version = ""
        self.events: list[str] = []
        self.finals: list[str] = []
        # The signs that are not final yet, as the last event says.
        self.open_signs: tuple[str, ...] = ()
        self.statistics: Any = None
        self.error: grpc.aio.AioRpcError | None = None
        self._clip = clip
        self._frame = 0
        self._reading: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await self.call.write(Request(config=StreamConfig(alternatives=1, partial_seconds=0.1)))
        self.version = (await self.call.read()).started.model_version
        self._reading = asyncio.create_task(self._read())

    async def send(self, frames: int = 1) -> None:
        """Send the next frames of the clip. The clip begins again after its end."""
        for _ in range(frames):
            self._frame += 1
            await self.call.write(self._message())

    async def hold(self, stop: asyncio.Event) -> None:
        """Send frames until a sign is open. Then send what changes nothing, so that the sign stays open."""
        while not stop.is_set():
            assert self.error is None, self.error.details()
            if not self.open_signs:
                await self.send()
                await asyncio.sleep(FRAME_SECONDS)
            else:
                await self.call.write(self._message() if self.pictures else Request(frames=LandmarkFrames()))
                await asyncio.sleep(HOLD_SECONDS)

    def _message(self) -> Request:
        seconds, place = self._frame / FAST_RATE, self._frame % len(self._clip.pictures)
        if self.pictures:
            return Request(image=EncodedImage(seconds=seconds, data=self._clip.pictures[place]))
        return Request(frames=LandmarkFrames(seconds=[seconds], float16=self._clip.landmarks[place]))

    async def finish(self) -> None:
        """Send no more, and read all events."""
        await self.call.done_writing()
        await self.end()
        assert self.error is None

    async def end(self) -> None:
        """Wait for the end of the stream."""
        assert self._reading is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._reading

    async def _read(self) -> None:
        try:
            while (response := await self.call.read()) is not grpc.aio.EOF:
                event = response.WhichOneof("event")
                self.events.append(event)
                if event == "partial":
                    self.open_signs = tuple(response.partial.hypotheses[0].glosses)
                elif event == "final":
                    self.finals.append(response.final.gloss)
                    self.open_signs = ()
                elif event == "statistics":
                    self.statistics = response.statistics
        except grpc.aio.AioRpcError as error:
            self.error = error


async def wait_for(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.05)


async def hold_signs(streams: Sequence[SigningStream]) -> list[int]:
    """Let each stream have an open sign. Returns how many final signs each must have at its end, at least.

    An open sign may change until it is final, but it does not vanish without a final sign.
    """
    stop = asyncio.Event()  # a task that is cancelled while it sends would end its call
    holding = [asyncio.create_task(stream.hold(stop)) for stream in streams]
    await wait_for(lambda: all(stream.open_signs for stream in streams) or any(task.done() for task in holding))
    stop.set()
    await asyncio.gather(*holding)
    return [len(stream.finals) + bool(stream.open_signs) for stream in streams]


@asynccontextmanager
async def signing_streams(
    system: System, clips: Sequence[SignedClip], pictures: int = PICTURE_STREAMS, landmarks: int = LANDMARK_STREAMS
) -> AsyncIterator[list[SigningStream]]:
    """Streams that are open, those of pictures first."""
    async with connect(system.evaluator.address) as channel:
        stub = RecognizerStub(channel)
        streams = [
            SigningStream(stub, clips[number % len(clips)], pictures=number < pictures)
            for number in range(pictures + landmarks)
        ]
        for stream in streams:
            await stream.open()
        yield streams
        for stream in streams:
            stream.call.cancel()


def assert_drained(stream: SigningStream, signs: int, status: grpc.StatusCode) -> None:
    """The open sign has become final, the counts follow, and the stream ends with this status."""
    assert len(stream.finals) >= signs, stream.events
    assert stream.events[-1] == "statistics"
    assert stream.statistics.is_last
    assert stream.statistics.signs == len(stream.finals)
    assert stream.error is not None
    assert stream.error.code() is status, stream.error


def test_streams_of_pictures_end_with_their_open_signs_and_those_of_landmarks_go_on_when_the_extractor_is_killed(
    system: System, clips: list[SignedClip]
) -> None:
    async def scenario() -> None:
        async with signing_streams(system, clips) as streams:
            signs = await hold_signs(streams)
            processes = psutil.Process(system.extractor.pid).children(recursive=True)
            os.kill(system.extractor.pid, signal.SIGKILL)
            for stream, found in zip(streams[:PICTURE_STREAMS], signs[:PICTURE_STREAMS], strict=True):
                await stream.end()
                assert_drained(stream, found, grpc.StatusCode.UNAVAILABLE)
                assert stream.error is not None
                assert f"the extractor at {system.extractor.address}" in str(stream.error.details())
                assert "Landmarks are served without it" in str(stream.error.details())
            for stream, found in zip(streams[PICTURE_STREAMS:], signs[PICTURE_STREAMS:], strict=True):
                assert stream.error is None
                await stream.finish()
                assert len(stream.finals) >= found
            await wait_for(lambda: not alive(processes))
        system.restart(system.extractor)  # not in a thread: a service ends with the thread that has started it
        async with signing_streams(system, clips, pictures=1, landmarks=1) as streams:
            for stream, found in zip(streams, await hold_signs(streams), strict=True):
                await stream.finish()
                assert len(stream.finals) >= found

    asyncio.run(scenario())
    assert system.tracebacks() == []


def test_twenty_streams_end_with_their_open_signs_when_the_evaluator_gets_sigterm(
    system: System, clips: list[SignedClip]
) -> None:
    async def scenario() -> None:
        async with signing_streams(system, clips) as streams:
            signs = await hold_signs(streams)
            process = psutil.Process(system.evaluator.pid)
            process.send_signal(signal.SIGTERM)
            for stream, found in zip(streams, signs, strict=True):
                await stream.end()
                assert_drained(stream, found, grpc.StatusCode.UNAVAILABLE)
                assert stream.events[-2] == "draining"
            assert await asyncio.to_thread(process.wait, PATIENCE_SECONDS) == 0

    asyncio.run(scenario())
    system.restart(system.evaluator)
    assert system.tracebacks() == []


def test_streams_go_on_while_the_store_is_dead_and_a_promotion_after_its_return_is_picked_up(
    system: System, clips: list[SignedClip]
) -> None:
    older, newer = publish_second_version(system.store.open(), MODEL)
    registry.promote(system.store.open(), MODEL, older, LATEST)

    async def sign_until(stream: SigningStream, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await stream.send()
            await asyncio.sleep(FRAME_SECONDS)

    async def scenario() -> None:
        await wait_for_version(system, older)
        stop = asyncio.Event()
        async with signing_streams(system, clips) as streams:
            signing = [asyncio.create_task(sign_until(stream, stop)) for stream in streams]
            await wait_for(lambda: all(stream.finals for stream in streams))
            os.kill(system.store.pid, signal.SIGKILL)
            await asyncio.to_thread(system.store.stop)
            before = [len(stream.finals) for stream in streams]
            await asyncio.sleep(OUTAGE_SECONDS)
            during = [len(stream.finals) for stream in streams]
            assert all(now > then for now, then in zip(during, before, strict=True)), (before, during)
            # A new stream needs no store either.
            async with signing_streams(system, clips, pictures=0, landmarks=1) as added:
                assert added[0].version == older
            await asyncio.to_thread(system.store.start)
            registry.promote(system.store.open(), MODEL, newer, LATEST)
            await wait_for_version(system, newer)
            stop.set()
            await asyncio.gather(*signing)
            for stream in streams:
                await stream.finish()
                assert stream.version == older
                assert stream.statistics.signs == len(stream.finals)

    asyncio.run(scenario())
    assert system.tracebacks() == []


async def wait_for_version(system: System, version: str) -> None:
    """Wait until new streams get this version."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            async with signing_streams(system, [SignedClip([], [])], pictures=0, landmarks=1) as streams:
                if streams[0].version == version:
                    return
            await asyncio.sleep(0.1)
