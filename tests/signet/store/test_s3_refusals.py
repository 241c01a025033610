"""Each answer that is no success of S3 becomes a sentence that names the store, the fault and the way out."""

import os
import subprocess
import sys
import time
from email.utils import formatdate
from pathlib import Path

import pytest

from signet.errors import NotFound, SignetError, Unavailable
from signet.store import ObjectStore, s3
from tests.conftest import ROOT
from tests.signet.store.conftest import Answer, RunSignet, ScriptedServer, page, s3_error

XHTML = b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title>Log in</title></head></html>'
REGION = "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-central-1'"
GARAGE_REGION = "Authorization header malformed, unexpected scope: 20260101/us-east-1/s3/aws4_request"


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow one another at once."""
    monkeypatch.setattr(s3, "_RETRIES", s3._RETRIES.new(backoff_factor=0))


def message_at_open(server: ScriptedServer, answer: Answer) -> str:
    server.fault(answer)
    with pytest.raises(SignetError) as error:
        server.open()
    assert type(error.value) is Unavailable
    message = str(error.value)
    assert message.startswith(f"{server.url}: "), message
    assert "\n" not in message
    assert len(message) < 600
    return message


@pytest.mark.parametrize(
    ("answer", "parts"),
    [
        pytest.param(page(200, "MinIO Console"), ["a web page answers", "'MinIO Console'", "S3 API"], id="console"),
        pytest.param(Answer(200, XHTML), ["a web page answers", "'Log in'"], id="XHTML"),
        pytest.param(Answer(200, XHTML, "text/html"), ["a web page answers"], id="XHTML as HTML"),
        pytest.param(Answer(200, b"ok", "text/plain"), ["not that of an S3 store", "text/plain"], id="plain text"),
        pytest.param(Answer(200, b'{"a": 1}', "application/json"), ["not that of an S3", "/json"], id="JSON"),
        pytest.param(Answer(200, b"<?xml <<<"), ["no valid XML"], id="broken XML"),
        pytest.param(Answer(200, b'<?xml version="1.0" encoding="x-no"?><a/>'), ["no valid XML"], id="encoding"),
        pytest.param(Answer(200, b""), ["not that of an S3 store"], id="nothing"),
        pytest.param(Answer(204, b""), ["not that of an S3 store", "HTTP 204"], id="no content"),
        pytest.param(Answer(200, b"<ListAllMyBucketsResult/>"), ["not that of an S3 store"], id="another XML"),
        pytest.param(Answer(200, b"\xff\xfe\x00", "text/html"), ["a web page answers"], id="bytes"),
        pytest.param(page(403, "Blocked by policy"), ["proxy, a firewall", "'Blocked by policy'"], id="403"),
        pytest.param(page(401, "Log in"), ["proxy, a firewall", "HTTP 401"], id="401"),
        pytest.param(page(404, "Not Found"), ["no S3 API at this address", "HTTP 404"], id="404"),
        pytest.param(page(407, "Proxy"), ["asks for a login", "HTTP 407"], id="407"),
        pytest.param(page(413, "Too Large"), ["too large", "client_max_body_size"], id="413"),
        pytest.param(page(502, "502 Bad Gateway"), ["store behind it does not", "HTTP 502"], id="502"),
        pytest.param(page(503, "Maintenance", **{"Retry-After": "3600"}), ["behind it", "HTTP 503"], id="503"),
        pytest.param(page(504, "Timeout"), ["store behind it does not", "HTTP 504"], id="504"),
        pytest.param(Answer(502, b"upstream error", "text/plain"), ["store behind it does not"], id="502 text"),
        pytest.param(page(418, "Teapot"), ["a web page answers", "HTTP 418"], id="another status"),
        pytest.param(
            Answer(400, b"Client sent an HTTP request to an HTTPS server.\n", "text/plain"),
            ["speaks https only", "https://"],
            id="http to a TLS port of Go",
        ),
        pytest.param(
            page(400, "400 The plain HTTP request was sent to HTTPS port"), ["speaks https only"], id="nginx's TLS port"
        ),
        pytest.param(
            s3_error(400, "AuthorizationHeaderMalformed", REGION, Region="eu-central-1"),
            ["is in region eu-central-1", "uses region us-east-1", "SIGNET_S3_REGION=eu-central-1"],
            id="region",
        ),
        pytest.param(
            s3_error(400, "AuthorizationHeaderMalformed", GARAGE_REGION, Region="garage"),
            ["SIGNET_S3_REGION=garage"],
            id="region of Garage",
        ),
        pytest.param(
            s3_error(400, "AuthorizationHeaderMalformed", "the region is wrong"),
            ["does not accept region us-east-1", "SIGNET_S3_REGION"],
            id="a region that the server does not name",
        ),
        pytest.param(
            Answer(301, b"", headers={"x-amz-bucket-region": "eu-west-3"}), ["SIGNET_S3_REGION=eu-west-3"], id="301"
        ),
        pytest.param(
            s3_error(301, "PermanentRedirect", "Use this endpoint.", Endpoint="bucket.s3.eu-west-1.example.org"),
            ["at another address", "SIGNET_STORE=http://s3.eu-west-1.example.org/bucket"],
            id="another endpoint",
        ),
        pytest.param(
            s3_error(307, "TemporaryRedirect", "Please re-send.", Endpoint="bucket.s3-eu-west-1.example.org"),
            ["SIGNET_STORE=http://s3-eu-west-1.example.org/bucket"],
            id="307",
        ),
        pytest.param(
            page(301, "Moved", Location="https://127.0.0.1/bucket?list-type=2"),
            ["redirects to https", "SIGNET_STORE=https://127.0.0.1/bucket."],
            id="redirect to https",
        ),
        pytest.param(
            page(302, "Found", Location="https://login.example.org/start?back=x&X-Amz-Signature=abc"),
            ["redirects to https://login.example.org/start (HTTP 302)", "login page"],
            id="login page",
        ),
        pytest.param(page(308, "Moved", Location="/ui/"), ["redirects to /ui/ (HTTP 308)"], id="console"),
        pytest.param(s3_error(403, "RequestTimeTooSkewed", "too large"), ["clocks", "timedatectl"], id="clock"),
        pytest.param(s3_error(403, "AccessDenied", "Request has expired"), ["clocks"], id="clock, presigned"),
        pytest.param(s3_error(403, "InvalidAccessKeyId"), ["does not know the user 'user'", "ACCESS_KEY"], id="user"),
        pytest.param(
            s3_error(403, "SignatureDoesNotMatch"), ["secret is not that of the user 'user'", "SECRET_KEY"], id="secret"
        ),
        pytest.param(
            s3_error(403, "AccessDenied", "Access Denied.", Region="eu-central-1"),
            ["must not do this", "s3:ListBucket", "'bucket'"],
            id="rights",
        ),
        pytest.param(s3_error(503, "SlowDown", "Please reduce"), ["too busy", "HTTP 503, SlowDown"], id="busy"),
        pytest.param(s3_error(507, "XMinioStorageFull", "no space"), ["is full"], id="full"),
        pytest.param(
            s3_error(400, "InvalidRequest", "line 1\nline 2"),
            ["refused a request (HTTP 400, InvalidRequest: line 1 line 2)"],
            id="another error",
        ),
        pytest.param(Answer(403, b"<Error><Code>AccessDenied</Code></Error>", "text/xml"), ["must not"], id="text/xml"),
    ],
)
def test_an_answer_that_is_no_success_of_s3_is_one_line_that_names_the_store_and_the_way_out(
    scripted_server: ScriptedServer, answer: Answer, parts: list[str]
) -> None:
    message = message_at_open(scripted_server, answer)
    assert [part for part in parts if part not in message] == [], message
    assert "X-Amz-Signature" not in message


@pytest.mark.parametrize(("minutes", "words"), [(20, "20 minutes behind"), (-300, "5 hours ahead")])
def test_a_wrong_clock_is_measured_against_the_time_of_the_store(
    scripted_server: ScriptedServer, minutes: int, words: str
) -> None:
    error = s3_error(403, "AccessDenied", "Access Denied.")
    date = formatdate(time.time() + 60 * minutes, usegmt=True)
    assert words in message_at_open(scripted_server, Answer(403, error.body, headers={"Date": date}))


def test_a_redirect_is_not_followed(scripted_server: ScriptedServer) -> None:
    """A signature holds for one host. Another host must not see it, and would refuse it."""
    message_at_open(scripted_server, page(302, "Found", Location="/somewhere/else"))
    assert len(scripted_server.requests) == 1


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda store: store.get("k"), id="get"),
        pytest.param(lambda store: store.get_head("k", 4), id="get_head"),
        pytest.param(lambda store: store.get_versioned("k"), id="get_versioned"),
        pytest.param(lambda store: store.put("k", b"data"), id="put"),
        pytest.param(lambda store: store.create("k", b"data"), id="create"),
        pytest.param(lambda store: store.replace("k", b"data", "etag"), id="replace"),
        pytest.param(lambda store: store.stat("k"), id="stat"),
        pytest.param(lambda store: list(store.list("k")), id="list"),
    ],
)
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(page(200, "Log in"), id="page"),
        pytest.param(page(404, "Not Found"), id="404"),
        pytest.param(page(502, "Bad Gateway"), id="502"),
        pytest.param(s3_error(404, "NoSuchBucket"), id="no bucket"),
        pytest.param(Answer(200, b"", "text/plain"), id="empty"),
    ],
)
def test_a_page_in_place_of_an_object_is_neither_read_nor_taken_for_a_stored_one(
    scripted_server: ScriptedServer, call: object, answer: Answer
) -> None:
    """A proxy may begin to answer at any time. HEAD has no body: there, only a page's content type tells."""
    store = scripted_server.open()
    scripted_server.fault(answer)
    assert callable(call)
    try:
        call(store)
    except Unavailable as error:
        assert str(error).startswith(scripted_server.url)
    else:
        assert scripted_server.requests[-1].method == "HEAD", "only HEAD cannot see that there is no bucket"
        assert answer.body.startswith(b"<?xml")


