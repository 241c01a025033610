"""What a process logs about its requests to an S3 server."""

import os
import subprocess
import sys

import pytest

from services.local.seaweedfs import LocalStore
from tests.conftest import ROOT
from tests.signet.store.conftest import ScriptedServer, s3_error

# As a service does it, with every kind of request, and with errors that nobody handles.
PROGRAM = """
import logging, sys
from signet.errors import SignetError
from signet.store import open_store
from signet.store.settings import read_store_settings
from signet.terminal.logs import set_up_logging

set_up_logging("INFO")
logging.getLogger().setLevel("DEBUG")
log = logging.getLogger("test")
store = open_store(read_store_settings())
for request in (
    lambda: store.create("k", b"1"),
    lambda: store.replace("k", b"2", store.stat("k").etag if store.stat("k") else "etag"),
    lambda: store.put("k", b"3"),
    lambda: store.get("k"),
    lambda: list(store.list("")),
    lambda: store.delete("k"),
):
    try:
        request()
    except Exception as error:
        log.exception("failed: %s", error)
    log.debug("done")
"""
SECRETS = (
    "X-Amz-Signature",
    "X-Amz-Credential",
    "Authorization",
    "AWS4-HMAC",
    "X-Amz-Security-Token",
    "the-session-token",
)


def _log_of_requests(**environment: str) -> str:
    """All that a process prints at DEBUG."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "SIGNET_CACHE": os.devnull, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr.count("DEBUG test: done") == 6
    return done.stdout + done.stderr


def test_a_debug_log_of_a_real_store_contains_no_signature(s3_server: LocalStore) -> None:
    log = _log_of_requests(**s3_server.environment)
    assert "failed" not in log
    secret = s3_server.environment["SIGNET_S3_SECRET_KEY"]
    assert [word for word in (*SECRETS, secret) if word.lower() in log.lower()] == []


@pytest.mark.parametrize("status", [403, 503])
def test_a_debug_log_of_failed_requests_contains_no_signature(scripted_server: ScriptedServer, status: int) -> None:
    scripted_server.answer = s3_error(status, "SlowDown" if status == 503 else "AccessDenied")
    environment = {
        "SIGNET_STORE": scripted_server.url,
        "SIGNET_S3_ACCESS_KEY": "user",
        "SIGNET_S3_SECRET_KEY": "the-secret-key",
        "SIGNET_S3_SESSION_TOKEN": "the-session-token",
    }
    log = _log_of_requests(**environment)
    assert log.count("Traceback") >= 5
    assert any("X-Amz-Signature" in request.path for request in scripted_server.requests)
    assert [word for word in (*SECRETS, "the-secret-key") if word.lower() in log.lower()] == []
