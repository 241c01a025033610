"""The evaluator over a real gRPC channel."""

import asyncio
import re
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.evaluator.__main__ import evaluator
from services.evaluator.serving.loaded_model import LoadedModel
from services.evaluator.settings import EvaluatorSettings
from signet import landmarks
from signet.datasets.snapshot import Dataset
from signet.errors import Busy
from signet.landmarks import to_model_input
from signet.registry import ModelCard
from signet.rpc.client import to_signet_error
from signet.rpc.limits import CHANNEL_OPTIONS
from signet.rpc.retry import RETRY_KEY
from signet.statistics.vocabulary_score import VocabularyScore
from signet.store import keys
from signet.v1 import evaluator_pb2, evaluator_pb2_grpc, extractor_pb2, extractor_pb2_grpc
from tests.services.evaluator.conftest import GLOSSES, make_graph, place_of

if TYPE_CHECKING:
    from tests.services.evaluator.conftest import World

Request = evaluator_pb2.RecognizeRequest


class Calls:
    """Stubs of a running evaluator."""

    def __init__(self, channel: Any, metrics_port: int, address: str) -> None:
        self.address = address
        self.recognizer = evaluator_pb2_grpc.RecognizerStub(channel)
        self.evaluation = evaluator_pb2_grpc.EvaluationStub(channel)
        self.health = health_pb2_grpc.HealthStub(channel)
        self._metrics_port = metrics_port

    async def metrics(self) -> str:
        def read() -> str:
            with urlopen(f"http://127.0.0.1:{self._metrics_port}/metrics") as page:
                return str(page.read().decode())

        return await asyncio.to_thread(read)


@asynccontextmanager
async def running(settings: EvaluatorSettings) -> AsyncIterator[Calls]:
    async with evaluator(settings) as server:
        await server.start()
        try:
            address = f"127.0.0.1:{server.port}"
            async with grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
                yield Calls(channel, server.metrics_port, address)
        finally:
            await server.stop()


def run(settings: EvaluatorSettings, scenario: Callable[[Calls], Awaitable[None]]) -> None:
    async def main() -> None:
        async with running(settings) as calls:
            await scenario(calls)

    asyncio.run(main())


