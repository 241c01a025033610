"""The glosses of videos come from their folders."""

import pytest

from services.extractor.sources.own.folder_labels import FolderLabels
from services.extractor.sources.own.listing import list_folder
from signet.errors import InvalidInput
from tests.services.extractor.sources.own.conftest import MakeFiles


def read(make_files: MakeFiles, *names: str) -> tuple[dict[str, str], list[str]]:
    root = make_files(*names)
    content = list_folder(root)
    labels = FolderLabels(root, content)
    found = {str(video.relative): labels.find(video) for video in content.videos}
    return {name: f"{label.split}:{label.gloss}" if label else "" for name, label in found.items()}, labels.notes()


def test_a_folder_with_videos_is_a_gloss(make_files: MakeFiles) -> None:
    found, notes = read(
        make_files, "ice cream [cold]/1.mp4", "手話/a/2.mp4", "手話/1.mp4", "backup/old/1.mp4", "loose.mp4"
    )
    assert found == {
        "ice cream [cold]/1.mp4": ":ice cream [cold]",
        "手話/1.mp4": ":手話",
        "手話/a/2.mp4": ":手話",
        "backup/old/1.mp4": "",
        "loose.mp4": "",
    }
    assert not notes


def test_folders_of_splits_may_be_above_the_glosses(make_files: MakeFiles) -> None:
    found, _ = read(make_files, "Train/book/1.mp4", "validation/book/2.mp4", "test/go/3.mp4")
    assert found == {
        "Train/book/1.mp4": "train:book",
        "validation/book/2.mp4": "val:book",
        "test/go/3.mp4": "test:go",
    }


def test_a_folder_that_is_named_like_a_split_and_holds_videos_is_a_gloss(make_files: MakeFiles) -> None:
    assert read(make_files, "train/1.mp4", "bus/1.mp4")[0] == {"train/1.mp4": ":train", "bus/1.mp4": ":bus"}


def test_names_that_cannot_be_glosses_or_may_be_mistakes_are_said(make_files: MakeFiles) -> None:
    _, notes = read(make_files, "a\u202eb/1.mp4", "Book/1.mp4", "book/2.mp4")
    assert "character 2 is U+202E" in notes[0]
    assert notes[1] == "'Book' and 'book' count as different glosses. If they are one, use one folder"


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (
            ["1.mp4", "2.mp4"],
            r"It holds 2 videos \(1\.mp4, 2\.mp4\) and no folder with videos\. .*name the folder above",
        ),
        (["signs/book/1.mp4", "signs/go/1.mp4"], r"If book, go are glosses, name their folder: .*/signs"),
        (
            ["ann/book/1.mp4", "bob/go/1.mp4"],
            r"2 folders \(ann, bob\) with videos only in folders below them.*give a table",
        ),
        (["clips/1.mp4", "raw_videos/1.mp4"], r"It holds videos in clips, raw_videos, which is no gloss\."),
        (["videos/1.mp4", "labels.json"], r"videos in videos, which is no gloss, and labels\.json\..*--table"),
    ],
)
def test_an_unclear_folder_is_refused_with_what_it_holds_and_what_is_expected(
    make_files: MakeFiles, names: list[str], says: str
) -> None:
    with pytest.raises(InvalidInput, match=says) as error:
        read(make_files, *names)
    assert "Expected is a folder for each gloss" in str(error.value)
