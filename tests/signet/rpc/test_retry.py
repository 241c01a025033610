"""The time to retry reaches the client as a number that gRPC itself understands."""

import pytest

from signet.errors import Busy, NotFound
from signet.rpc.client import Client, signet_errors
from signet.rpc.retry import RETRY_KEY, read_retry_seconds, retry_metadata
from signet.v1 import extractor_pb2
from tests.signet.rpc.conftest import Served


@pytest.mark.parametrize(("what", "seconds"), [("busy for 2.5 s", 2.5), ("Busy", None)])
def test_a_client_gets_the_time_to_retry_of_a_busy_server(served: Served, what: str, seconds: float | None) -> None:
    with Client(extractor=served.address) as client, pytest.raises(Busy) as raised, signet_errors():
        client.extractor.ExtractClip(extractor_pb2.ExtractClipRequest(clip_id=what), timeout=5)
    assert raised.value.retry_seconds == seconds


def test_a_time_to_retry_that_is_no_number_is_ignored() -> None:
    assert retry_metadata(Busy("too much", 0.0001)) == ((RETRY_KEY, "1"),)
    assert retry_metadata(NotFound("nothing")) == ()
    assert read_retry_seconds(None) is None
    for value in ("", "-1", "soon", "1e9", b"5000"):
        assert read_retry_seconds(((RETRY_KEY, value),)) is None
    assert read_retry_seconds((("other", "1"), (RETRY_KEY, "1500"))) == 1.5
