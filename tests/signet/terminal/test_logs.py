"""The log contains no key to a store, whatever a library logs or quotes in an error."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import logging, sys
from signet.terminal.logs import set_up_logging
set_up_logging("DEBUG")
text = sys.argv[1]
logging.getLogger("any.library").debug("sends %s", text)
try:
    raise OSError(text)
except OSError:
    logging.exception("unexpected")
"""
JSON_PROGRAM = """
import logging, sys, threading, warnings
from signet.terminal.logs import log_as_json, pass_on, set_up_logging
set_up_logging("DEBUG")
log_as_json("evaluator")
logging.info("sends %s", sys.argv[1])
warnings.warn("old")
pass_on("of a child")
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
raise OSError(sys.argv[1])
"""
SIGNATURE = "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"


def _log(text: str) -> str:
    command = [sys.executable, "-c", PROGRAM, text]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stderr


@pytest.mark.parametrize(
    "text",
    [
        f"PUT http://store:9000/signet/k?X-Amz-Algorithm=A&X-Amz-Signature={SIGNATURE}&X-Amz-Date=20260101",
        f"/signet/k?X-Amz-Date=20260101&x-amz-signature={SIGNATURE} HTTP/1.1",
        f"/signet/k?Expires=1&AWSAccessKeyId={SIGNATURE}&Signature={SIGNATURE}",
        f"/signet/k?X-Amz-Security-Token={SIGNATURE}%2F",
        f"{{'Authorization': 'AWS4-HMAC-SHA256 Credential=signet/2026, Signature={SIGNATURE}', 'Host': 'store'}}",
        f"Authorization: AWS signet:{SIGNATURE}",
        f"{{'x-amz-security-token': '{SIGNATURE}', 'Host': 'store'}}",
        f"authorization: Bearer {SIGNATURE}",
    ],
)
def test_a_signature_or_token_does_not_reach_the_log(text: str) -> None:
    log = _log(text)
    assert SIGNATURE not in log
    assert log.count("***") >= 2, "in the message and in the traceback"
    assert "DEBUG any.library: sends" in log
    assert "OSError" in log


def test_a_token_of_signet_does_not_reach_the_log() -> None:
    token = f"signet_{SIGNATURE[:42]}-"
    log = _log(f"the token {token}, and again={token}")
    assert SIGNATURE[:10] not in log
    assert log.count("signet_***") >= 4, "in the message and in the traceback"


def test_a_log_without_a_signature_is_as_it_was() -> None:
    for text in (
        "signet/k: refused. The signature is wrong; check SIGNET_S3_SECRET_KEY, signature_version 4 (no Authorization)",
        "gloss signature: 5 clips, authorization: 12 clips; signature=4 basic=2",
    ):
        assert text in _log(text)


def test_a_log_in_json_is_only_json_and_hides_secrets() -> None:
    text = f"手\n\x1b[31m authorization: Bearer {SIGNATURE}"
    command = [sys.executable, "-c", JSON_PROGRAM, text]
    log = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stderr
    assert SIGNATURE not in log
    assert log.isascii()
    sent, warned, child, thread, ended = [json.loads(line) for line in log.splitlines()]
    assert sent["message"] == "sends 手\n\x1b[31m authorization: ***"
    assert sent["service"] == "evaluator"
    assert "UserWarning: old" in warned["message"]
    assert (child["level"], child["message"]) == ("WARNING", "of a child")
    assert "ZeroDivisionError" in thread["traceback"]
    assert (ended["level"], ended["message"]) == ("CRITICAL", "unexpected OSError")
    assert "authorization: ***" in ended["traceback"]
