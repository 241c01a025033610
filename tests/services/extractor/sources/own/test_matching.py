"""The videos that tables name are found."""

import pytest

from services.extractor.sources.own.listing import list_folder
from services.extractor.sources.own.matching import VideoFinder
from tests.services.extractor.sources.own.conftest import MakeFiles


@pytest.fixture
def finder(make_files: MakeFiles) -> VideoFinder:
    return VideoFinder(list_folder(make_files("book/00335.mp4", "go/1.mov", "book/1.mp4", "go/Clip é.webm")).videos)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("book/00335.mp4", ["book/00335.mp4"]),
        ("book\\00335.MP4", ["book/00335.mp4"]),
        (r"C:\Users\me\videos\book\00335.mp4", ["book/00335.mp4"]),
        ("/home/me/book/00335", ["book/00335.mp4"]),
        ("./book/00335.avi", ["book/00335.mp4"]),
        ("335", ["book/00335.mp4"]),
        ("335.mp4", ["book/00335.mp4"]),
        ("clip e\u0301.webm", ["go/Clip é.webm"]),
        ("1.mov", ["go/1.mov"]),
        ("1.mp4", ["book/1.mp4"]),
        ("1", ["book/1.mp4", "go/1.mov"]),
        ("go/1", ["go/1.mov"]),
        ("absent.mp4", []),
        ("", []),
    ],
)
def test_a_video_is_found_by_the_longest_end_of_its_path(finder: VideoFinder, name: str, expected: list[str]) -> None:
    assert [str(video.relative) for video in finder.find(name)] == expected
