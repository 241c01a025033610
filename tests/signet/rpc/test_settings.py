"""The settings of a service: an unusable flag is one line of the log, whatever is in it."""

import logging
import sys

import pytest

from signet.errors import InvalidSetting
from signet.rpc.server import run_service
from signet.rpc.settings import ServiceSettings, read_settings

NASTY = "--bad\x1b[2J\nrun forged\u202e\udcff"


def test_an_unknown_flag_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["services.extractor", "--bad", "x"])
    with pytest.raises(InvalidSetting, match=r"^unusable settings: unrecognized arguments: --bad x\. --help lists all"):
        read_settings(ServiceSettings)


@pytest.mark.parametrize(
    "arguments", [[NASTY], ["--store", "x", NASTY], ["--port", NASTY], ["--log-level", NASTY], ["--host"]]
)
def test_a_flag_that_cannot_be_used_is_one_line_without_control_characters(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["services.extractor", *arguments])
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])

    async def serve(settings: ServiceSettings) -> None:
        raise AssertionError(settings)

    with pytest.raises(SystemExit) as stopped:
        run_service(ServiceSettings, serve)
    assert stopped.value.code == 1
    shown, errors = capsys.readouterr()
    assert shown == ""
    assert "unusable settings: " in errors
    assert errors.endswith("\n")
    assert errors[:-1].isprintable()