async def refused(call: Awaitable[Any]) -> tuple[str, str]:
    """The status code and message that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code().name, str(caught.value.details())


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)


@pytest.fixture
def clip(world: "World", sign: Any) -> bytes:
    """A clip of `drink` that was never published."""
    return landmarks.dump(sign("new", "", 0.5 + 2 / 6, frames=40))


def test_a_clip_is_answered_with_ranked_signs(world: "World", card: ModelCard, clip: bytes) -> None:
    async def scenario(calls: Calls) -> None:
        answer = await calls.recognizer.Recognize(Request(landmarks=clip))
        glosses = [prediction.gloss for prediction in answer.predictions]
        probabilities = [prediction.probability for prediction in answer.predictions]
        assert glosses[0] == "drink"
        assert len(glosses) == 5
        assert probabilities == sorted(probabilities, reverse=True)
        assert 0.5 < probabilities[0] <= sum(probabilities) <= 1 + 1e-9
        assert answer.model_version == card.version
        assert answer.nothing_signed == evaluator_pb2.NOTHING_SIGNED_UNSPECIFIED
        assert answer.vocabulary_size == 6
        assert not answer.HasField("in_vocabulary")  # a card without a score, such as an older one
        assert list(answer.greedy_glosses) == ["drink"]
        assert list(answer.continuous_glosses) == ["drink"]
        assert 0.3 < answer.moment.start_seconds < answer.moment.end_seconds < 1.1  # of 1.33 s
        assert 0 < answer.blank_ratio < 1
        assert answer.frames == len(to_model_input(landmarks.load(clip)))
        timing = answer.timing
        assert timing.extract_seconds == 0
        parts = timing.prepare_seconds + timing.model_seconds + timing.decode_seconds
        assert 0 < parts <= timing.total_seconds < 5

    run(world.settings(), scenario)


def test_probabilities_over_the_whole_vocabulary_are_those_of_the_library(
    world: "World", card: ModelCard, clip: bytes
) -> None:
    model = LoadedModel.load(world.store, "signet", card.version)
    (log_probs,) = model.log_probs([to_model_input(landmarks.load(clip))])
    expected = dict(zip(model.vocabulary, model.decode(log_probs).posterior, strict=True))

    async def scenario(calls: Calls) -> None:
        answer = await calls.recognizer.Recognize(Request(landmarks=clip, top_k=6))
        got = {prediction.gloss: prediction.probability for prediction in answer.predictions}
        assert got.keys() == expected.keys()
        assert sum(got.values()) == pytest.approx(1)
        assert all(got[gloss] == pytest.approx(expected[gloss], abs=1e-9) for gloss in got)

    run(world.settings(), scenario)


def test_the_answer_has_the_warnings_of_the_clip(world: "World", card: ModelCard, clip: bytes) -> None:
    """Two people in the picture: the answer can be the sign of either."""
    given = landmarks.load(clip)
    warned = replace(given, record=given.record.model_copy(update={"warnings": ("more than one person",)}))

    async def scenario(calls: Calls) -> None:
        answer = await calls.recognizer.Recognize(Request(landmarks=landmarks.dump(warned)))
        assert list(answer.warnings) == ["more than one person"]
        assert not (await calls.recognizer.Recognize(Request(landmarks=clip))).warnings

    run(world.settings(), scenario)


def test_a_clip_in_which_nothing_is_signed_has_no_predictions_and_a_reason(
    world: "World", card: ModelCard, sign: Any
) -> None:
    without_hands = sign("without hands", "", None)
    joints = np.full_like(without_hands.landmarks, np.nan)
    empty_room = replace(without_hands, landmarks=joints, presence=np.zeros_like(without_hands.presence))
    first = sign("still", "", 0.5, frames=36)
    found = int(np.flatnonzero(first.presence[:, 1])[0])
    still = replace(
        first,
        landmarks=np.repeat(first.landmarks[found : found + 1], 36, axis=0),
        presence=np.repeat(first.presence[found : found + 1], 36, axis=0),
    )
    photograph = sign("photograph", "", 0.5, frames=1)

    async def scenario(calls: Calls) -> None:
        for clip, reason in (
            (without_hands, evaluator_pb2.NOTHING_SIGNED_NO_HAND_FOUND),
            (empty_room, evaluator_pb2.NOTHING_SIGNED_NO_HAND_FOUND),
            (still, evaluator_pb2.NOTHING_SIGNED_NO_HAND_MOVES),
            (photograph, evaluator_pb2.NOTHING_SIGNED_TOO_SHORT),
        ):
            answer = await calls.recognizer.Recognize(Request(landmarks=landmarks.dump(clip), top_k=3))
            assert answer.nothing_signed == reason
            assert not answer.predictions
            assert not answer.greedy_glosses
            assert not answer.continuous_glosses
            assert not answer.HasField("moment")
            assert answer.frames == len(to_model_input(clip))
            assert answer.model_version == card.version
        metrics = await calls.metrics()
        assert 'signet_evaluator_nothing_signed_total{reason="no hand found"} 2.0' in metrics
        assert 'signet_evaluator_nothing_signed_total{reason="no hand moves"} 1.0' in metrics

    run(world.settings(), scenario)


def test_a_sign_that_is_not_in_the_vocabulary_gets_a_low_score(world: "World", snapshot: Dataset, sign: Any) -> None:
    world.publish(snapshot, vocabulary_score=VocabularyScore(temperature=2.0, weight=4.0, bias=-3.0))
    # Halfway between two places, the model cannot decide between their signs.
    known, unknown = sign("known", "", place_of(2, 6), frames=40), sign("unknown", "", place_of(5, 12), frames=40)

    async def scenario(calls: Calls) -> None:
        scores = []
        for clip in (known, unknown):
            answer = await calls.recognizer.Recognize(Request(landmarks=landmarks.dump(clip)))
            assert answer.HasField("in_vocabulary")
            scores.append(answer.in_vocabulary)
        assert 1 > scores[0] > scores[1] > 0

    run(world.settings(), scenario)


def test_bad_requests_are_refused_with_what_to_do(world: "World", card: ModelCard, clip: bytes) -> None:
    async def scenario(calls: Calls) -> None:
        for request, words in (
            (Request(), "neither landmarks nor a video"),
            (Request(landmarks=b""), "too few"),
            (Request(landmarks=b"<html>404</html>"), "docs/landmarks-v1.md"),
            (Request(landmarks=clip[:-10]), "not readable as safetensors"),
            (Request(landmarks=clip, top_k=7), "knows 6 glosses"),
            (Request(video=b""), "video is empty"),
        ):
            code, message = await refused(calls.recognizer.Recognize(request))
            assert (code, words in message) == ("INVALID_ARGUMENT", True), message

    run(world.settings(), scenario)


def test_two_frames_an_hour_apart_are_refused_and_not_resampled(world: "World", card: ModelCard, sign: Any) -> None:
    """1.5 kB that were 36,000 frames of the model: 5.5 s of a core and 32 MB for each call."""
    made = sign("two frames", "", 0.5, frames=2)
    attack = landmarks.dump(replace(made, timestamps=np.array([0, 3600], np.float32)))

    async def scenario(calls: Calls) -> None:
        started = time.perf_counter()
        outcomes = await asyncio.gather(
            *(refused(calls.recognizer.Recognize(Request(landmarks=attack))) for _ in range(80))
        )
        assert time.perf_counter() - started < 5
        assert {code for code, _ in outcomes} <= {"INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"}
        assert "2 frames and lasts 3600.0 s. At most 7200 frames and 180 s" in outcomes[0][1]

    run(world.settings(), scenario)


def test_without_a_model_the_server_is_healthy_and_serves_a_model_once_it_is_published(
    world: "World", snapshot: Dataset, clip: bytes
) -> None:
    async def scenario(calls: Calls) -> None:
        code, message = await refused(calls.recognizer.Recognize(Request(landmarks=clip)))
        assert code == "FAILED_PRECONDITION"
        assert "signet train" in message
        health = await calls.health.Check(health_pb2.HealthCheckRequest(service="signet.v1.Recognizer"))
        assert health.status == health_pb2.HealthCheckResponse.SERVING

        world.publish(snapshot)

        async def answered() -> bool:
            try:
                await calls.recognizer.Recognize(Request(landmarks=clip))
            except grpc.aio.AioRpcError:
                return False
            return True

        await until(answered)

    run(world.settings(), scenario)


def test_a_new_version_takes_over_while_calls_run_and_each_answer_is_its_own_version_s(
    world: "World", snapshot: Dataset, card: ModelCard, clip: bytes
) -> None:
    async def scenario(calls: Calls) -> None:
        seen: list[tuple[str, str]] = []
        stop = asyncio.Event()

        async def caller() -> None:
            while not stop.is_set():
                answer = await calls.recognizer.Recognize(Request(landmarks=clip))
                seen.append((answer.model_version, answer.predictions[0].gloss))

        async with asyncio.TaskGroup() as tasks:
            for _ in range(4):
                tasks.create_task(caller())
            while len(seen) < 20:
                await asyncio.sleep(0.01)
            # The new version has the glosses in the opposite order, so that it takes `drink` for `go`.
            places = [place_of(index, len(GLOSSES)) for index in range(len(GLOSSES))]
            newer = world.publish(snapshot, make_graph(places[::-1]))

            async def took_over() -> bool:
                return any(version == newer.version for version, _ in seen)

            await until(took_over)
            stop.set()
        assert set(seen) == {(card.version, "drink"), (newer.version, "go")}
        metrics = await calls.metrics()
        assert f'signet_evaluator_model_info{{name="signet",version="{newer.version}"}} 1.0' in metrics
        assert card.version not in metrics
        for gloss in ("drink", "go"):
            count = sum(guess == gloss for _, guess in seen)
            assert f'signet_evaluator_predictions_total{{gloss="{gloss}"}} {count}.0' in metrics
        assert 'signet_evaluator_predictions_total{gloss="book"} 0.0' in metrics

    run(world.settings(), scenario)


def test_concurrent_calls_share_runs_and_each_gets_the_answer_for_its_own_clip(
    world: "World", card: ModelCard, sign: Any
) -> None:
    clips = [landmarks.dump(sign(f"c{number}", "", 0.5 + (number % 6) / 6, frames=20 + number)) for number in range(48)]

    async def scenario(calls: Calls) -> None:
        answers = await asyncio.gather(*(calls.recognizer.Recognize(Request(landmarks=clip)) for clip in clips))
        for number, answer in enumerate(answers):
            assert answer.predictions[0].gloss == card.vocabulary[number % 6]
        metrics = await calls.metrics()
        assert "signet_evaluator_batch_clips_sum 48.0" in metrics
        runs = re.search(r"signet_evaluator_batch_clips_count (\d+)", metrics)
        assert runs is not None
        assert int(runs.group(1)) < 48
        assert 'signet_evaluator_recognise_seconds_count{stage="model"} 48.0' in metrics
        assert 'signet_rpc_requests_total{code="OK",method="signet.v1.Recognizer/Recognize"} 48.0' in metrics

    run(world.settings(), scenario)


def test_a_call_past_its_deadline_ends_with_that_status_and_the_next_call_is_answered(
    world: "World", card: ModelCard, clip: bytes
) -> None:
    async def scenario(calls: Calls) -> None:
        code, _ = await refused(calls.recognizer.Recognize(Request(landmarks=clip), timeout=0.0001))
        assert code == "DEADLINE_EXCEEDED"
        code, _ = await refused(calls.evaluation.RunEvaluation(evaluator_pb2.RunEvaluationRequest(), timeout=0.001))
        assert code == "DEADLINE_EXCEEDED"
        assert (await calls.recognizer.Recognize(Request(landmarks=clip))).predictions

    run(world.settings(), scenario)


def test_a_damaged_new_version_is_counted_and_the_old_version_serves_on(
    world: "World", snapshot: Dataset, card: ModelCard, clip: bytes
) -> None:
    async def scenario(calls: Calls) -> None:
        world.publish(snapshot, files={"model.onnx": "0" * 64})

        async def counted() -> bool:
            return "signet_evaluator_model_load_failures_total 1.0" in await calls.metrics()

        await until(counted)
        await asyncio.sleep(0.3)  # three more looks
        assert await counted()
        assert (await calls.recognizer.Recognize(Request(landmarks=clip))).model_version == card.version

        good = world.publish(snapshot)

        async def recovered() -> bool:
            return bool((await calls.recognizer.Recognize(Request(landmarks=clip))).model_version == good.version)

        await until(recovered)

    run(world.settings(), scenario)


class StandIn(extractor_pb2_grpc.ExtractorServicer):
    """Speaks the extractor's contract, without MediaPipe. The end-to-end tests run the real one."""

    def __init__(self, landmarks: bytes) -> None:
        self._landmarks = landmarks
        self.remaining: list[float] = []

    async def ExtractClip(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.remaining.append(context.time_remaining())
        if request.video == b"slow":
            await asyncio.sleep(30)
        if request.video == b"broken":
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "video: truncated. Download it again.")
        if request.video == b"too many":
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy. Retry in 5 s.", ((RETRY_KEY, "5000"),))
        return extractor_pb2.ExtractClipResponse(landmarks=self._landmarks)


