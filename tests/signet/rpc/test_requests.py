"""Fields that no servicer should see are refused before one sees them, and the answer echoes nothing long."""

import pytest
from google.protobuf.message import Message

from signet.errors import InvalidInput
from signet.rpc.requests import (
    MAX_FRAME_REQUEST_BYTES,
    MAX_PLAIN_REQUEST_BYTES,
    MAX_TEXT_CHARACTERS,
    MAX_VALUES,
    check_request,
    largest_request,
)
from signet.v1 import evaluator_pb2, extractor_pb2, trainer_pb2


@pytest.mark.parametrize(
    ("request_", "fault"),
    [
        (trainer_pb2.WatchRunRequest(run_id="x" * 1001), "run_id has 1001 characters; at most 1000"),
        (trainer_pb2.StopRunRequest(run_id="a\nforged"), "run_id cannot be used: character 2 is U+000A"),
        (extractor_pb2.StartExtractionRequest(glosses=["a", "b\x1b[2J"]), "glosses cannot be used: character 2"),
        (extractor_pb2.StartExtractionRequest(splits=["a"] * (MAX_VALUES + 1)), "splits has 20001 values"),
        (trainer_pb2.StartRunRequest(config=trainer_pb2.TrainConfig(corpus="\u202egnp")), "config.corpus cannot"),
        (trainer_pb2.StartRunRequest(config=trainer_pb2.TrainConfig(lr=float("nan"))), "config.lr is nan"),
        (trainer_pb2.StartRunRequest(config=trainer_pb2.TrainConfig(weight_decay=float("inf"))), "is inf"),
        (trainer_pb2.StopRunResponse.FromString(b"\x08\x63"), "state is 99, which is no value of RunState"),
    ],
)
def test_a_field_that_cannot_be_used_is_refused_by_name(request_: Message, fault: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_request(request_)
    assert fault in str(caught.value)
    assert len(str(caught.value)) < 200


def test_long_names_and_glosses_of_other_scripts_pass() -> None:
    glosses = [
        "می\u200cخواهم",
        "क्\u200dष",
        "👩\u200d👧",
        "l'été",
        "(to) go [2]",
        "ice cream",
        "x" * MAX_TEXT_CHARACTERS,
    ]
    check_request(extractor_pb2.StartExtractionRequest(glosses=glosses, max_glosses=2**32 - 1))
    check_request(extractor_pb2.ExtractClipRequest(video=b"\n" * 5000, clip_id="clip"))
    check_request(evaluator_pb2.RecognizeRequest(landmarks=b"\n" * 5000))


def test_only_requests_with_a_clip_may_be_large() -> None:
    assert largest_request("signet.v1.Extractor/ExtractClip") is None
    assert largest_request("signet.v1.Recognizer/Recognize") is None
    assert largest_request("signet.v1.Extractor/ExtractStream") == MAX_FRAME_REQUEST_BYTES
    assert largest_request("signet.v1.Trainer/StartRun") == MAX_PLAIN_REQUEST_BYTES
    assert largest_request("grpc.health.v1.Health/Check") == MAX_PLAIN_REQUEST_BYTES
    assert largest_request("x") == MAX_PLAIN_REQUEST_BYTES
