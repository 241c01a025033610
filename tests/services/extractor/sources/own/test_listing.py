"""Everything below a folder is listed: videos, other files, and what cannot be read."""

import os
import unicodedata
from pathlib import Path

import pytest

from services.extractor.sources.own.listing import list_folder
from tests.services.extractor.sources.own.conftest import MakeFiles


def test_videos_are_found_at_any_depth_and_hidden_files_are_not(make_files: MakeFiles) -> None:
    root = make_files(
        "b/1.MP4", "a/deep/2.webm", "a/3.gif", "a/._3.gif", ".git/4.mp4", "__MACOSX/a/5.mp4", "a/Thumbs.db"
    )
    content = list_folder(root)
    assert [str(video.relative) for video in content.videos] == ["a/3.gif", "a/deep/2.webm", "b/1.MP4"]
    assert not content.others
    assert {name: len(videos) for name, videos in content.top_folders.items()} == {"a": 2, "b": 1}


def test_everything_else_is_named(make_files: MakeFiles) -> None:
    root = make_files("a/1.mp4", "a/2.wmv", "notes.txt")
    (root / "empty").mkdir()
    (root / "a/gone.mp4").symlink_to(root / "nowhere.mp4")
    (root / "a/circle").symlink_to(root)
    os.mkfifo(root / "a/pipe.mp4")
    content = list_folder(root)
    assert [str(video.relative) for video in content.videos] == ["a/1.mp4"]
    assert [str(path) for path in content.convertible] == ["a/2.wmv"]
    assert [str(path) for path in content.others] == ["a/pipe.mp4", "notes.txt"]
    assert [str(path) for path in content.broken_links] == ["a/circle", "a/gone.mp4"]
    assert [str(path) for path in content.empty] == ["empty"]


def test_links_to_videos_and_folders_are_followed(make_files: MakeFiles, tmp_path: Path) -> None:
    root = make_files("a/1.mp4")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/2.mp4").touch()
    (root / "b").symlink_to(tmp_path / "elsewhere")
    (root / "a/3.mp4").symlink_to(tmp_path / "elsewhere/2.mp4")
    assert [str(video.relative) for video in list_folder(root).videos] == ["a/1.mp4", "a/3.mp4", "b/2.mp4"]


def test_names_of_macos_are_read_in_the_usual_form(make_files: MakeFiles) -> None:
    (video,) = list_folder(make_files(unicodedata.normalize("NFD", "café/é.mp4"))).videos
    assert str(video.relative) == "café/é.mp4"
    assert video.path.is_file()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_is_named(make_files: MakeFiles) -> None:
    root = make_files("a/1.mp4", "b/2.mp4")
    (root / "b").chmod(0)
    content = list_folder(root)
    (root / "b").chmod(0o700)
    assert [str(path) for path in content.unreadable] == ["b"]
