"""Own videos in folders become a model that predicts, with the commands of docs/data.md."""

import json
import shutil
import time
from pathlib import Path

import pytest

from services.local.stack import LocalStack
from signet.datasets.snapshot import read_snapshot_manifest
from signet.store import keys
from signet.store.options import open_store_option
from tests.conftest import RunSignet

pytestmark = pytest.mark.clips

GLOSSES, CLIPS = 2, 4


def _copy_clips(wlasl: Path, folder: Path) -> dict[str, Path]:
    """Copy the smallest clips of some glosses into folders; returns another clip of each gloss."""
    others = {}
    for entry in json.loads((wlasl / "WLASL_v0.3.json").read_text()):
        paths = [wlasl / f"clips/{found['video_id']}.mp4" for found in entry["instances"] if found["frame_end"] == -1]
        paths = sorted((path for path in paths if path.is_file()), key=lambda path: (path.stat().st_size, path.name))
        if len(paths) > CLIPS:
            (folder / entry["gloss"]).mkdir(parents=True)
            for number, path in enumerate(paths[:CLIPS]):
                shutil.copyfile(path, folder / entry["gloss"] / f"take {number}.mp4")
            others[entry["gloss"]] = paths[CLIPS]
        if len(others) == GLOSSES:
            break
    return others


@pytest.mark.timeout(600)
def test_folders_of_videos_become_a_model_that_predicts(
    wlasl: Path, run_signet: RunSignet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    others = _copy_clips(wlasl, tmp_path / "videos")
    gloss, clip = next(iter(others.items()))
    shutil.copyfile(tmp_path / f"videos/{gloss}/take 1.mp4", tmp_path / f"videos/{gloss}/take 1 (2).mp4")
    with LocalStack(tmp_path / "data", tmp_path / "videos") as stack:
        for name, value in stack.environment.items():
            monkeypatch.setenv(name, value)

        status, printed, _ = run_signet(["extract", "videos"])
        assert status == 0
        assert "splits were assigned: " in printed

        train = ["train", "--corpus", "videos", "--preset", "few", "--num-epochs", "6", "--branches", "1"]
        status, printed, error = run_signet(train)
        assert status == 0, error
        assert f"{GLOSSES} glosses" in printed

        store = open_store_option("", must_exist=True)
        (key,) = [info.key for info in store.list("datasets/videos/") if info.key.endswith("manifest.json")]
        manifest = read_snapshot_manifest(store, "videos", key.split("/")[2])
        assert key == keys.dataset_manifest("videos", manifest.version)
        assert manifest.vocabulary == tuple(sorted(others))
        same = [group for group in manifest.audit.identical if group[0].startswith(f"{gloss}-take_1-")]
        assert len(same) == 1
        assert same[0][1].startswith(f"{gloss}-take_1_2-")
        assert not manifest.audit.leaking

        deadline = time.monotonic() + 60
        status, printed, error = 1, "", "no model to serve yet"
        while "no model to serve yet" in error and time.monotonic() < deadline:  # it is picked up within seconds
            time.sleep(0.5)
            status, printed, error = run_signet(["predict", str(clip), "--top-k", "2"])
        assert status == 0, error
        assert all(name in printed for name in others)
