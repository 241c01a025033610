"""The lists of WLASL's subsets are read as the mirror on Kaggle lays them out."""

import json
from pathlib import Path

import pytest

from services.extractor.sources.detection import read_corpus
from signet.errors import InvalidInput, NotFound

LIST = {
    "05237": {"subset": "train", "action": [1, 1, 55]},
    "00335": {"subset": "val", "action": [0, 10, 60]},
    "00336": {"subset": "test", "action": [0, 1, -1]},
    "x": {"subset": "test", "action": [9, 1, 5]},
    "../y": {"subset": "test", "action": [0, 1, 5]},
    "z": {"subset": "test", "action": [0, 1]},
}


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    (tmp_path / "videos").mkdir()
    for name in ("05237", "00335"):
        (tmp_path / f"videos/{name}.mp4").touch()
    (tmp_path / "nslt_100.json").write_text(json.dumps({"05237": LIST["05237"]}))
    (tmp_path / "nslt_2000.json").write_text(json.dumps(LIST))
    (tmp_path / "wlasl_class_list.txt").write_text("0\tbook\n1\tice cream\n")
    (tmp_path / "missing.txt").write_text("00336\n")
    return tmp_path


def test_the_largest_list_is_read_with_the_glosses_of_the_classes(mirror: Path) -> None:
    corpus = read_corpus(mirror)
    read = [(found.clip_id, found.gloss, found.split, found.frame_start, found.frame_end) for found in corpus.instances]
    assert read == [
        ("05237", "ice cream", "train", 1, 55), ("00335", "book", "val", 10, 60), ("00336", "book", "test", 1, -1)
    ]  # fmt: skip
    assert [corpus.has(found) for found in corpus.instances] == [True, True, False]
    assert (corpus.default_name, corpus.default_max_glosses, corpus.has_splits) == ("wlasl", 20, True)
    said = "\n".join(corpus.notes)
    for what in (
        "has no such class: x",
        "dashes and underscores: ../y",
        "action is not [class, first frame",
        "no signers",
    ):
        assert what in said
    assert "missing.txt" not in said


def test_a_file_chooses_a_subset(mirror: Path) -> None:
    assert [found.clip_id for found in read_corpus(mirror / "nslt_100.json").instances] == ["05237"]


def test_videos_that_are_absent_and_not_listed_as_missing_are_said(mirror: Path) -> None:
    (mirror / "videos/00335.mp4").unlink()
    note = "1 clip without a file, although missing.txt does not list them (00335)"
    assert any(note in found for found in read_corpus(mirror).notes)


def test_signers_come_from_the_metadata_of_wlasl_beside_it(mirror: Path) -> None:
    entry = {
        "video_id": "05237",
        "split": "val",
        "signer_id": 9,
        "frame_start": 1,
        "frame_end": -1,
        "bbox": [1, 2, 3, 4],
    }
    (mirror / "WLASL_v0.3.json").write_text(json.dumps([{"gloss": "ice cream", "instances": [entry]}]))
    (found,) = read_corpus(mirror / "nslt_100.json").instances
    assert (found.signer, found.box, found.split, found.frame_end) == ("9", (1, 2, 3, 4), "train", 55)
    whole = read_corpus(mirror)
    assert [(found.split, found.frame_end) for found in whole.instances] == [("val", -1)]
    assert "name its list: nslt_2000.json, nslt_100.json" in whole.notes[-1]


def test_a_missing_or_damaged_class_list_is_refused(mirror: Path) -> None:
    (mirror / "wlasl_class_list.txt").write_text("book\n")
    with pytest.raises(InvalidInput, match=r"class_list\.txt: has no line with a number, a tab and a gloss"):
        read_corpus(mirror)
    (mirror / "wlasl_class_list.txt").unlink()
    with pytest.raises(NotFound, match=r"class_list\.txt: no such file.*or give WLASL_v0\.3\.json"):
        read_corpus(mirror)
