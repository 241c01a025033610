"""RecognizeStream over a real server: signs, order, hostile messages, ends, and readers that are slow."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import grpc
import numpy as np
import pytest

from services.evaluator.__main__ import evaluator
from services.evaluator.streaming import session
from signet.datasets.snapshot import Dataset
from signet.registry import ModelCard
from signet.rpc import deadline
from signet.rpc.retry import read_retry_seconds
from signet.statistics.vocabulary_score import VocabularyScore
from signet.v1.evaluator_pb2 import RecognizeStreamRequest as Request
from signet.v1.evaluator_pb2 import SigningHand
from signet.v1.evaluator_pb2_grpc import RecognizerStub
from signet.v1.streaming_pb2 import LandmarkFrames
from tests.services.evaluator.conftest import World, everyday_clips
from tests.services.evaluator.streaming.conftest import (
    config,
    frames,
    groups,
    picture,
    signing,
)
from tests.services.evaluator.test_service import Calls, run

GLOSSES = ("drink", "book", "who", "go")
SIGNING = signing(GLOSSES)


async def answers(calls: Calls, requests: Iterable[Any]) -> list[Any]:
    """All responses of a stream."""
    return [response async for response in calls.recognizer.RecognizeStream(iter(requests), timeout=60)]


async def refusal(calls: Calls, requests: Iterable[Any]) -> tuple[list[Any], Any]:
    """The responses of a stream that ends with an error, and the error."""

    def call() -> tuple[list[Any], Any]:
        # A call of asyncio that is ended while it sends may have another status.
        with grpc.insecure_channel(calls.address) as channel:
            found = []
            with pytest.raises(grpc.RpcError) as caught:
                found.extend(RecognizerStub(channel).RecognizeStream(iter(requests), timeout=60))
            return found, caught.value

    return await asyncio.to_thread(call)


def finals(responses: Sequence[Any]) -> list[Any]:
    """The final signs among responses."""
    return [response.final for response in responses if response.HasField("final")]


async def metrics(calls: Calls) -> dict[str, float]:
    """The values of all metrics."""
    lines = [line for line in (await calls.metrics()).splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_signs_are_final_in_the_order_of_their_times(world: World, card: ModelCard) -> None:
    async def scenario(calls: Calls) -> None:
        responses = await answers(calls, [config(alternatives=3), *groups(SIGNING)])
        started = responses[0].started
        assert (started.model_name, started.model_version) == (card.name, card.version)
        assert started.vocabulary_size == 6
        signs = finals(responses)
        assert [sign.gloss for sign in signs] == list(GLOSSES)
        assert [sign.number for sign in signs] == [0, 1, 2, 3]
        for number, sign in enumerate(signs):
            # Each sign takes the middle third of its 1.5 s.
            middle = 100 + 1.5 * number + 0.75
            assert middle - 1.5 < sign.start_seconds < middle < sign.end_seconds < middle + 1.5
            assert len(sign.alternatives) == 3
            assert sign.alternatives[0].gloss == sign.gloss
            assert 0.5 < sign.probability <= 1
            assert not sign.rejected
        assert any(response.HasField("partial") for response in responses)
        last = responses[-1].statistics
        assert last.is_last
        assert (last.received, last.signs, last.behind, last.late, last.dropped) == (180, 4, 0, 0, 0)

    run(world.settings(), scenario)


def test_the_threshold_of_the_card_rejects_signs_unless_the_client_gives_another(
    world: World, snapshot: Dataset
) -> None:
    score = VocabularyScore(temperature=2.0, weight=1.0, bias=0.0)
    world.publish(snapshot, vocabulary_score=score, rejection_threshold=1.0)

    async def scenario(calls: Calls) -> None:
        responses = await answers(calls, [config(), *groups(SIGNING)])
        assert responses[0].started.threshold == 1
        assert [(sign.gloss, sign.rejected) for sign in finals(responses)] == [(gloss, True) for gloss in GLOSSES]
        responses = await answers(calls, [config(threshold=0), *groups(SIGNING)])
        assert [(sign.gloss, sign.rejected) for sign in finals(responses)] == [(gloss, False) for gloss in GLOSSES]

    run(world.settings(), scenario)


def test_groups_kinds_order_and_doubles_give_the_same_signs(world: World, card: ModelCard) -> None:
    singly = [frames(SIGNING[number : number + 1], number) for number in range(len(SIGNING))]
    swapped = [*singly[:2], *(singly[number ^ 1] for number in range(2, len(singly)))]
    doubled = [each for each in singly for _ in range(2)]

    async def scenario(calls: Calls) -> None:
        expected = finals(await answers(calls, [config(), *singly]))
        for requests in ([frames(SIGNING)], [frames(SIGNING, kind="float32")], swapped, doubled):
            assert finals(await answers(calls, [config(), *requests])) == expected
        doubles = (await answers(calls, [config(), *doubled]))[-1].statistics
        assert (doubles.received, doubles.dropped) == (360, 180)
        empty = await answers(calls, [config(), frames(SIGNING[:0])])
        assert [response.WhichOneof("event") for response in empty] == ["started", "statistics"]

    run(world.settings(), scenario)


@pytest.mark.parametrize(
    ("requests", "code", "message"),
    [
        ([], "INVALID_ARGUMENT", "no configuration"),
        ([frames(SIGNING[:1])], "INVALID_ARGUMENT", "no configuration"),
        ([config(), config()], "INVALID_ARGUMENT", "neither frames nor a picture"),
        ([config(), Request()], "INVALID_ARGUMENT", "neither frames nor a picture"),
        ([config(model_name="none")], "NOT_FOUND", "none"),
        ([config(alternatives=21)], "INVALID_ARGUMENT", "at most 20"),
        ([config(threshold=1.5)], "INVALID_ARGUMENT", "threshold=1.5"),
        ([config(threshold=0.5)], "INVALID_ARGUMENT", "no score"),
        ([config(partial_seconds=0.01)], "INVALID_ARGUMENT", "partial_seconds"),
        ([config(statistics_seconds=-1)], "INVALID_ARGUMENT", "statistics_seconds"),
        ([config(), Request(frames=LandmarkFrames(seconds=[1]))], "INVALID_ARGUMENT", "no landmarks"),
        ([config(), Request(frames=LandmarkFrames(seconds=[1], float16=b"12"))], "INVALID_ARGUMENT", "2 bytes"),
        ([config(), Request(frames=LandmarkFrames(float32=bytes(900)))], "INVALID_ARGUMENT", "900 bytes"),
        ([config(), Request(frames=LandmarkFrames(seconds=[1] * 601))], "INVALID_ARGUMENT", "at most 600"),
        ([config(), Request(frames=LandmarkFrames(seconds=[float("inf")]))], "INVALID_ARGUMENT", "finite"),
        ([config(), picture(SIGNING[0], 0)], "UNAVAILABLE", "no extractor"),
    ],
)
def test_unusable_messages_end_the_stream(
    world: World, card: ModelCard, requests: list[Request], code: str, message: str
) -> None:
    async def scenario(calls: Calls) -> None:
        _, error = await refusal(calls, requests)
        assert error.code().name == code
        assert message in str(error.details())
        assert len(await answers(calls, [config()])) == 2

    run(world.settings(), scenario)


def test_signs_before_an_unusable_message_are_sent(world: World, card: ModelCard) -> None:
    async def scenario(calls: Calls) -> None:
        found, error = await refusal(calls, [config(), frames(SIGNING), Request()])
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert [sign.gloss for sign in finals(found)] == list(GLOSSES)
        assert found[-1].statistics.is_last

    run(world.settings(), scenario)


def test_any_numbers_of_landmarks_are_survived(world: World, card: ModelCard) -> None:
    random = np.random.default_rng(0)
    noise = np.frombuffer(random.bytes(300 * 75 * 3 * 2), np.float16).reshape(300, 75, 3)

    async def scenario(calls: Calls) -> None:
        times = [*random.uniform(-1e9, 1e9, 40).tolist(), *[-1e308, 1e308] * 20]
        strange = Request(frames=LandmarkFrames(seconds=times, float16=noise[:80].tobytes()))
        responses = await answers(calls, [config(hand=SigningHand.SIGNING_HAND_LEFT), frames(noise), strange])
        assert responses[-1].statistics.received == 380

    run(world.settings(), scenario)


def test_a_stream_reports_statistics_and_metrics(world: World, card: ModelCard) -> None:
    async def requests() -> AsyncIterator[Request]:
        yield config(statistics_seconds=1)
        yield frames(SIGNING)
        await asyncio.sleep(2.3)

    async def scenario(calls: Calls) -> None:
        stream = calls.recognizer.RecognizeStream(requests(), timeout=60)
        responses = []
        async for response in stream:
            responses.append(response)
            if len(responses) == 2:
                assert (await metrics(calls))["signet_evaluator_streams"] == 1
        counts = [response.statistics for response in responses if response.HasField("statistics")]
        assert len(counts) >= 3
        assert [each.is_last for each in counts] == [False] * (len(counts) - 1) + [True]
        found = await metrics(calls)
        assert found["signet_evaluator_streams"] == 0
        assert found["signet_evaluator_stream_frames_behind"] == 0
        assert found['signet_evaluator_streams_ended_total{outcome="completed"}'] == 1
        assert found['signet_evaluator_stream_frames_total{outcome="used"}'] == 180
        assert found['signet_evaluator_stream_signs_total{outcome="accepted"}'] == 4
        assert found["signet_evaluator_stream_event_seconds_count"] == 4

    run(world.settings(), scenario)


def test_a_pause_makes_open_signs_final_and_a_longer_one_ends_the_stream(
    world: World, card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "FLUSH_SECONDS", 0.2)
    monkeypatch.setattr(session, "IDLE_SECONDS", 1.5)

    async def requests() -> AsyncIterator[Request]:
        yield config()
        yield frames(SIGNING[:30])  # until the hand is lowered
        await asyncio.sleep(60)

    async def scenario(calls: Calls) -> None:
        stream = calls.recognizer.RecognizeStream(requests(), timeout=60)
        began = time.monotonic()
        while not (await stream.read()).HasField("final"):
            pass
        assert time.monotonic() - began < 1.4
        found, error = await read_to_the_end(stream)
        assert found[-1].statistics.is_last
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "no frame came" in str(error.details())

    run(world.settings(), scenario)


def test_a_stream_gets_its_last_signs_before_its_deadline(world: World, card: ModelCard) -> None:
    async def requests() -> AsyncIterator[Request]:
        yield config()
        yield frames(SIGNING[:30])
        await asyncio.sleep(60)

    async def scenario(calls: Calls) -> None:
        found, error = await read_to_the_end(calls.recognizer.RecognizeStream(requests(), timeout=2))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert [sign.gloss for sign in finals(found)] == ["drink"]

    run(world.settings(), scenario)


def test_streams_beyond_the_limit_are_told_when_to_retry(world: World, card: ModelCard) -> None:
    async def scenario(calls: Calls) -> None:
        first = calls.recognizer.RecognizeStream(timeout=60)
        await first.write(config())
        assert (await first.read()).HasField("started")
        _, error = await refusal(calls, [config()])
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert read_retry_seconds(error.trailing_metadata()) == 5
        first.cancel()
        async with asyncio.timeout(10):
            while (await metrics(calls))["signet_evaluator_streams"]:
                await asyncio.sleep(0.02)
        assert len(await answers(calls, [config()])) == 2
        assert (await metrics(calls))['signet_evaluator_streams_ended_total{outcome="cancelled"}'] == 1

    run(world.settings(streams=1), scenario)


def test_a_reader_that_does_not_read_is_not_read_either_and_is_ended(
    world: World, card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server takes a bounded number of frames of it, and another stream goes on. Then its place is free again."""
    monkeypatch.setattr(deadline, "UNREAD_SECONDS", 6.0)
    most = 400_000
    sent = 0

    async def requests() -> AsyncIterator[Request]:
        nonlocal sent
        yield config(alternatives=6, partial_seconds=0.1)
        while sent < most:
            yield frames(SIGNING, sent)
            sent += len(SIGNING)

    async def scenario() -> None:
        async with evaluator(world.settings()) as server:
            await server.start()
            options = [("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0)]
            address = f"127.0.0.1:{server.port}"
            async with (
                grpc.aio.insecure_channel(address, options) as little,
                grpc.aio.insecure_channel(address) as channel,
            ):
                slow = RecognizerStub(little).RecognizeStream(requests(), timeout=100)
                assert (await slow.read()).HasField("started")
                before, stood = -1, 0
                async with asyncio.timeout(90):
                    while stood < 10:
                        await asyncio.sleep(0.2)
                        stood = stood + 1 if sent == before else 0
                        before = sent
                assert sent < most
                calls = Calls(channel, server.metrics_port, address)
                signs = finals(await answers(calls, [config(), frames(SIGNING)]))
                assert [sign.gloss for sign in signs] == list(GLOSSES)
                assert (await metrics(calls))["signet_evaluator_stream_frames_behind"] < 500
                async with asyncio.timeout(30):
                    while (await metrics(calls))["signet_evaluator_streams"]:
                        await asyncio.sleep(0.1)
                ended = (await metrics(calls))['signet_evaluator_streams_ended_total{outcome="cancelled"}']
                assert ended == 1
                assert not slow.done() or await slow.code() is not grpc.StatusCode.OK
                slow.cancel()
            await server.stop()

    asyncio.run(scenario())


def test_twenty_streams_get_their_last_signs_when_the_server_stops(world: World, card: ModelCard) -> None:
    async def scenario() -> None:
        async with evaluator(world.settings()) as server:
            await server.start()
            async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
                stub = RecognizerStub(channel)
                streams = [stub.RecognizeStream(timeout=60) for _ in range(20)]
                for stream in streams:
                    await stream.write(config())
                    await stream.write(frames(SIGNING[:130]))
                    assert (await stream.read()).HasField("started")
                reading = [asyncio.create_task(read_to_the_end(stream)) for stream in streams]
                used = 'signet_evaluator_stream_frames_total{outcome="used"}'
                async with asyncio.timeout(30):
                    while (await metrics(Calls(channel, server.metrics_port, "")))[used] < 20 * 130:
                        await asyncio.sleep(0.1)
                began = time.monotonic()
                await server.stop()
                assert time.monotonic() - began < 5
                for responses, error in await asyncio.gather(*reading):
                    # The third sign is open: its hand was just lowered.
                    assert [sign.gloss for sign in finals(responses)] == list(GLOSSES[:3])
                    assert [each.WhichOneof("event") for each in responses[-2:]] == ["draining", "statistics"]
                    assert error.code() is grpc.StatusCode.UNAVAILABLE
                    assert "Open the stream again" in str(error.details())

    asyncio.run(scenario())


async def read_to_the_end(stream: Any) -> tuple[list[Any], grpc.aio.AioRpcError]:
    """The responses of a stream that ends with an error, and the error."""
    found = []
    try:
        while (response := await stream.read()) is not grpc.aio.EOF:
            found.append(response)
    except grpc.aio.AioRpcError as error:
        return found, error
    raise AssertionError("the stream ended without an error")


def test_a_stream_keeps_its_version_when_another_one_is_promoted(world: World, card: ModelCard) -> None:
    async def scenario(calls: Calls) -> None:
        stream = calls.recognizer.RecognizeStream(timeout=60)
        await stream.write(config())
        assert (await stream.read()).started.model_version == card.version
        newer = world.publish(world.snapshot(everyday_clips()))
        async with asyncio.timeout(20):
            while (await answers(calls, [config()]))[0].started.model_version != newer.version:
                await asyncio.sleep(0.05)
        assert (await metrics(calls))["signet_evaluator_models_loaded"] == 2
        await stream.write(frames(SIGNING))
        await stream.done_writing()
        responses = []
        while (response := await stream.read()) is not grpc.aio.EOF:
            responses.append(response)
        assert [sign.gloss for sign in finals(responses)] == list(GLOSSES)
        async with asyncio.timeout(10):
            while (await metrics(calls))["signet_evaluator_models_loaded"] != 1:
                await asyncio.sleep(0.02)

    run(world.settings(), scenario)