@asynccontextmanager
async def stand_in(servicer: StandIn) -> AsyncIterator[str]:
    server = grpc.aio.server()
    extractor_pb2_grpc.add_ExtractorServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def test_a_video_goes_through_the_extractor_within_the_callers_deadline(
    world: "World", card: ModelCard, clip: bytes
) -> None:
    async def main() -> None:
        servicer = StandIn(clip)
        async with stand_in(servicer) as address, running(world.settings(extractor=address)) as calls:
            answer = await calls.recognizer.Recognize(Request(video=b"fine"), timeout=20)
            assert answer.predictions[0].gloss == "drink"
            assert answer.timing.extract_seconds > 0
            assert 15 < servicer.remaining[0] < 21  # gRPC rounds up to 1 % on the way

            code, message = await refused(calls.recognizer.Recognize(Request(video=b"broken")))
            assert (code, message) == ("INVALID_ARGUMENT", "video: truncated. Download it again.")

            code, _ = await refused(calls.recognizer.Recognize(Request(video=b"slow"), timeout=0.3))
            assert code == "DEADLINE_EXCEEDED"
            answer = await calls.recognizer.Recognize(Request(landmarks=clip), timeout=5)
            assert answer.predictions[0].gloss == "drink"

    asyncio.run(main())


def test_the_time_to_retry_of_a_busy_extractor_reaches_the_client_of_the_evaluator(
    world: "World", card: ModelCard, clip: bytes
) -> None:
    async def main() -> None:
        async with stand_in(StandIn(clip)) as address, running(world.settings(extractor=address)) as calls:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await calls.recognizer.Recognize(Request(video=b"too many"), timeout=10)
            error = to_signet_error(caught.value)
            assert isinstance(error, Busy)
            assert error.retry_seconds == 5
            assert caught.value.details() == "busy. Retry in 5 s."

    asyncio.run(main())


