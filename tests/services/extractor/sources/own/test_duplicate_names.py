"""Names of copies are recognised."""

from pathlib import Path

import pytest

from services.extractor.sources.instances import Instance
from services.extractor.sources.own.duplicate_names import group_copies, original_name


@pytest.mark.parametrize(
    ("stem", "original"),
    [
        ("take - copy", "take"), ("take - copy (2)", "take"), ("copy of take", "take"), ("take_copy 3", "take"),
        ("take_aug1", "take"), ("take_flip", "take"), ("take-rot-15", "take"), ("take_bright1.2", "take"),
        ("aug_3_take", "take"), ("take_flip_noise", "take"), ("take_crop0.9_aug2", "take"),
        ("take", "take"), ("take_1", "take_1"), ("take 2", "take 2"), ("take (2)", "take (2)"), ("flip", "flip"),
        ("mirror_1", "1"), ("copyright", "copyright"), ("signer3_day2", "signer3_day2"), ("speed", "speed"),
    ],
)  # fmt: skip
def test_the_name_of_the_original_is_found(stem: str, original: str) -> None:
    assert original_name(stem) == original


def groups(*names: str) -> tuple[set[tuple[str, ...]], list[str]]:
    found, notes = group_copies(
        Path("/r"), [(Instance(name, name.split("/")[0], "", ""), Path("/r") / name) for name in names]
    )
    return set(found), notes


def test_copies_of_one_gloss_are_grouped() -> None:
    found, notes = groups("a/1.mp4", "a/1_flip.mp4", "a/1 (2).mp4", "a/2.mp4", "b/1.mp4", "a/3 (1).mp4", "a/3 (2).mp4")
    assert found == {("a/1.mp4", "a/1_flip.mp4", "a/1 (2).mp4")}
    assert not notes


def test_augmented_copies_without_their_original_are_grouped() -> None:
    assert groups("a/x_aug1.mp4", "a/x_aug2.mp4", "a/y_aug1.mp4")[0] == {("a/x_aug1.mp4", "a/x_aug2.mp4")}


def test_numbers_do_not_count_if_they_are_the_only_difference() -> None:
    found, notes = groups("a/rec.webm", "a/rec (1).webm", "a/rec (2).webm", "a/rec (3).webm")
    assert not found
    assert notes[0].startswith("all files of a differ only by a number in brackets")
