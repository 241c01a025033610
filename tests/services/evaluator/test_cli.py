"""The evaluator's commands name the file that an error is about."""

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from services.evaluator.cli import _name_clip, app
from signet.errors import InvalidInput
from signet.rpc.limits import MAX_MESSAGE_BYTES
from tests.conftest import ROOT

if TYPE_CHECKING:
    from tests.services.evaluator.conftest import World

REFUSAL = "video: 1200 s; the limit is 600 s. Cut it to the sign: ffmpeg -ss 5 -i video -t 10 sign.mp4"


def test_a_video_that_the_extractor_refuses_is_named_in_the_error_and_in_its_command() -> None:
    assert _name_clip(REFUSAL, Path("my film.mp4")) == (
        "my film.mp4: 1200 s; the limit is 600 s. Cut it to the sign: ffmpeg -ss 5 -i 'my film.mp4' -t 10 sign.mp4"
    )
    assert _name_clip("landmarks: no record.", Path("a.safetensors")) == "a.safetensors: landmarks: no record."


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