def test_a_video_without_an_extractor_is_refused_with_what_to_do(world: "World", card: ModelCard, clip: bytes) -> None:
    async def main() -> None:
        async with stand_in(StandIn(clip)) as address:
            pass  # nothing listens there any more
        for extractor, words in (("", "--extractor"), (address, f"the extractor at {address} cannot be used")):
            async with running(world.settings(extractor=extractor)) as calls:
                code, message = await refused(calls.recognizer.Recognize(Request(video=b"fine"), timeout=10))
                assert code == "UNAVAILABLE"
                assert words in message
                assert (await calls.recognizer.Recognize(Request(landmarks=clip))).predictions[0].gloss == "drink"

    asyncio.run(main())


def test_an_evaluation_is_run_listed_and_read_over_the_wire(world: "World", card: ModelCard) -> None:
    async def scenario(calls: Calls) -> None:
        first = (await calls.evaluation.RunEvaluation(evaluator_pb2.RunEvaluationRequest())).summary
        assert (first.model_name, first.model_version, first.split) == ("signet", card.version, "val")
        assert first.clips == 14
        assert first.top1 == pytest.approx(12 / 14)
        assert first.top1_low < first.top1 < first.top1_high
        assert first.greedy_top1 == pytest.approx(12 / 14)
        second = (
            await calls.evaluation.RunEvaluation(
                evaluator_pb2.RunEvaluationRequest(model_version=card.version, split="train")
            )
        ).summary
        listed = (await calls.evaluation.ListReports(evaluator_pb2.ListReportsRequest())).reports
        assert list(listed) == [second, first]
        read = await calls.evaluation.GetReport(evaluator_pb2.GetReportRequest(report_id=first.report_id))
        assert read.json.encode() == world.store.get(keys.report(first.report_id, "report.json"))
        assert read.html.startswith("<!DOCTYPE html>")
        accuracy = f'signet_evaluator_report_accuracy{{name="signet",split="val",version="{card.version}"}} 0.857'
        assert accuracy in await calls.metrics()

    run(world.settings(), scenario)


