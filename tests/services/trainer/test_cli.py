"""The commands `signet train` and `signet runs` print names as they are."""

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from services.trainer.cli import app
from services.trainer.config.train_config import TrainConfig
from signet.landmarks import dump
from signet.store import DirectoryStore, keys
from tests.services.trainer.conftest import moving_clip


def test_the_table_of_runs_cuts_no_id(directory_store: DirectoryStore) -> None:
    run_id, version = "20261128T010846Z-8f07d1", "20261128T010846Z-8f07d1aa"
    result = {
        "state": "succeeded", "model_name": "signet", "model_version": version, "epochs": 3, "seconds": 1.0,
        "val_clips": 8, "val_correct": 7,
    }  # fmt: skip
    directory_store.put(keys.run(run_id, "config.json"), TrainConfig().model_dump_json().encode())
    directory_store.put(keys.run(run_id, "result.json"), json.dumps(result).encode())
    done = CliRunner().invoke(app, ["runs", "--store", directory_store.url])
    assert done.exit_code == 0
    assert done.output.splitlines()[1].split() == [run_id, "succeeded", "3", "87.5", "%", version]


def test_a_gloss_with_square_brackets_is_trained_and_printed_as_it_is(
    directory_store: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hostile = "<script>alert(1)</script> $x^2$"
    glosses = {"book": "[wh]book", "drink": "drink[/]", "who": f":smile: [31mred می\u200cخواهم {hostile}"}
    for number, (movement, gloss) in enumerate(glosses.items()):
        for index in range(8):
            split = "train" if index < 6 else "val"
            clip = moving_clip(f"{movement}-{index}", movement, split, 10 * number + index)
            clip = replace(clip, record=clip.record.model_copy(update={"gloss": gloss}))
            directory_store.create(keys.clip("wlasl", clip.record.clip_id), dump(clip))
    flags = ["--store", directory_store.url, "--num-epochs", "1", "--hidden-dim", "8"]
    done = CliRunner().invoke(app, ["train", *flags])
    assert done.exit_code == 0, done.exception
    (best,) = [line for line in done.output.splitlines() if line.startswith("best ")]
    for shown in ("[wh]book ", "drink[/] ", f":smile: [31mred می\u200cخواهم {hostile} "):
        assert shown in best
    assert "\x1b" not in done.output
    assert "published" in done.output

    # Pages and drawings escape the names, and their text is no formula.
    for command in (
        ["analyze", "latest", "--out", "page"],
        ["features", "who-7", "--model", "signet", "--out", "who.html"],
    ):
        done = CliRunner().invoke(app, [*command, "--store", directory_store.url])
        assert done.exit_code == 0, done.exception
        assert "\x1b" not in done.output
    for page in ("page/analysis.html", "who.html"):
        text = (tmp_path / page).read_text()
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert(1)&lt;/script&gt; $x^2$" in text
    for drawing in (tmp_path / "page").glob("*.svg"):
        ElementTree.parse(drawing)  # noqa: S314  (made by this test)
