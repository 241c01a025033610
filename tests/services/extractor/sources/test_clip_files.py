"""The files of clips are found under the names that people and programs give them, and the others are named."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.extractor.sources.clip_files import READ_SUFFIXES, ClipFiles, find_clip_files, youtube_id
from services.extractor.sources.instances import Instance
from services.extractor.sources.segments import segment_of
from services.extractor.video.decode import Segment, Video, read_file
from tests.services.extractor.conftest import MakeVideo

PLACES = ("clips", "videos", "raw_videos_mp4", "raw_videos", ".")


def instance(video_id: str, gloss: str = "book", url: str = "", start: int = 1, end: int = -1) -> Instance:
    return Instance(video_id, gloss, "train", "1", start, end, url=url)


def find(folder: Path, instances: list[Instance], *files: str) -> ClipFiles:
    """What is found of these instances among these files."""
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    return find_clip_files([folder / place for place in PLACES], instances)


@pytest.mark.parametrize("suffix", [*READ_SUFFIXES, ".MP4", ".MOV", ".WebM", ".MKV", ".mp4.mp4", ".MP4.mp4"])
@pytest.mark.parametrize("place", PLACES)
def test_a_clip_of_any_suffix_is_found_in_every_usual_directory(tmp_path: Path, place: str, suffix: str) -> None:
    found = find(tmp_path, [instance("00335")], f"{place}/00335{suffix}")
    assert found.paths == {"00335": tmp_path / place / f"00335{suffix}"}
    assert found.names == {f"00335{suffix}"}
    assert found.notes == ()


def test_clips_of_all_directories_are_taken(tmp_path: Path) -> None:
    found = find(tmp_path, [instance("1"), instance("2"), instance("3")], "clips/1.mp4", "raw_videos/2.mov", "3.avi")
    assert found.paths == {"1": tmp_path / "clips/1.mp4", "2": tmp_path / "raw_videos/2.mov", "3": tmp_path / "3.avi"}
    assert found.notes == ()


@pytest.mark.parametrize(
    "files",
    [
        ("clips/00335.mp4", "clips/00335.webm"),
        ("clips/00335.mp4", "clips/00335.MOV"),
        ("videos/00335.webm", "raw_videos/00335.mp4"),
        ("clips/00335.mp4", "clips/book/00335.mp4"),
        ("clips/00335.mp4", "clips/335.mp4"),
        ("videos/00335.mp4", "clips/335.mp4"),
        ("videos/00335.mp4", "clips/0UsjUE-TXns.mp4"),
    ],
)
def test_of_two_files_of_a_clip_a_note_says_which_is_taken(tmp_path: Path, files: tuple[str, str]) -> None:
    found = find(tmp_path, [instance("00335", url="https://youtu.be/0UsjUE-TXns")], *files)
    taken, other = (tmp_path / file for file in files)
    assert found.paths == {"00335": taken}
    assert found.notes == (f"1 clip with more than one file: {taken} is taken, not {other}",)


@pytest.mark.parametrize("folder", ["train", "val/thank you", "thank_you", "Thank You", "test/book"])
def test_folders_of_splits_and_glosses_are_searched(tmp_path: Path, folder: str) -> None:
    found = find(tmp_path, [instance("00335", "thank you"), instance("2", "book")], f"videos/{folder}/00335.mp4")
    assert found.paths == {"00335": tmp_path / "videos" / folder / "00335.mp4"}


def test_clips_in_another_folder_are_named(tmp_path: Path) -> None:
    found = find(tmp_path, [instance("1"), instance("2")], "clips/1.mp4", "clips/more/2.mp4", "hands/x.npz")
    assert found.paths.keys() == {"1"}
    (note,) = found.notes
    assert note.startswith(f"{tmp_path}/clips/more: 1 video not taken, because this folder is not named like")
    nothing = find_clip_files([tmp_path / "clips/more", tmp_path], [instance("1")])
    assert nothing.paths == {}
    assert f"{tmp_path}/clips: 1 video not taken" in nothing.notes[-1]


def test_a_gloss_with_the_name_of_a_usual_directory_does_not_count_its_clips_twice(tmp_path: Path) -> None:
    found = find(tmp_path, [instance("1", "videos"), instance("2", "clips")], "videos/1.mp4", "clips/clips/2.mp4")
    assert set(found.paths) == {"1", "2"}
    assert found.notes == ()


def test_an_unreadable_folder_that_is_not_searched_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clips/lost+found").mkdir(parents=True)
    listed = Path.iterdir

    def refuse(path: Path) -> Iterator[Path]:
        if path.name == "lost+found":  # root can read every folder, so the refusal is made here
            raise PermissionError
        return iter(listed(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    found = find(tmp_path, [instance("1")], "clips/1.mp4")
    assert (set(found.paths), found.notes) == ({"1"}, ())


def test_files_that_are_not_read_are_named(tmp_path: Path) -> None:
    files = (
        "raw_videos/1.swf",
        "clips/2.mp4.part",
        "clips/3",
        "clips/4.swf",
        "clips/4.mp4",
        "clips/5.jpg",
        "clips/.1.mp4",
    )
    found = find(tmp_path, [instance(str(number)) for number in range(1, 5)], *files)
    assert found.paths.keys() == {"4"}
    (note,) = found.notes
    assert note.startswith("3 files of clips not taken, because .part, .swf, a name without a suffix is not read: ")
    assert all(str(tmp_path / file) in note for file in files[:3])
    assert "ffmpeg" in note


def test_videos_whose_name_is_no_id_are_named(tmp_path: Path) -> None:
    found = find(tmp_path, [instance("1")], "clips/1.mp4", *(f"clips/book ({number}).mp4" for number in range(7)))
    (note,) = found.notes
    assert note.startswith(f"{tmp_path}/clips: 7 videos not taken, because the name is not a video_id of the metadata")
    assert note.endswith("book (0).mp4, book (1).mp4, book (2).mp4, book (3).mp4, book (4).mp4 and 2 more")


def test_leading_zeros_that_were_lost_are_restored(tmp_path: Path) -> None:
    ids = [instance("00335"), instance("336"), instance("07"), instance("007")]
    found = find(tmp_path, ids, "clips/335.mp4", "clips/00336.mp4", "clips/7.mp4")
    assert {video_id: path.name for video_id, path in found.paths.items()} == {"00335": "335.mp4", "00336": "00336.mp4"}
    assert found.restored_ids == {"336": "00336"}
    assert "2 clips with other leading zeros in the name of the file" in found.notes[0]
    assert "7.mp4" in found.notes[1]  # it could be 07 or 007


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://www.youtube.com/watch?v=0UsjUE-TXns", "0UsjUE-TXns"),
        ("https://youtu.be/0UsjUE-TXns", "0UsjUE-TXns"),
        ("https://www.youtube.com/embed/0UsjUE-TXns?rel=0", "0UsjUE-TXns"),
        ("https://m.youtube.com/watch?feature=x&v=0UsjUE-TXns&t=5", "0UsjUE-TXns"),
        ("https://www.youtube.com/shorts/0UsjUE-TXns", "0UsjUE-TXns"),
        ("http://aslbricks.org/New/ASL-Videos/book.mp4", ""),
        ("", ""),
    ],
)
def test_the_id_of_a_video_at_youtube_is_in_its_address(url: str, expected: str) -> None:
    assert youtube_id(url) == expected


def test_instances_of_one_video_of_youtube_are_segments_of_its_file(tmp_path: Path, make_video: MakeVideo) -> None:
    (tmp_path / "raw_videos").mkdir()
    shutil.move(make_video("long.mkv", frames=90, fps=30), tmp_path / "raw_videos/0UsjUE-TXns.mkv")
    url = "https://www.youtube.com/watch?v=0UsjUE-TXns"
    instances = [instance("1", "book", url, 1, 25), instance("2", "go", url, 26, 50)]
    found = find(tmp_path, instances)
    assert set(found.paths) == {"1", "2"}
    video = Video(read_file(found.paths["2"]), "long")
    assert segment_of(instances[1], video.times()) == (Segment(31, 60), "")