def test_a_missing_object_is_still_not_found(scripted_server: ScriptedServer) -> None:
    store = scripted_server.open()
    scripted_server.fault(s3_error(404, "NoSuchKey"))
    with pytest.raises(NotFound, match="k: no such object"):
        store.get("k")
    assert store.stat("k") is None


def test_a_stored_page_is_an_object_like_any_other(object_store: ObjectStore) -> None:
    text = b"<!doctype html><html><title>a report</title></html>"
    for write in (object_store.put, object_store.create):
        key = f"reports/{write.__name__}/report.html"
        write(key, text)
        assert object_store.get(key) == text
        info = object_store.stat(key)
        assert info is not None
        assert info.size == len(text)


@pytest.fixture
def console_as_store(scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The environment names a store that is a web page."""
    scripted_server.fault(page(200, "Console"))
    monkeypatch.chdir(tmp_path)
    for name, value in {"STORE": scripted_server.url, "S3_ACCESS_KEY": "user", "S3_SECRET_KEY": "verysecret"}.items():
        monkeypatch.setenv(f"SIGNET_{name}", value)


@pytest.mark.usefixtures("console_as_store")
@pytest.mark.parametrize(
    "command",
    [
        "runs",
        "models",
        "reports",
        "analyze latest",
        "features clip",
        "evaluate",
        "train",
        "extract",
        "import somewhere",
    ],
)
def test_each_command_says_in_one_line_that_a_web_page_is_no_store(run_signet: RunSignet, command: str) -> None:
    (line,) = run_signet(*command.split()).splitlines()
    assert line.startswith("error: http://127.0.0.1:")
    assert "a web page answers (HTTP 200, title 'Console')" in line
    assert "verysecret" not in line


@pytest.mark.usefixtures("console_as_store")
@pytest.mark.parametrize("service", ["extractor", "trainer", "evaluator"])
def test_each_service_says_in_one_line_that_a_web_page_is_no_store(service: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"services.{service}"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if " INFO " not in line]
    assert len(lines) == 1, done.stderr
    assert "a web page answers (HTTP 200, title 'Console')" in lines[0]
    assert "verysecret" not in done.stderr
