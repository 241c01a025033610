"""Examples are read from files of both kinds, and all files that cannot be used are named."""

from collections.abc import Callable
from pathlib import Path

import pytest

from services.evaluator.enrolment.examples import UnusableExamples
from services.standalone.enrolment.example_files import explain_unusable_examples, read_examples
from signet import landmarks
from signet.errors import InvalidInput
from signet.landmarks import Landmarks


def ignore(_done: int) -> None:
    """Show nothing."""


def test_landmark_files_are_read_in_their_order(tmp_path: Path, make_clip: Callable[..., Landmarks]) -> None:
    paths = [tmp_path / f"{name}.safetensors" for name in "ba"]
    for path in paths:
        path.write_bytes(landmarks.dump(make_clip(path.stem)))
    counts: list[int] = []
    examples = read_examples(paths, counts.append)
    assert [(example.name, example.landmarks) for example in examples] == [
        (str(path), path.read_bytes()) for path in paths
    ]
    assert counts == [1, 2]


def test_every_unusable_file_is_named_with_its_path(
    tmp_path: Path, make_clip: Callable[..., Landmarks], capsys: pytest.CaptureFixture[str]
) -> None:
    good, page, missing = tmp_path / "good.safetensors", tmp_path / "page.mp4", tmp_path / "missing.mp4"
    good.write_bytes(landmarks.dump(make_clip()))
    page.write_text("<!DOCTYPE html><html></html>")
    with pytest.raises(UnusableExamples) as caught:
        read_examples([good, page, missing], ignore)
    faults = caught.value.faults
    assert [fault.partition(": ")[0] for fault in faults] == [str(page), str(missing)]
    assert faults[0].startswith(f"{page}: a web page, not a video")
    with pytest.raises(InvalidInput, match="2 of 3 examples cannot be used"), explain_unusable_examples():
        raise caught.value
    assert capsys.readouterr().err.splitlines() == [f"error: {fault}" for fault in faults]


def test_a_single_unusable_file_is_the_whole_message(tmp_path: Path) -> None:
    with pytest.raises(UnusableExamples) as caught, explain_unusable_examples():
        read_examples([tmp_path / "missing.safetensors"], ignore)
    assert str(caught.value).startswith(f"{tmp_path}/missing.safetensors: cannot be read (No such file or directory)")


def test_a_file_that_is_given_twice_is_refused_also_by_another_path(tmp_path: Path) -> None:
    path, link = tmp_path / "a.mp4", tmp_path / "b.mp4"
    path.write_text("")
    link.symlink_to(path)
    for second, words in ((path, "a.mp4: this file is given twice. Give"), (link, "b.mp4: .* twice, first as .*a.mp4")):
        with pytest.raises(InvalidInput, match=words):
            read_examples([path, second], ignore)
