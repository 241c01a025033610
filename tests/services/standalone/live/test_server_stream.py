"""`signet live --server` shows what an evaluator finds in the landmarks of a video."""

import shutil
from pathlib import Path

import pytest

from tests.conftest import RunSignet
from tests.services.evaluator.conftest import World
from tests.services.evaluator.test_process import started


@pytest.mark.clips
def test_an_evaluator_with_an_empty_store_recognises_live_signing(
    tmp_path: Path,
    talk: Path,
    run_signet: RunSignet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SIGNET_STORE")
    with started(World(tmp_path / "empty")) as process:
        status, output, error = run_signet(
            ["live", "--video", str(talk), "--server", process.address, "--threshold", "0"]
        )
        assert (status, error) == (0, "")
        *signs, summary = output.splitlines()
        assert len(signs) >= 2
        assert "dropped; asl100 " in summary
        status, _, error = run_signet(
            ["live", "--video", str(talk), "--server", process.address, "--model-name", "none"]
        )
        assert status == 1
        assert "none" in error


def test_a_server_that_cannot_be_reached_is_named(run_signet: RunSignet, tmp_path: Path) -> None:
    shutil.copy(__file__, tmp_path / "clip.mp4")
    status, _, error = run_signet(["live", "--video", str(tmp_path / "clip.mp4"), "--server", "127.0.0.1:9"])
    assert status == 1
    assert error.startswith("error: 127.0.0.1:9: cannot be reached")
