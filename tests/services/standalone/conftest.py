"""Videos of real signing for the commands that need no server."""

import json
from pathlib import Path

import pytest

from signet.pretrained import read_bundled_card
from tests.services.standalone.videos import join_clips


@pytest.fixture(scope="session")
def val_clips(wlasl: Path) -> dict[str, Path]:
    """A val clip of each gloss of the bundled model, as far as there is one."""
    vocabulary = set(read_bundled_card().vocabulary)
    found: dict[str, Path] = {}
    for entry in json.loads((wlasl / "WLASL_v0.3.json").read_text()):
        for instance in entry["instances"]:
            path = wlasl / "clips" / f"{instance['video_id']}.mp4"
            if entry["gloss"] in vocabulary and instance["split"] == "val" and path.exists():
                found.setdefault(entry["gloss"], path)
    return found


@pytest.fixture(scope="session")
def talk(val_clips: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of some seconds with several signs."""
    path = tmp_path_factory.mktemp("talk") / "my talk.mp4"
    join_clips(list(val_clips.values())[:5], path)
    return path
