"""WLASL is read as it is published."""

import json
from pathlib import Path

import pytest

from services.extractor.sources.wlasl import read_wlasl
from signet.errors import InvalidInput, NotFound


def write(folder: Path, content: object) -> Path:
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    (folder / "clips/00001.mp4").touch()
    path = folder / "WLASL_v0.3.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


INSTANCE = {"video_id": "00001", "split": "train", "signer_id": 7, "url": "x", "bbox": []}
ENTRY = {"gloss": "book", "instances": [INSTANCE]}


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
        ("<html>", "web page"),
        ({"book": 1}, "unknown layout"),
        ([{"gloss": "book"}], "instances"),
        ([{"gloss": "book", "instances": [{"split": "val"}]}], "video_id"),
        ([], "no instance"),
        ([{"gloss": "book", "instances": [{"video_id": "../../etc/x", "split": "val"}]}], "'../../etc/x'"),
    ],
)
def test_metadata_without_a_usable_instance_is_refused_with_the_reason(
    tmp_path: Path, content: object, fault: str
) -> None:
    write(tmp_path, content)
    with pytest.raises(InvalidInput, match=fault):
        read_wlasl(tmp_path)


def test_missing_metadata_or_clips_give_an_error_that_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="--wlasl"):
        read_wlasl(tmp_path)
    (tmp_path / "nslt_100.json").touch()
    with pytest.raises(NotFound, match=r"The directory has nslt_100\.json"):
        read_wlasl(tmp_path)
    write(tmp_path, [ENTRY])
    (tmp_path / "clips/00001.mp4").rename(tmp_path / "clips/00001.swf")
    with pytest.raises(NotFound, match=r"1 file of clips not taken, because \.swf is not read: .*00001\.swf"):
        read_wlasl(tmp_path)
    (tmp_path / "clips/00001.swf").unlink()
    with pytest.raises(NotFound, match=r"no <video_id>\.mp4 file\. Put the clips there"):
        read_wlasl(tmp_path)
    with pytest.raises(NotFound, match="no such directory"):
        read_wlasl(tmp_path, tmp_path / "elsewhere")
