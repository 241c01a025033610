"""The service Enrolment over a real gRPC channel, served by a real evaluator."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from services.evaluator.__main__ import evaluator
from services.evaluator.enrolment import service
from services.evaluator.enrolment.enrolment import enrol
from services.evaluator.enrolment.examples import ExampleClip
from signet import pretrained, registry
from signet.registry import ModelCard
from signet.v1 import enrolment_pb2 as pb
from signet.v1 import enrolment_pb2_grpc, evaluator_pb2, evaluator_pb2_grpc
from tests.servers import serving
from tests.services.evaluator.enrolment.conftest import NEW_PLACE

if TYPE_CHECKING:
    from tests.services.evaluator.conftest import World


@pytest.fixture
def channel(world: "World", open_card: ModelCard) -> Iterator[grpc.Channel]:
    """A channel to an evaluator whose models can be changed."""
    with serving(lambda: evaluator(world.settings(registry_writes=True))) as opened:
        yield opened


@pytest.fixture
def examples(example: Callable[..., ExampleClip]) -> list[ExampleClip]:
    return [example(f"mine{number}", NEW_PLACE + 0.02 * (number - 1)) for number in range(3)]


def requests(gloss: str, examples: list[ExampleClip], **fields: Any) -> Iterator[pb.EnrollRequest]:
    yield pb.EnrollRequest(gloss=gloss, **fields)
    for given in examples:
        yield pb.EnrollRequest(landmarks=given.landmarks, example_name=given.name)


def refused(call: Callable[[], Any]) -> tuple[str, str]:
    """The status code and message that a call ends with."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code().name, str(caught.value.details())


def test_an_enrolled_sign_is_served_within_seconds_and_forgotten_again(
    world: "World", channel: grpc.Channel, open_card: ModelCard, examples: list[ExampleClip]
) -> None:
    stub = enrolment_pb2_grpc.EnrolmentStub(channel)
    result = stub.Enroll(requests("my sign", examples)).result
    assert (result.model_name, result.parent_version, result.vocabulary_size) == ("signet", open_card.version, 7)
    assert (result.measured_on, result.clips, result.parent_correct, result.correct) == ("val", 14, 12, 12)
    assert registry.resolve(world.store, "signet", "latest") == result.model_version
    recognizer = evaluator_pb2_grpc.RecognizerStub(channel)
    end = time.monotonic() + 30
    while True:
        answer = recognizer.Recognize(evaluator_pb2.RecognizeRequest(landmarks=examples[1].landmarks, top_k=1))
        if answer.model_version == result.model_version or time.monotonic() > end:
            break
        time.sleep(0.1)
    assert answer.predictions[0].gloss == "my sign"
    forgotten = stub.Forget(pb.ForgetRequest(gloss="my sign")).result
    assert (forgotten.parent_version, forgotten.vocabulary_size) == (result.model_version, 6)
    code, message = refused(lambda: stub.Forget(pb.ForgetRequest(gloss="book")))
    assert (code, "was trained" in message) == ("FAILED_PRECONDITION", True)


def test_what_cannot_be_used_is_refused_with_the_reason(
    channel: grpc.Channel, examples: list[ExampleClip], example: Callable[..., ExampleClip]
) -> None:
    stub = enrolment_pb2_grpc.EnrolmentStub(channel)
    broken = ExampleClip("broken", b"<html>")
    for sent, expected_code, words in (
        ([], "INVALID_ARGUMENT", "the name of the sign is empty"),
        (list(requests("my sign", [])), "INVALID_ARGUMENT", "no example was given"),
        (list(requests("", examples)), "INVALID_ARGUMENT", "the name of the sign is empty"),
        (list(requests("book", examples)), "ALREADY_EXISTS", "knows 'book' already"),
        (list(requests("my sign", [*examples, broken])), "INVALID_ARGUMENT", "broken"),
        (list(requests("my sign", examples * 7)), "INVALID_ARGUMENT", "more than 20 examples"),
        (list(requests("my sign", [example("still", None)])), "INVALID_ARGUMENT", "still: nothing is signed"),
        ([*requests("my sign", examples), pb.EnrollRequest()], "INVALID_ARGUMENT", "neither landmarks nor a video"),
        ([pb.EnrollRequest(gloss="my sign", video=b"")], "INVALID_ARGUMENT", "example 1: the video is empty"),
        ([pb.EnrollRequest(gloss="my sign", video=b"?")], "UNAVAILABLE", "has no extractor"),
        ([pb.EnrollRequest(gloss="a", landmarks=b"?", example_name="a\nb")], "INVALID_ARGUMENT", "U+000A"),
        (list(requests("my sign", examples, model_version="1999")), "NOT_FOUND", "1999"),
    ):
        code, message = refused(lambda sent=sent: stub.Enroll(iter(sent)))  # type: ignore[misc]
        assert (code, words in message) == (expected_code, True), message


def test_an_enrolment_whose_caller_has_left_keeps_its_place_until_its_work_has_ended(
    channel: grpc.Channel, examples: list[ExampleClip], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, release = threading.Event(), threading.Event()

    def slow(*arguments: Any, **options: Any) -> Any:
        begun.set()
        release.wait(30)
        return enrol(*arguments, **options)

    monkeypatch.setattr(service, "enrol", slow)
    stub = enrolment_pb2_grpc.EnrolmentStub(channel)
    call = stub.Enroll.future(requests("my sign", examples))
    assert begun.wait(30)
    call.cancel()
    for _ in range(3):
        code, message = refused(lambda: stub.Enroll(requests("other", examples)))
        assert (code, "another enrolment" in message) == ("RESOURCE_EXHAUSTED", True)
        time.sleep(0.1)
    release.set()
    end = time.monotonic() + 30
    while True:
        code, message = refused(lambda: stub.Enroll(requests("my sign", examples)))
        if code != "RESOURCE_EXHAUSTED" or time.monotonic() > end:
            break
        time.sleep(0.1)
    assert (code, "knows 'my sign' already" in message) == ("ALREADY_EXISTS", True)


def test_an_evaluator_that_only_reads_refuses(world: "World", open_card: ModelCard) -> None:
    with serving(lambda: evaluator(world.settings())) as opened:
        stub = enrolment_pb2_grpc.EnrolmentStub(opened)
        for call in (lambda: stub.Enroll(iter([])), lambda: stub.Forget(pb.ForgetRequest(gloss="a"))):
            code, message = refused(call)
            assert (code, "--registry-writes" in message) == ("FAILED_PRECONDITION", True)


def test_without_a_model_in_the_store_the_bundled_one_is_meant(world: "World") -> None:
    bundled = pretrained.read_bundled_card()
    with serving(lambda: evaluator(world.settings(registry_writes=True, bundled_model=True))) as channel:
        stub = enrolment_pb2_grpc.EnrolmentStub(channel)
        code, message = refused(lambda: stub.Forget(pb.ForgetRequest(gloss="my sign")))
    assert (code, f"model asl100/{bundled.version} knows no sign 'my sign'" in message) == ("NOT_FOUND", True)
