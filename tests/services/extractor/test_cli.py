"""`signet extract` takes own videos, and says what it did with them."""

import shutil
from pathlib import Path

import pytest

from signet.landmarks import ClipRecord, load
from signet.store import DirectoryStore
from tests.conftest import RunSignet
from tests.services.extractor.conftest import MakeVideo


@pytest.fixture
def videos(make_video: MakeVideo, tmp_path: Path) -> Path:
    """Two glosses with four videos each, which show no signer, and an HTML page that is named like a video."""
    root = tmp_path / "videos"
    for gloss in ("ice cream", "手話"):
        (root / gloss).mkdir(parents=True)
        for number in range(4):
            path = make_video(f"{gloss}{number}.mp4", frames=10 + number, size=(64 + 16 * len(gloss), 48))
            shutil.move(path, root / gloss / f"{number}.mp4")
    (root / "手話/page.mp4").write_text("<!doctype html><html>gone</html>")
    (root / "notes.txt").touch()
    return root


def records(tmp_path: Path) -> list[ClipRecord]:
    store = DirectoryStore(tmp_path / "store")
    return [load(store.get(info.key)).record for info in store.list("landmarks/")]


def test_own_videos_are_extracted_and_the_same_command_resumes(
    videos: Path, run_signet: RunSignet, tmp_path: Path
) -> None:
    status, printed, _ = run_signet(["extract", "videos", "--workers", "1"])
    assert status == 3
    for said in (
        "(html)",
        "1 file that is no video, not read: notes.txt",
        "splits were assigned: 7 clips train, 2 val",
        "2 glosses: ",
        "Train on them: signet train --corpus videos --preset few",
    ):
        assert said in printed
    stored = records(tmp_path)
    assert sorted({record.gloss for record in stored}) == ["ice cream", "手話"]
    assert {record.corpus for record in stored} == {"videos"}
    assert len(stored) == 8

    videos.rename(tmp_path / "renamed")
    _, printed, _ = run_signet(["extract", "renamed", "--workers", "1"])
    assert "present already" in printed
    assert "extracted" in printed
    assert records(tmp_path) == stored


def test_clips_that_were_moved_to_another_gloss_are_named(videos: Path, run_signet: RunSignet, tmp_path: Path) -> None:
    (videos / "手話/page.mp4").unlink()
    assert run_signet(["extract", "videos", "--workers", "1"])[0] == 0
    (videos / "手話/0.mp4").rename(videos / "ice cream/4.mp4")
    status, printed, _ = run_signet(["extract", "videos", "--workers", "1"])
    assert status == 0
    assert "corpus videos has 1 stored clip that the folder of videos does not have" in printed


def test_a_table_gives_signers_splits_and_parts(videos: Path, run_signet: RunSignet, tmp_path: Path) -> None:
    (videos / "signs.csv").write_text(
        "file;gloss;signer;split;start_frame;end_frame\n0.mp4;book;ann;train;;\n"
        "ice cream/1.mp4;book;ann;train;2;7\nice cream/1.mp4;go;bob;val;3;\nice cream/9.mp4;go;bob;val;;\n"
    )
    status, printed, _ = run_signet(["extract", "videos/signs.csv", "--workers", "1", "--corpus", "mine"])
    assert status == 0
    assert "several videos have this name" in printed
    assert "without a file" in printed
    found = sorted(
        (record.gloss, record.split, record.signer, record.frame_start, record.frame_end)
        for record in records(tmp_path)
    )
    assert found == [("book", "train", "ann", 2, 7), ("go", "val", "bob", 3, 11)]
    assert "present already" in run_signet(["extract", "videos/signs.csv", "--workers", "1", "--corpus", "mine"])[1]


def test_wlasl_is_an_alias_of_the_path(
    videos: Path, run_signet: RunSignet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    status, _, error = run_signet(["extract", "videos", "--wlasl", "videos"])
    assert status == 1
    assert "Give one of them" in error
    monkeypatch.setenv("SIGNET_WLASL", str(tmp_path / "absent"))
    monkeypatch.setenv("SIGNET_WLASL_CLIPS", str(tmp_path / "absent"))
    status, _, error = run_signet(["extract"])
    assert "no such directory" in error
    assert run_signet(["extract", "videos", "--gloss", "ice cream", "--workers", "1"])[0] == 0
    assert len(records(tmp_path)) == 4


def test_an_unclear_folder_is_refused(run_signet: RunSignet, tmp_path: Path) -> None:
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose/1.mp4").touch()
    status, _, error = run_signet(["extract", "loose"])
    assert status == 1
    assert "It holds 1 video (1.mp4) and no folder with videos. Expected is a folder for each gloss" in error
