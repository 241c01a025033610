"""Own videos are read as a corpus, from folders or tables."""

from pathlib import Path

import pytest

from services.extractor.sources.corpus import VideoCorpus
from services.extractor.sources.instances import FRAMES_OF_VIDEO
from services.extractor.sources.own.videos import read_own_videos
from signet.errors import InvalidInput, NotFound
from tests.services.extractor.sources.own.conftest import MakeFiles


def labels(corpus: VideoCorpus) -> dict[str, tuple[str, str, str]]:
    return {
        corpus.path(found).relative_to(corpus.folder).as_posix(): (found.gloss, found.split, found.signer)
        for found in corpus.instances
    }


def test_folders_of_glosses_are_a_corpus_without_splits(make_files: MakeFiles) -> None:
    root = make_files("book/1.mp4", "go/1.webm", "go/more/2.gif", "readme.txt", "loose.mp4", "go/3.flv")
    (root / "later").mkdir()
    corpus = read_own_videos(root)
    assert labels(corpus) == {
        "book/1.mp4": ("book", "", ""),
        "go/1.webm": ("go", "", ""),
        "go/more/2.gif": ("go", "", ""),
    }
    assert (corpus.has_splits, corpus.default_name, corpus.default_max_glosses) == (False, "videos", 0)
    assert corpus.names == {"book/1.mp4", "go/1.webm", "go/more/2.gif", "loose.mp4"}
    said = "\n".join(corpus.notes)
    for what in (
        "1 video in a folder below the folder of their gloss: go/more/2.gif",
        "1 video not taken, because they are in no folder of a gloss, which holds videos itself: loose.mp4",
        "1 video of a format that is not read. Convert to MP4, for example with ffmpeg: go/3.flv",
        "1 file that is no video, not read: readme.txt",
        "1 folder that is empty: later",
    ):
        assert what in said


def test_folders_of_splits_give_the_splits(make_files: MakeFiles) -> None:
    corpus = read_own_videos(make_files("train/book/1.mp4", "val/book/1.mp4"))
    assert corpus.has_splits
    assert labels(corpus) == {"train/book/1.mp4": ("book", "train", ""), "val/book/1.mp4": ("book", "val", "")}


def test_one_gloss_is_read_with_a_warning(make_files: MakeFiles) -> None:
    assert "A training needs two glosses or more" in read_own_videos(make_files("book/1.mp4")).notes[-1]


def test_a_folder_without_videos_says_what_is_expected_and_what_was_found(make_files: MakeFiles) -> None:
    root = make_files("book/1.txt", "book/2.wmv")
    with pytest.raises(NotFound, match=r"has no video\. Expected is a folder for each gloss.*2\.wmv.*1\.txt"):
        read_own_videos(root)


def test_ids_stay_when_the_folder_is_renamed(make_files: MakeFiles, tmp_path: Path) -> None:
    root = make_files("book/1.mp4", "go/1.mp4")
    before = [found.clip_id for found in read_own_videos(root).instances]
    root.rename(tmp_path / "other")
    assert [found.clip_id for found in read_own_videos(tmp_path / "other").instances] == before


def test_a_table_completes_what_folders_say(make_files: MakeFiles) -> None:
    root = make_files("book/1.mp4", "go/1.mp4", "go/2.mp4")
    (root / "videos.csv").write_text("file;signer;split\nbook\\1.mp4;ann;train\ngo/1.mp4;bob;val\n")
    corpus = read_own_videos(root)
    assert labels(corpus) == {"book/1.mp4": ("book", "train", "ann"), "go/1.mp4": ("go", "val", "bob")}
    assert "1 video not taken, because no row names them: go/2.mp4" in corpus.notes
    assert corpus.metadata == (root / "videos.csv",)


def test_a_table_gives_glosses_and_parts_of_videos_in_any_folder(make_files: MakeFiles, tmp_path: Path) -> None:
    root = make_files("a.mp4", "x/y/b.mp4")
    table = tmp_path / "signs.csv"
    table.write_text("file,gloss,start,end,start_frame\na.mp4,book,0.5,1.5,\na.mp4,go,2,,\nb,go,,,5\nc.mp4,go,,,\n")
    corpus = read_own_videos(root, tables=[table])
    assert not corpus.has_splits
    spans = [(found.gloss, found.start_seconds, found.end_seconds, found.frame_start) for found in corpus.instances]
    assert spans == [("book", 0.5, 1.5, 1), ("go", 2.0, 0.0, 1), ("go", 0.0, 0.0, 5), ("go", 0.0, 0.0, 1)]
    assert corpus.instances[2].fps == FRAMES_OF_VIDEO
    assert [corpus.has(found) for found in corpus.instances] == [True, True, True, False]
    assert len({found.clip_id for found in corpus.instances}) == 4
    assert corpus.path(corpus.instances[0]) == corpus.path(corpus.instances[1]) == root / "a.mp4"


def test_rows_that_cannot_be_used_are_named(make_files: MakeFiles) -> None:
    root = make_files("book/1.mp4", "go/1.mp4", "loose.mp4")
    (root / "metadata.csv").write_text(
        "file,gloss,split\n1,book,train\nbook/1.mp4,book,train\nbook/1.mp4,book,train\ngo/1.mp4,go,train\n"
        "go/1.mp4,went,train\nloose.mp4,,train\n"
    )
    corpus = read_own_videos(root)
    assert labels(corpus) == {"book/1.mp4": ("book", "train", "")}
    said = "\n".join(corpus.notes)
    assert "several videos have this name, so add their folders: 1 (line 2)" in said
    assert "1 clip left out, because rows contradict each other: go-1-" in said
    assert "it has no gloss, and its folder is none of a gloss: loose.mp4 (line 7)" in said


def test_a_table_without_a_usable_row_is_refused(make_files: MakeFiles) -> None:
    root = make_files("1.mp4")
    (root / "videos.csv").write_text("file\n1.mp4\n")
    with pytest.raises(InvalidInput, match=r"videos\.csv: no clip can be used\..*it has no gloss.*columns file, gloss"):
        read_own_videos(root)
