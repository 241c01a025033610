"""Streams of pictures over a real server: order, refused pictures, places, and ends."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import grpc
import numpy as np
import pytest

from services.extractor.streams import process, session
from signet.landmarks import JOINTS
from signet.rpc.retry import read_retry_seconds
from signet.store import DirectoryStore
from signet.v1 import extractor_pb2 as pb
from signet.v1 import extractor_pb2_grpc
from signet.v1.streaming_pb2 import EncodedImage
from tests import servers

Request = pb.ExtractStreamRequest
GREY = bytes(cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1])


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An extractor with two places for streams."""
    folder = tmp_path_factory.mktemp("streams")
    store = DirectoryStore(folder / "store")
    with servers.serving(lambda: servers.extractor(store, folder / "wlasl", picture_streams=2)) as channel:
        yield extractor_pb2_grpc.ExtractorStub(channel)


def image(seconds: float, data: bytes = GREY) -> Request:
    """A picture at this time."""
    return Request(image=EncodedImage(seconds=seconds, data=data))


def config(*, drop: bool = False) -> Request:
    """The first message."""
    return Request(config=pb.ExtractStreamConfig(drop_when_behind=drop))


def refusal(call: Any) -> grpc.RpcError:
    """The error that ends a call."""
    with pytest.raises(grpc.RpcError) as caught:
        list(call)
    return caught.value


def test_each_tracked_picture_is_answered_in_order(stub: Any) -> None:
    # At 30 a second, one picture in three is tracked. Doubled pictures and those that are a little earlier are skipped.
    times = [7 + number / 30 for number in range(30)]
    requests = [config(), *map(image, times), image(times[-1]), image(times[-1] - 1)]
    responses = list(stub.ExtractStream(iter(requests), timeout=60))
    assert responses[0].started.extractor.startswith("mediapipe-")
    frames = [response.landmarks for response in responses[1:-1]]
    assert [len(frame.float16) for frame in frames] == [JOINTS * 3 * 2] * len(frames)
    seconds = [frame.seconds[0] for frame in frames]
    assert seconds == sorted(seconds)
    assert set(seconds) <= set(times)
    assert 9 <= len(seconds) <= 11
    last = responses[-1]
    assert (last.ended.received, last.ended.tracked) == (32, len(seconds))
    assert (last.skipped, last.dropped) == (32 - len(seconds), 0)


def test_a_clock_that_is_set_and_single_wrong_times_stop_no_stream(stub: Any) -> None:
    times = [100.0, 1e308, 100.1, 100.2, -3500.0, -3499.9, -1e308, 1e308, 5.0, 5.1]
    responses = list(stub.ExtractStream(iter([config(), *map(image, times)]), timeout=60))
    assert [response.landmarks.seconds[0] for response in responses[1:-1]] == times
    assert responses[-1].skipped == 0


def test_unusable_pictures_are_named_and_the_stream_goes_on(stub: Any) -> None:
    requests = [
        config(),
        image(0, b"<html>"),
        image(1, GREY[:300]),
        image(2, b""),
        image(3, bytes((4 << 20) + 1)),
        image(4),
    ]
    responses = list(stub.ExtractStream(iter(requests), timeout=60))
    refused = [response.refused for response in responses if response.HasField("refused")]
    assert [(one.seconds, one.reason) for one in refused] == [
        (0, "html"), (1, "truncated"), (2, "empty"), (3, "too_large"),
    ]  # fmt: skip
    assert responses[-2].landmarks.seconds == [4]


@pytest.mark.parametrize(
    ("requests", "code", "message"),
    [
        ([], "INVALID_ARGUMENT", "no configuration"),
        ([image(0)], "INVALID_ARGUMENT", "no configuration"),
        ([config(), config()], "INVALID_ARGUMENT", "no picture"),
        ([config(), Request()], "INVALID_ARGUMENT", "no picture"),
        ([config(), image(float("nan"))], "INVALID_ARGUMENT", "finite"),
    ],
)
def test_other_messages_end_the_stream(stub: Any, requests: list[Request], code: str, message: str) -> None:
    error = refusal(stub.ExtractStream(iter(requests), timeout=60))
    assert error.code().name == code
    assert message in error.details()


def test_streams_beyond_the_places_are_told_when_to_retry(stub: Any) -> None:
    release = threading.Event()

    def pictures() -> Iterator[Request]:
        yield config()
        release.wait(60)

    open_streams = [stub.ExtractStream(pictures(), timeout=60) for _ in range(2)]
    assert all(next(call).HasField("started") for call in open_streams)
    error = refusal(stub.ExtractStream(iter([config()]), timeout=60))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert read_retry_seconds(error.trailing_metadata()) == 10
    open_streams[0].cancel()
    deadline = time.monotonic() + 20
    while True:  # the place of a cancelled stream is free again
        try:
            assert len(list(stub.ExtractStream(iter([config()]), timeout=60))) == 2
            break
        except grpc.RpcError as busy:
            assert busy.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert time.monotonic() < deadline
            time.sleep(0.05)
    release.set()
    assert next(open_streams[1]).HasField("ended")


def test_a_silent_stream_is_ended(stub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "IDLE_SECONDS", 0.3)
    release = threading.Event()

    def pictures() -> Iterator[Request]:
        yield config()
        release.wait(60)

    error = refusal(stub.ExtractStream(pictures(), timeout=60))
    release.set()
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_picture_that_blocks_its_process_is_refused_and_the_stream_goes_on(
    stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No picture is tracked within this time; later ones are.
    monkeypatch.setattr(process, "PICTURE_SECONDS", 1e-6)

    def pictures() -> Iterator[Request]:
        yield config()
        yield image(0)

    call = stub.ExtractStream(pictures(), timeout=60)
    assert next(call).HasField("started")
    response = next(call)
    assert (response.refused.seconds, response.refused.reason) == (0, "crashed")
    error = refusal(stub.ExtractStream(iter([config(), *map(image, range(5))]), timeout=120))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "3 pictures of this stream" in error.details()


def test_pictures_that_wait_are_dropped_if_the_client_asks_for_it(stub: Any) -> None:
    requests = [config(drop=True), *(image(number) for number in range(200))]
    *_, last = stub.ExtractStream(iter(requests), timeout=120)
    assert last.dropped > 0
    assert last.ended.tracked + last.dropped + last.skipped == 200


def test_streams_end_when_the_service_is_stopped(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")

    async def run() -> None:
        async with servers.extractor(store, tmp_path / "wlasl") as server:
            await server.start()
            async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
                call = extractor_pb2_grpc.ExtractorStub(channel).ExtractStream(timeout=60)
                await call.write(config())
                assert (await call.read()).HasField("started")
                stopping = asyncio.create_task(server.stop())
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call.read()
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
                assert "stopping" in str(caught.value.details())
                await stopping

    asyncio.run(run())
