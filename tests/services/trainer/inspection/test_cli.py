"""`signet analyze` and `signet features`, as a person types them."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from services.trainer.cli import app
from signet.errors import InvalidInput, NotFound
from signet.landmarks import dump
from signet.store import keys
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


def test_a_run_is_written_beside_where_one_stands(runs: Runs) -> None:
    done = signet(runs, "analyze", SEEDS)
    assert done.exit_code == 0
    folder = Path(f"analysis-{SEEDS}")
    Page((folder / "analysis.html").read_text()).assert_alone()
    assert (folder / "curves.svg").is_file()
    assert f"page        analysis-{SEEDS}/analysis.html" in done.output
    assert "held out    exact" in done.output
    assert "caution     Few held-out clips" in done.output


def test_several_runs_are_one_page_and_are_kept_where_that_is_asked(copied: Runs) -> None:
    done = signet(copied, "analyze", SEEDS, LINEAR, "--out", "there", "--keep", "--clips", "0")
    assert done.exit_code == 0
    assert "2 runs side by side" in Page(Path("there/analysis.html").read_text()).words
    kept = keys.run(SEEDS, f"analysis/with-{LINEAR}/analysis.html")
    assert copied.store.get(kept).decode() == Path("there/analysis.html").read_text()
    assert not list(Path("there").glob("*strip*"))


def test_latest_is_the_newest_run_and_what_is_missing_is_said(copied: Runs) -> None:
    for info in list(copied.store.list(f"runs/{INTERRUPTED}/")):
        copied.store.put(info.key.replace(INTERRUPTED, "zzz"), copied.store.get(info.key))
    done = signet(copied, "analyze", "latest")
    assert "run         zzz, interrupted" in done.output
    assert "missing     The run was interrupted" in done.output


def test_a_run_that_is_named_twice_and_one_that_is_not_there_are_refused(runs: Runs) -> None:
    with pytest.raises(InvalidInput, match="named twice"):
        signet(runs, "analyze", SEEDS, SEEDS)
    with pytest.raises(NotFound, match="signet runs"):
        signet(runs, "analyze", "nope")
    assert not list(Path().iterdir())


def test_a_place_that_cannot_be_written_is_named(runs: Runs) -> None:
    Path("taken").write_text("a file")
    assert signet(runs, "analyze", SEEDS, "--out", "taken").exit_code == 2
    with pytest.raises(InvalidInput, match=r"taken/below: cannot be written.*--out"):
        signet(runs, "analyze", SEEDS, "--out", "taken/below", "--clips", "0")


def test_a_clip_is_shown_by_its_id_and_by_its_file(runs: Runs) -> None:
    assert "page        features-who-6.html" in signet(runs, "features", "who-6").output
    Path("tensor.safetensors").write_bytes(dump(moving_clip("who-6", "who", "val", 26)))
    signet(runs, "features", "tensor.safetensors", "--out", "other.html")
    page = Page(Path("features-who-6.html").read_text())
    page.assert_alone()
    assert page.html == Path("other.html").read_text()


def test_a_clip_a_file_or_a_model_that_is_not_there_is_named(runs: Runs) -> None:
    with pytest.raises(NotFound, match=r"corpus 'wlasl' has no clip 'nope'.*--corpus"):
        signet(runs, "features", "nope")
    with pytest.raises(InvalidInput, match=r"nope\.safetensors: this file cannot be read"):
        signet(runs, "features", "nope.safetensors")
    with pytest.raises(NotFound, match="signet models"):
        signet(runs, "features", "who-6", "--model", "nope")
