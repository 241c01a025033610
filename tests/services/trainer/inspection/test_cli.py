"""The commands `signet analyze` and `signet features`."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from services.trainer.cli import app
from signet.errors import InvalidInput, NotFound
from signet.landmarks import dump
from signet.store import DirectoryStore, keys
from tests.services.trainer.conftest import moving_clip
from tests.services.trainer.inspection.conftest import INTERRUPTED, LINEAR, SEEDS, Runs
from tests.strict_html import Page


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def signet(runs: Runs, *arguments: str) -> Result:
    done = CliRunner().invoke(app, [*arguments, "--store", runs.store.url])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_the_page_of_a_run_is_written_to_a_folder_of_its_own(runs: Runs) -> None:
    done = signet(runs, "analyze", SEEDS)
    assert done.exit_code == 0
    folder = Path(f"analysis-{SEEDS}")
    Page((folder / "analysis.html").read_text()).assert_alone()
    assert (folder / "curves.svg").is_file()
    assert f"page        analysis-{SEEDS}/analysis.html" in done.output
    assert "held out    exact" in done.output
    assert "caution     Few held-out clips" in done.output


def test_several_runs_have_one_page_and_keep_writes_it_to_the_store(copied: Runs) -> None:
    done = signet(copied, "analyze", SEEDS, LINEAR, "--out", "there", "--keep", "--clips", "0")
    assert done.exit_code == 0
    assert "2 runs side by side" in Page(Path("there/analysis.html").read_text()).words
    kept = keys.run(SEEDS, f"analysis/with-{LINEAR}/analysis.html")
    assert copied.store.get(kept).decode() == Path("there/analysis.html").read_text()
    assert not list(Path("there").glob("*strip*"))


def test_latest_is_the_newest_run_and_what_is_missing_is_printed(copied: Runs) -> None:
    for info in list(copied.store.list(f"runs/{INTERRUPTED}/")):
        copied.store.put(info.key.replace(INTERRUPTED, "zzz"), copied.store.get(info.key))
    done = signet(copied, "analyze", "latest")
    assert "run         zzz, interrupted" in done.output
    assert "missing     The run was interrupted" in done.output


def test_a_repeated_run_and_an_unknown_run_are_errors(runs: Runs) -> None:
    with pytest.raises(InvalidInput, match="named twice"):
        signet(runs, "analyze", SEEDS, SEEDS)
    with pytest.raises(NotFound, match="signet runs"):
        signet(runs, "analyze", "nope")
    assert not list(Path().iterdir())


def test_a_folder_that_cannot_be_written_is_an_error_that_names_it(runs: Runs) -> None:
    Path("taken").write_text("a file")
    assert signet(runs, "analyze", SEEDS, "--out", "taken").exit_code == 2
    with pytest.raises(InvalidInput, match=r"taken/below: cannot be written.*--out"):
        signet(runs, "analyze", SEEDS, "--out", "taken/below", "--clips", "0")


def test_a_tilde_in_out_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No shell expands the ~ of --out=~/x, and a folder of that name would be made."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    Path("clip.safetensors").write_bytes(dump(moving_clip("c1", "book", "train", 1)))
    CliRunner().invoke(app, ["features", "clip.safetensors", "--out=~/pages/x.html"], catch_exceptions=False)
    assert (tmp_path / "home/pages/x.html").is_file()
    assert not Path("~").exists()
    with pytest.raises(InvalidInput, match="~no-such-user-here has no home directory"):
        CliRunner().invoke(
            app, ["features", "clip.safetensors", "--out=~no-such-user-here/x.html"], catch_exceptions=False
        )


def test_a_clip_can_be_named_by_its_id_or_its_file(runs: Runs) -> None:
    assert "page        features-who-6.html" in signet(runs, "features", "who-6").output
    Path("tensor.safetensors").write_bytes(dump(moving_clip("who-6", "who", "val", 26)))
    signet(runs, "features", "tensor.safetensors", "--out", "other.html")
    page = Page(Path("features-who-6.html").read_text())
    page.assert_alone()
    assert page.html == Path("other.html").read_text()


def test_an_unknown_clip_file_or_model_is_an_error_that_names_it(runs: Runs) -> None:
    with pytest.raises(NotFound, match=r"corpus 'wlasl' has no clip 'nope'.*--corpus"):
        signet(runs, "features", "nope")
    with pytest.raises(InvalidInput, match=r"nope\.safetensors: this file cannot be read"):
        signet(runs, "features", "nope.safetensors")
    with pytest.raises(NotFound, match="signet models"):
        signet(runs, "features", "who-6", "--model", "nope")


# The files of runs of an older version, without snapshots and weights. That version had settings and records that were
# removed since: auxiliary glosses, the mean of the last epochs, the plateau schedule and the collapse watch.
OLD_RUNS = Path(__file__).parent / "golden"


@pytest.fixture
def old_runs(tmp_path: Path) -> Runs:
    shutil.copytree(OLD_RUNS, tmp_path / "old")
    return Runs(DirectoryStore(tmp_path / "old"))


def test_runs_of_an_older_version_are_listed(old_runs: Runs) -> None:
    lines = [line.split() for line in signet(old_runs, "runs").output.splitlines()]
    assert ["old-seeds", "succeeded", "2/2", "14", "66.7", "%"] in lines
    assert ["old-interrupted", "interrupted", "0/2", "4"] in lines
    assert ["old-folds", "succeeded", "2/2", "6", "62.5", "%"] in lines
    assert ["old-collapsed", "succeeded", "40", "33.3", "%"] in lines


@pytest.mark.parametrize(
    ("run_id", "lines", "words"),
    [
        ("old-seeds", ["held out    exact 66.7 ± 0.0 %"], ["over 2 seeds", "--average-last", "plateau"]),
        ("old-folds", ["held out    exact 62.5 %"], ["2 folds of signers", "--auxiliary-glosses"]),
        ("old-interrupted", ["`signet train --resume old-interrupted`"], ["This run was interrupted"]),
        (
            "old-collapsed",
            ["fault       Blank collapse", "note        The trainer intervened"],
            ["epoch 39: blank collapse: 35 epochs of silence"],
        ),
    ],
)
def test_a_run_of_an_older_version_is_analyzed(old_runs: Runs, run_id: str, lines: list[str], words: list[str]) -> None:
    done = signet(old_runs, "analyze", run_id)
    assert done.exit_code == 0
    page = Page(Path(f"analysis-{run_id}/analysis.html").read_text())
    page.assert_alone()
    assert page.with_class("curves") == 1
    assert "cannot read the configuration" not in done.output
    for line in lines:
        assert line in done.output
    for said in words:
        assert said in page.words


def test_runs_of_an_older_version_are_compared(old_runs: Runs) -> None:
    assert signet(old_runs, "analyze", "old-seeds", "old-collapsed", "--out", "compared").exit_code == 0
    page = Page(Path("compared/analysis.html").read_text())
    assert "--scheduleplateauone-cycle --average-last30 --keep-best01" in page.words
    assert "A → B62202−33.30.5" in page.words, (
        "6 clips: 2 right in both runs, 2 only in the first, 0 only in the second"
    )
