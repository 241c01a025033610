"""A command ends with one line and a sensible exit status, whatever its output is connected to."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from signet.terminal.command import join_help_lines
from tests.conftest import ROOT

# A command that prints a table of data, and takes the kind of failure as its argument.
PROGRAM = r"""
import sys
from signet.errors import InvalidInput
from signet.terminal.command import run_command
from signet.terminal.output import TableColumn, bar, open_console, print_line, print_table

def command():
    console = open_console()
    print_table(console, [TableColumn("gloss"), TableColumn("")], [["[wh]book \u672c \\udcff", bar(0.5)]] * 300)
    print_line(console, "\xb1 \u2026 \u2013")
    kind = sys.argv[1]
    if kind == "refuse":
        raise InvalidInput("'[x]\\x1b[31m' \u672c cannot be used.\\nTry another.")
    if kind == "os":
        open("/nowhere/[x]")
    if kind == "ctrl-c":
        raise KeyboardInterrupt
    return 3 if kind == "status" else None

sys.exit(run_command(command))
"""


def _run(
    kind: str, environment: dict[str, str] | None = None, stdout: int = subprocess.PIPE
) -> subprocess.CompletedProcess[bytes]:
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHONIO", "PYTHONUTF8", "LC_"))
    }
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, kind], env={**clean, "PYTHONPATH": str(ROOT), **(environment or {})},
        stdout=stdout, stderr=subprocess.PIPE, check=False, timeout=60,
    )  # fmt: skip


ENCODINGS = [
    {"PYTHONIOENCODING": "cp1252"},
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "ascii:strict"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"LC_ALL": "POSIX"},
    {"TERM": "dumb", "NO_COLOR": "1"},
    {"FORCE_COLOR": "1", "PYTHONIOENCODING": "cp437"},
]


@pytest.mark.parametrize("environment", ENCODINGS, ids=lambda environment: " ".join(environment.values()))
def test_output_and_errors_are_written_in_every_encoding(environment: dict[str, str]) -> None:
    done = _run("refuse", environment)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"[wh]book" in done.stdout
    assert b"\\udcff" in done.stdout
    assert done.stderr.startswith(b"error: '[x]\\x1b[31m' ")
    assert done.stderr.endswith(b"cannot be used.\\nTry another.\n")


@pytest.mark.parametrize(
    ("kind", "status", "error"),
    [
        ("none", 0, b""),
        ("status", 3, b""),
        ("os", 1, b"error: /nowhere/[x]: No such file or directory\n"),
        ("ctrl-c", 130, b"interrupted\n"),
    ],
)
def test_the_exit_status_says_how_a_command_ended(kind: str, status: int, error: bytes) -> None:
    done = _run(kind)
    assert (done.returncode, done.stderr) == (status, error)


def test_a_full_disk_is_one_line() -> None:
    with Path("/dev/full").open("wb") as full:
        done = _run("none", stdout=full.fileno())
    assert done.returncode == 1
    assert done.stderr == (
        b"error: standard output cannot be written (No space left on device). Write it to another place.\n"
    )


def test_a_closed_pipe_ends_a_command_silently() -> None:
    done = subprocess.run(
        ["bash", "-c", f'set -o pipefail; "{sys.executable}" -c "$PROGRAM" none | head -1'],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PROGRAM": PROGRAM}, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stderr == b""
    assert done.stdout.count(b"\n") == 1


def test_closed_output_is_no_error() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PROGRAM": PROGRAM}
    for closed in (">&-", "2>&-", ">&- 2>&-", "2>/dev/full", ">/dev/full 2>/dev/full"):
        done = subprocess.run(
            ["bash", "-c", f'"{sys.executable}" -c "$PROGRAM" refuse {closed}'],
            env=environment, capture_output=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 1, closed
        assert b"Traceback" not in done.stderr, closed
        assert b"Exception ignored" not in done.stderr, closed


@pytest.mark.parametrize(
    "environment", [{}, {"TERM": "dumb"}, {"PYTHONIOENCODING": "cp1252"}, {"NO_COLOR": "1"}], ids=str
)
def test_a_terminal_shows_data_without_their_control_characters(environment: dict[str, str]) -> None:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "refuse"], env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=follower, stderr=follower, stdin=follower,
    )  # fmt: skip
    os.close(follower)
    shown = b""
    try:
        while part := os.read(leader, 65536):
            shown += part
    except OSError:  # Linux says so when the other end is closed
        pass
    os.close(leader)
    assert process.wait(timeout=60) == 1
    assert b"[wh]book" in shown
    assert b"error: '[x]\\x1b[31m'" in shown
    assert b"Traceback" not in shown


def test_help_texts_are_broken_by_the_terminal_and_examples_stay() -> None:
    app, group = typer.Typer(), typer.Typer()
    app.add_typer(group, name="group")

    @group.command()
    def work() -> None:
        """Do the work
        of the day.

        It goes on where it was,
        if it is called again.

            work --hard
            work --soft
        """

    join_help_lines(app)
    join_help_lines(app)
    assert group.registered_commands[0].help == (
        "Do the work of the day.\n\nIt goes on where it was, if it is called again.\n\n    work --hard\n    work --soft"
    )
