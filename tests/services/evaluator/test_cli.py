"""The evaluator's commands name the file that an error is about."""

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer.main
from typer.testing import CliRunner

from services.standalone.cli import app
from signet import registry
from signet.errors import InvalidInput, Unauthenticated
from signet.rpc.limits import MAX_MESSAGE_BYTES
from signet.security.permissions import Permission
from signet.security.tokens import TokenLimits, create_token
from tests.certificates import Authority
from tests.conftest import ROOT, RunSignet
from tests.services.evaluator.conftest import GLOSSES, make_graph, place_of
from tests.signet.security.conftest import secured

if TYPE_CHECKING:
    from tests.services.evaluator.conftest import World


def test_a_video_that_is_too_large_for_a_call_is_refused_with_the_command_that_cuts_it(tmp_path: Path) -> None:
    path = tmp_path / "my film.mp4"
    with path.open("wb") as file:
        file.truncate(MAX_MESSAGE_BYTES + 1)
    done = CliRunner().invoke(app, ["predict", str(path), "--server", "127.0.0.1:1"])
    assert isinstance(done.exception, InvalidInput)
    with pytest.raises(
        InvalidInput, match=rf"my film\.mp4: {MAX_MESSAGE_BYTES + 1} bytes.* ffmpeg -ss 5 -i '.*my film"
    ):
        raise done.exception


@pytest.mark.parametrize("encoding", ["cp1252", "ascii:strict", "utf-8"])
def test_a_report_is_printed_in_an_encoding_without_block_characters(world: "World", encoding: str) -> None:
    glosses = ("[wh]book", "本", "chair", "go", "who")
    world.publish(world.snapshot(world.everyday_clips(glosses)))
    done = subprocess.run(
        [sys.executable, "-m", "services.cli", "evaluate", "--store", world.store.url], cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown = done.stdout.decode(encoding.partition(":")[0])
    assert "[wh]book" in shown
    assert ("██████" if encoding == "utf-8" else "######") in shown
    assert ("本" if encoding == "utf-8" else "\\u672c") in shown


@pytest.fixture
def worse(world: "World") -> str:
    """A version that mistakes every sign for another, and a good one, which `production` names."""
    snapshot = world.snapshot(world.everyday_clips())
    good = world.publish(snapshot)
    registry.promote(world.store, "signet", good.version)
    places = [place_of(index, len(GLOSSES)) for index in range(len(GLOSSES))]
    return world.publish(snapshot, make_graph([*places[1:], places[0]])).version


def test_a_version_that_is_worse_fails_the_gate_with_status_three(
    world: "World", worse: str, run_signet: RunSignet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNET_COMMIT", "0123abc")
    page = tmp_path / "page.html"
    status, output, _ = run_signet(["evaluate", "--gate", "--html", str(page)])
    assert status == 3
    assert "gate failed: the candidate is 78.6 points worse" in output
    assert "difference on the same 14 clips: -78.6 points (95 % interval -9" in output
    assert page.read_text().startswith("<!DOCTYPE html>")
    reports = [info.key for info in world.store.list("reports/") if info.key.endswith("report.json")]
    assert len(reports) == 2
    status, again, _ = run_signet(["evaluate", "--gate", "--html", str(page)])
    assert (status, again.splitlines()[-4:]) == (3, output.splitlines()[-4:])
    assert [info.key for info in world.store.list("reports/") if info.key.endswith("report.json")] == reports
    assert page.read_text().startswith("<!DOCTYPE html>")
    status, output, _ = run_signet(["evaluate", "--gate", "--margin", "80"])
    assert (status, "is not more than the margin of 80 points" in output) == (0, True)
    status, output, _ = run_signet(["evaluate", "--gate", "--model-version", "production", "--against", worse])
    assert (status, "the candidate is not worse" in output) == (0, True)
    monkeypatch.setenv("SIGNET_COMMIT", "another")
    assert run_signet(["evaluate", "--gate"])[0] == 3
    assert len([info for info in world.store.list("reports/") if info.key.endswith("report.json")]) == 4


def test_a_gate_without_production_passes_and_says_so(world: "World", run_signet: RunSignet) -> None:
    version = world.publish(world.snapshot(world.everyday_clips())).version
    status, output, _ = run_signet(["evaluate", "--gate"])
    assert status == 0
    assert "gate passed: there is no alias 'production' yet" in output
    assert f"`signet models promote {version}` makes it" in output
    status, _, error = run_signet(["evaluate", "--gate", "--against", "prodution"])
    assert (status, "has no version or alias 'prodution'" in error) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--margin", "2"], 1, "--against and --margin belong to --gate"),
        (["--against", "latest"], 1, "--against and --margin belong to --gate"),
        (["--gate", "--run", "r1"], 1, "Leave out --model-name, --model-version, --split and --gate"),
        (["--gate", "--margin", "nan"], 2, "--margin"),
        (["--gate", "--margin", "101"], 2, "--margin"),
        (["--gate", "--margin", "-1"], 2, "--margin"),
    ],
)
def test_options_of_the_gate_that_cannot_be_used_are_named(
    world: "World", run_signet: RunSignet, arguments: list[str], status: int, words: str
) -> None:
    world.publish(world.snapshot(world.everyday_clips()))
    failed, _, error = run_signet(["evaluate", *arguments])
    assert (failed, words in error) == (status, True), error


def test_a_clip_is_sent_with_tls_a_certificate_and_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority, tokens, saved, clip = Authority(tmp_path, "ca"), tmp_path / "t.json", tmp_path / "t", tmp_path / "c.mp4"
    pair, own = authority.issue("server"), authority.issue("client")
    saved.write_text(create_token(tokens, "me", TokenLimits(Permission.READ)))
    clip.write_bytes(b"book")
    files = {"tls_certificate": pair.certificate, "tls_key": pair.key, "tls_client_ca": authority.ca}
    with secured(tokens_file=tokens, **files) as server:
        ask = ["predict", str(clip), "--server", f"127.0.0.1:{server.port}", "--ca", str(authority.ca)]
        ask += ["--client-certificate", str(own.certificate), "--client-key", str(own.key)]
        refused = CliRunner().invoke(app, ask)
        assert isinstance(refused.exception, Unauthenticated), refused.output
        done = CliRunner().invoke(app, [*ask, "--token-file", str(saved)])
        assert done.exit_code == 0, done.output
        assert "book" in done.output
        monkeypatch.setenv("SIGNET_CLIENT_TOKEN_FILE", str(saved))
        assert CliRunner().invoke(app, ask).exit_code == 0
    assert not any(option.startswith("--token") and option != "--token-file" for option in _options_of("predict"))


def _options_of(name: str) -> list[str]:
    """The options of a command. A token must not be one: other users see the options of a process."""
    command: Any = typer.main.get_command(app)
    return [option for parameter in command.commands[name].params for option in parameter.opts]