def test_evaluations_with_wrong_arguments_are_refused_with_what_to_do(world: "World", card: ModelCard) -> None:
    Run = evaluator_pb2.RunEvaluationRequest

    async def scenario(calls: Calls) -> None:
        for call, code, words in (
            (calls.evaluation.RunEvaluation(Run(split="tset")), "INVALID_ARGUMENT", "train (12 clips), val (14 clips)"),
            (calls.evaluation.RunEvaluation(Run(model_version="1999")), "NOT_FOUND", "signet models"),
            (calls.evaluation.RunEvaluation(Run(model_name="../x")), "INVALID_ARGUMENT", "cannot name a model"),
            (
                calls.evaluation.GetReport(evaluator_pb2.GetReportRequest(report_id="none")),
                "NOT_FOUND",
                "signet reports",
            ),
            (calls.evaluation.GetReport(evaluator_pb2.GetReportRequest()), "INVALID_ARGUMENT", "cannot name a report"),
        ):
            found, message = await refused(call)
            assert (found, words in message) == (code, True), message

    run(world.settings(), scenario)


def test_a_call_names_its_model_and_version_and_the_status_says_what_is_served(
    world: "World", snapshot: Dataset, card: ModelCard, clip: bytes
) -> None:
    newer = world.publish(snapshot)
    places = [place_of(index, len(GLOSSES)) for index in range(len(GLOSSES))]
    other = world.publish(snapshot, make_graph(places[::-1]), name="other")
    refused_version = world.publish(snapshot, name="bad", files={"model.onnx": "0" * 64})

    async def scenario(calls: Calls) -> None:
        for name, version, answered, gloss in (
            ("", "", newer, "drink"),
            ("", card.version, card, "drink"),
            ("other", "", other, "go"),
            ("other", "latest", other, "go"),
        ):
            request = Request(landmarks=clip, model_name=name, model_version=version)
            answer = await calls.recognizer.Recognize(request)
            assert (answer.model_name, answer.model_version) == (answered.name, answered.version)
            assert answer.predictions[0].gloss == gloss
        for name, version, code, words in (
            ("none", "", "NOT_FOUND", "signet models"),
            ("", "none", "NOT_FOUND", "no version or alias 'none'"),
            ("../x", "", "INVALID_ARGUMENT", "cannot name a model"),
            ("bad", "", "DATA_LOSS", "is damaged"),
        ):
            request = Request(landmarks=clip, model_name=name, model_version=version)
            found, message = await refused(calls.recognizer.Recognize(request))
            assert (found, words in message) == (code, True), message
        metrics = await calls.metrics()
        assert 'signet_evaluator_predictions_total{gloss="go"} 0.0' in metrics, "the default model did not answer it"
        assert "signet_evaluator_models_loaded 3.0" in metrics
        assert "none" not in metrics

        status = await calls.recognizer.GetServingStatus(evaluator_pb2.GetServingStatusRequest())
        default = status.models[0]
        assert (default.is_default, default.model_version, default.reason) == (True, newer.version, "")
        assert 0 < default.memory_bytes < status.memory_bytes < status.memory_limit_bytes == 1 << 30
        (bad,) = (one for one in status.models if one.model_name == "bad")
        assert (bad.model_version, "is damaged" in bad.reason) == ("", True)
        only = await calls.recognizer.GetServingStatus(evaluator_pb2.GetServingStatusRequest(model_name="other"))
        assert {(one.alias, one.model_version) for one in only.models} == {("latest", other.version)}
        assert refused_version.version not in {one.model_version for one in status.models}

    run(world.settings(), scenario)


