"""`signet import` detects the kind of the files, stores them, and a model trains on them."""

import itertools
import json
from pathlib import Path

import pytest

from tests.conftest import RunSignet
from tests.services.extractor.importing.signers import film, write_frames, write_tree


def _write_json(folder: Path) -> Path:
    """JSON files of three signs, five recordings each."""
    folder.mkdir()
    for sign, take in itertools.product(range(3), range(5)):
        shot = film(sign, take)
        frames = [
            {"pose": pose.round(4).tolist(), "left_hand": None, "right_hand": hands[1].round(4).tolist()}
            for pose, hands in zip(shot.pose, shot.hands, strict=True)
        ]
        (folder / f"sign{sign}_{take}.json").write_text(json.dumps({"sign": f"sign{sign}", "frames": frames}))
    return folder


@pytest.mark.parametrize("layout", ["1662", "126", "json"])
def test_a_model_trains_on_imported_landmarks(tmp_path: Path, run_signet: RunSignet, layout: str) -> None:
    if layout == "json":
        root = _write_json(tmp_path / "files")
    else:
        root = write_tree(tmp_path / "MP_Data", signs=3, takes=5, width=int(layout))
    status, printed, error = run_signet(["import", str(root), "--corpus", "signs"])
    assert (status, error) == (0, "")
    assert "3 glosses: sign0, sign1, sign2" in printed
    small = ["--num-epochs", "2", "--hidden-dim", "8", "--model-name", "signs"]
    status, printed, error = run_signet(["train", "--corpus", "signs", *small])
    assert status == 0, error
    status, printed, error = run_signet(["models", "--model-name", "signs"])
    assert status == 0, error
    assert "signs" in printed


def test_unusable_recordings_are_named_and_give_a_status_of_their_own(tmp_path: Path, run_signet: RunSignet) -> None:
    root = write_tree(tmp_path / "MP_Data", signs=1, takes=2, width=126)
    for frame in (root / "sign0/1").iterdir():
        frame.write_bytes(b"\x93NUMPY garbage")
    status, printed, _ = run_signet(["import", str(root)])
    assert status == 3
    assert "broken sign0/1 (shape): sign0/1: 0.npy: not a .npy file" in printed
    assert "note frame rate: 30 frames a second are assumed" in printed


def test_options_that_do_not_apply_are_refused(tmp_path: Path, run_signet: RunSignet) -> None:
    root = tmp_path / "data"
    write_frames(root / "hello/0", film(1).rows(126))
    for option, says in {
        "--first-glosses": "--first-glosses does not apply to files of the kind mp-data",
        "--width": "--width and --height belong together",
        "--splits": "--splits names a CSV file",
        "--kind": "--kind '100' does not exist. The kinds are archive, mp-data, json",
    }.items():
        status, _, error = run_signet(["import", str(root), option, "100"])
        assert status == 1
        assert says in error
