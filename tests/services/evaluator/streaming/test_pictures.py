"""Streams of pictures go through an extractor: refused pictures, a busy extractor, and one that is lost."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import grpc

from signet.registry import ModelCard
from signet.rpc.retry import read_retry_seconds
from signet.v1.extractor_pb2_grpc import add_ExtractorServicer_to_server
from tests import servers
from tests.services.evaluator.conftest import World
from tests.services.evaluator.streaming.conftest import StandInExtractor, config, frames, picture
from tests.services.evaluator.streaming.test_session import (
    GLOSSES,
    SIGNING,
    answers,
    finals,
    read_to_the_end,
    refusal,
)
from tests.services.evaluator.test_service import Calls, run


def test_pictures_go_through_the_extractor(world: World, card: ModelCard) -> None:
    # 10 pictures a second, as an extractor answers them.
    pictures = [picture(SIGNING[number], number) for number in range(0, len(SIGNING), 3)]
    bad = picture(SIGNING[0], 0)
    bad.image.data = b"bad"

    async def scenario(calls: Calls) -> None:
        responses = await answers(calls, [config(), bad, *pictures])
        assert [sign.gloss for sign in finals(responses)] == list(GLOSSES)
        refused = [response.refused_image for response in responses if response.HasField("refused_image")]
        assert [(each.seconds, each.reason) for each in refused] == [(100, "html")]
        last = responses[-1].statistics
        assert (last.received, last.refused_images, last.skipped) == (61, 1, 20)
        for requests in ([config(), *pictures[:1], frames(SIGNING[:3])], [config(), frames(SIGNING[:3]), *pictures]):
            _, error = await refusal(calls, requests)
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "Open another stream" in str(error.details())

    with servers.stand_in_extractor(StandInExtractor(), 4) as address:
        run(world.settings(extractor=address), scenario)


def test_an_extractor_without_a_place_is_named_with_the_time_to_retry(world: World, card: ModelCard) -> None:
    async def scenario(calls: Calls) -> None:
        _, error = await refusal(calls, [config(), picture(SIGNING[0], 0)])
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert read_retry_seconds(error.trailing_metadata()) == 10

    with servers.stand_in_extractor(StandInExtractor(busy=True), 4) as address:
        run(world.settings(extractor=address), scenario)


def test_streams_of_landmarks_go_on_without_the_extractor(world: World, card: ModelCard) -> None:
    """A stream of pictures gets its last signs, and ends with UNAVAILABLE."""

    server = grpc.server(ThreadPoolExecutor(4))
    add_ExtractorServicer_to_server(StandInExtractor(), server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()

    async def scenario(calls: Calls) -> None:
        pictures, landmarks = (calls.recognizer.RecognizeStream(timeout=60) for _ in range(2))
        for stream in (pictures, landmarks):
            await stream.write(config())
            assert (await stream.read()).HasField("started")
        for number in range(0, 75, 3):
            await pictures.write(picture(SIGNING[number], number))
        await landmarks.write(frames(SIGNING[:90]))
        await asyncio.sleep(0.5)
        await asyncio.to_thread(server.stop(None).wait)
        found, error = await read_to_the_end(pictures)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert "extractor" in str(error.details())
        assert [sign.gloss for sign in finals(found)] == list(GLOSSES[:2])
        await landmarks.write(frames(SIGNING[90:], 90))
        await landmarks.done_writing()
        responses = []
        while (response := await landmarks.read()) is not grpc.aio.EOF:
            responses.append(response)
        assert [sign.gloss for sign in finals(responses)] == list(GLOSSES)

    run(world.settings(extractor=address), scenario)
