"""Splits are read from files that people write, or assigned by recording."""

from collections import Counter
from pathlib import Path

import pytest

from services.extractor.importing.unlabelled.splits import ClipLabels, assign_splits, read_splits
from signet.errors import InvalidInput, NotFound


def test_each_sign_is_in_train_and_signs_with_four_recordings_are_in_val() -> None:
    glosses = {f"{gloss}{index}": gloss for gloss, count in {"a": 3, "b": 4, "c": 10}.items() for index in range(count)}
    splits = assign_splits(glosses, [])
    counts = {gloss: Counter(splits[clip] for clip in glosses if glosses[clip] == gloss) for gloss in "abc"}
    assert counts == {"a": {"train": 3}, "b": {"train": 3, "val": 1}, "c": {"train": 8, "val": 2}}
    assert splits == assign_splits(dict(reversed(glosses.items())), [])


def test_copies_count_as_one_recording_and_stay_together() -> None:
    glosses = {f"{take}{copy}": "a" for take in "pqrstu" for copy in "0123"}
    splits = assign_splits(glosses, [[f"{take}{copy}" for copy in "0123"] for take in "pqrstu"])
    assert all(len({splits[f"{take}{copy}"] for copy in "0123"}) == 1 for take in "pqrstu")
    assert sum(split == "val" for split in splits.values()) == 4
    three = {clip: gloss for clip, gloss in glosses.items() if clip[0] in "pqr"}
    assert "val" not in assign_splits(three, [[f"{take}{copy}" for copy in "0123"] for take in "pqr"]).values()


def test_a_recording_under_two_signs_is_in_train() -> None:
    glosses = {f"{gloss}{index}": gloss for gloss in "ab" for index in range(5)}
    shared = ["a0", "b0"]
    splits = assign_splits(glosses, [shared])
    assert [splits[clip] for clip in shared] == ["train", "train"]


def test_a_file_of_splits_is_read_as_people_write_it(tmp_path: Path) -> None:
    path = tmp_path / "splits.csv"
    path.write_text("Clip;Split;Signer\nbook/0;Validation;1\nbook/1;;2\n")
    assert read_splits(path) == {"book/0": ClipLabels("", "val", "1"), "book/1": ClipLabels("", "", "2")}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name,split\na,train\n", "has no column clip"),
        ("clip,split\na,practice\n", "line 2: 'practice' is no split. The splits are train, val, test"),
        ("clip,split\na,train\na,val\n", "line 3: 'a' is listed twice"),
        ("clip,split\na,train,x\n", "line 2: has 1 more values"),
        ("clip,gloss\na,b\u202ec\n", "line 2: gloss or signer cannot be used"),
    ],
)
def test_a_faulty_file_of_splits_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "splits.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInput, match=says):
        read_splits(path)
    with pytest.raises(NotFound):
        read_splits(tmp_path / "none.csv")