def test_the_health_service_watches_each_model(world: "World", snapshot: Dataset, clip: bytes) -> None:
    status = health_pb2.HealthCheckResponse

    async def scenario(calls: Calls) -> None:
        async def check(name: str) -> int:
            return int((await calls.health.Check(health_pb2.HealthCheckRequest(service=name))).status)

        assert await check("model:signet") == status.NOT_SERVING
        watch = calls.health.Watch(health_pb2.HealthCheckRequest(service="model:signet"))
        assert (await watch.read()).status == status.NOT_SERVING
        world.publish(snapshot)
        assert (await asyncio.wait_for(watch.read(), 10)).status == status.SERVING
        watch.cancel()
        assert (await refused(calls.health.Check(health_pb2.HealthCheckRequest(service="model:other"))))[
            0
        ] == "NOT_FOUND"
        world.publish(snapshot, name="other")
        await calls.recognizer.Recognize(Request(landmarks=clip, model_name="other"))

        async def healthy() -> bool:
            return bool(await check("model:other") == status.SERVING)

        await until(healthy)

    run(world.settings(), scenario)


def test_the_memory_of_a_replaced_version_is_freed_after_its_calls(
    world: "World", snapshot: Dataset, card: ModelCard, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: weakref.WeakSet[LoadedModel] = weakref.WeakSet()
    init = LoadedModel.__init__

    def remember(model: LoadedModel, *arguments: Any) -> None:
        loaded.add(model)
        init(model, *arguments)

    monkeypatch.setattr(LoadedModel, "__init__", remember)

    async def scenario(calls: Calls) -> None:
        versions = [card.version]
        for _ in range(3):
            await asyncio.gather(*(calls.recognizer.Recognize(Request(landmarks=clip)) for _ in range(8)))
            versions.append(world.publish(snapshot).version)

            async def replaced(newest: str = versions[-1]) -> bool:
                answer = await calls.recognizer.Recognize(Request(landmarks=clip))
                return bool(answer.model_version == newest)

            await until(replaced)

        async def freed() -> bool:
            return {model.card.version for model in loaded} == {versions[-1]}

        await until(freed)

    run(world.settings(), scenario)
