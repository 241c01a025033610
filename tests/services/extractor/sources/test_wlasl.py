"""WLASL is read as it is published, and the frames of each sign are found."""

import json
from pathlib import Path

import pytest

from services.extractor.sources.wlasl import Instance, read_wlasl, segment_of
from services.extractor.video.decode import Segment
from signet.errors import ClipError, InvalidInput, NotFound


def instance(start: int = 1, end: int = -1) -> Instance:
    return Instance("00001", "book", "train", "1", start, end)


def write(folder: Path, content: object) -> Path:
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    (folder / "clips/00001.mp4").touch()
    path = folder / "WLASL_v0.3.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


ENTRY = {
    "gloss": "book",
    "instances": [{"video_id": "00001", "split": "train", "signer_id": 7, "url": "x", "bbox": []}],
}


@pytest.mark.clips
def test_all_published_metadata_is_read(wlasl: Path) -> None:
    corpus = read_wlasl(wlasl)
    assert len(corpus.instances) == 21_083
    assert len({found.gloss for found in corpus.instances}) == 2_000
    there = [found for found in corpus.instances if corpus.has(found)]
    assert {found.split for found in there} == {"train", "val"}
    assert all(corpus.path(found).is_file() for found in there)


@pytest.mark.parametrize("place", ["clips", "videos", "."])
def test_clips_are_found_in_the_usual_directories(tmp_path: Path, place: str) -> None:
    write(tmp_path, [ENTRY])
    (tmp_path / "clips/00001.mp4").unlink()
    (tmp_path / place).mkdir(exist_ok=True)
    (tmp_path / place / "00001.mp4").touch()
    for given in (tmp_path, tmp_path / "WLASL_v0.3.json"):
        corpus = read_wlasl(given)
        assert corpus.path(corpus.instances[0]).is_file()
        assert corpus.instances[0].signer == "7"


def test_the_directory_of_clips_can_be_given(tmp_path: Path) -> None:
    path = write(tmp_path / "a", [ENTRY])
    (tmp_path / "b").mkdir()
    (tmp_path / "b/00002.mp4").touch()
    corpus = read_wlasl(path, tmp_path / "b")
    assert not corpus.has(corpus.instances[0])


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "Invalid JSON"),
        ('[{"gloss"', "Invalid JSON"),
        ("<html>", "Invalid JSON"),
        ({"book": 1}, "valid array"),
        ([{"gloss": "book"}], "instances"),
        ([{"gloss": "book", "instances": [{"video_id": "1", "split": "dev"}]}], "split"),
        ([{"gloss": "book", "instances": [{"split": "val"}]}], "video_id"),
        ([], "no instance"),
        ([ENTRY, ENTRY], "'00001' occurs 2 times"),
        ([{"gloss": "book", "instances": [{"video_id": "../../etc/x", "split": "val"}]}], "'../../etc/x'"),
    ],
)
def test_invalid_metadata_is_refused_with_the_position_of_the_fault(
    tmp_path: Path, content: object, fault: str
) -> None:
    write(tmp_path, content)
    with pytest.raises(InvalidInput, match=fault):
        read_wlasl(tmp_path)


def test_missing_metadata_or_clips_give_an_error_that_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="--wlasl"):
        read_wlasl(tmp_path)
    write(tmp_path, [ENTRY])
    (tmp_path / "clips/00001.mp4").unlink()
    with pytest.raises(NotFound, match=r"no <video_id>\.mp4 file\. Put the clips there"):
        read_wlasl(tmp_path)
    with pytest.raises(NotFound, match="no such directory"):
        read_wlasl(tmp_path, tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("start", "end", "frames", "expected"),
    [
        (1, -1, 60, Segment(1, 60)),
        (0, -1, 60, Segment(1, 60)),
        (11, -1, 60, Segment(11, 60)),
        (11, 40, 60, Segment(11, 40)),
        (60, 60, 60, Segment(60, 60)),
    ],
)
def test_a_segment_inside_the_video_is_taken_unchanged(start: int, end: int, frames: int, expected: Segment) -> None:
    assert segment_of(instance(start, end), frames) == (expected, "")


@pytest.mark.parametrize(
    ("start", "end", "frames"),
    [
        (101, 160, 60),  # as long as the segment
        (31, 90, 62),  # nearly so: trimming and re-encoding cost or give a few frames
        (1, 62, 60),
        (2000, 2100, 60),  # ends before the segment begins
        (2000, -1, 60),
    ],
)
def test_a_trimmed_clip_is_taken_whole_with_a_note(start: int, end: int, frames: int) -> None:
    segment, note = segment_of(instance(start, end), frames)
    assert segment == Segment(1, frames)
    assert "trimmed already" in note


@pytest.mark.parametrize(("start", "end", "frames"), [(50, 150, 60), (1, 100, 60), (40, 20, 60)])
def test_a_segment_outside_the_video_is_refused(start: int, end: int, frames: int) -> None:
    with pytest.raises(ClipError, match=f"frames {start} to {end}") as caught:
        segment_of(instance(start, end), frames)
    assert caught.value.reason == "outside"
