"""`signet serving`: what a running evaluator serves, for people and for scripts."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typer.testing import CliRunner

from services.evaluator.serving_cli import app
from services.standalone.cli import app as standalone_app
from signet import landmarks
from signet.datasets.snapshot import Dataset
from signet.errors import Unavailable
from signet.registry import ModelCard
from tests.services.evaluator.test_process import started, wait_for

if TYPE_CHECKING:
    from tests.services.evaluator.conftest import World


def test_the_command_names_each_version_and_why_one_is_refused(
    world: "World", snapshot: Dataset, card: ModelCard, sign: Any, tmp_path: Path
) -> None:
    other = world.publish(snapshot, name="other")
    clip = tmp_path / "clip.safetensors"
    clip.write_bytes(landmarks.dump(sign("c", "", 0.5 + 3 / 6)))
    with started(world) as process:

        def serving(*options: str) -> tuple[int, str]:
            result = CliRunner().invoke(app, ["serving", "--server", process.address, *options])
            return result.exit_code, result.output

        status, output = serving()
        assert (status, card.version in output, "latest (default)" in output) == (0, True, True), output
        named = [
            "predict",
            str(clip),
            "--server",
            process.address,
            "--model-name",
            "other",
            "--model-version",
            "latest",
        ]
        predicted = CliRunner().invoke(standalone_app, named)
        assert f"other {other.version}" in predicted.output
        status, output = serving("--model-name", "other", "--json")
        (shown,) = json.loads(output)["models"]
        assert (status, shown["model_name"], shown["model_version"]) == (0, "other", other.version)

        bad = world.publish(snapshot, files={"model.onnx": "0" * 64})
        wait_for(lambda: serving()[0] == 1)
        status, output = serving()
        assert card.version in output, "served on"
        assert "is damaged: its sha256 differs" in output.replace("\n", " ")
        (shown,) = json.loads(serving("--model-name", "signet", "--json")[1])["models"]
        assert (shown["model_version"], shown["refused_version"]) == (card.version, bad.version)
    gone = CliRunner().invoke(app, ["serving", "--server", process.address])
    assert isinstance(gone.exception, Unavailable)
