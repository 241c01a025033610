"""Several videos in one call of `signet transcribe`: the names of the files, and videos that cannot be used."""

from pathlib import Path

import pytest

from services.standalone.transcribe_command import name_files
from signet.errors import InvalidInput, InvalidSetting
from tests.conftest import RunSignet
from tests.services.standalone.videos import write_still


@pytest.fixture(autouse=True)
def _nothing_set_up(monkeypatch: pytest.MonkeyPatch, run_signet: RunSignet) -> None:
    for name in ("SIGNET_STORE", "SIGNET_EVALUATOR"):
        monkeypatch.delenv(name, raising=False)


def test_files_in_a_folder_have_the_names_of_their_videos(tmp_path: Path) -> None:
    videos = [tmp_path / "one.mp4", tmp_path / "two.v2.mov"]
    named = name_files(videos, {"--vtt": tmp_path, "--json": tmp_path})
    assert [each.files for each in named] == [
        {"--vtt": tmp_path / "one.vtt", "--json": tmp_path / "one.json"},
        {"--vtt": tmp_path / "two.v2.vtt", "--json": tmp_path / "two.v2.json"},
    ]
    (one,) = name_files(videos[:1], {"--srt": tmp_path / "x.srt"})
    assert one.files == {"--srt": tmp_path / "x.srt"}


def test_files_that_would_replace_one_another_are_refused(tmp_path: Path) -> None:
    videos = [tmp_path / "a" / "talk.mp4", tmp_path / "b" / "talk.mp4"]
    with pytest.raises(InvalidSetting, match=r"b/talk\.mp4: its file .*talk\.vtt would be that of .*a/talk\.mp4"):
        name_files(videos, {"--vtt": tmp_path})
    with pytest.raises(InvalidSetting, match=r"--vtt .*x\.vtt: 2 videos need a folder"):
        name_files(videos, {"--vtt": tmp_path / "x.vtt"})
    with pytest.raises(InvalidSetting, match=r"this file is .*talk\.vtt"):
        name_files([tmp_path / "talk.vtt"], {"--vtt": tmp_path})
    (tmp_path / "talk.srt").mkdir()
    with pytest.raises(InvalidInput, match=r"talk\.srt: is a folder"):
        name_files(videos[:1], {"--srt": tmp_path})


def test_videos_that_cannot_be_used_are_named_and_the_others_go_on(tmp_path: Path, run_signet: RunSignet) -> None:
    still, page = tmp_path / "still.mp4", tmp_path / "page.mp4"
    write_still(still)
    page.write_text("<!DOCTYPE html><html></html>")
    videos = [str(page), str(tmp_path / "none.mp4"), str(still)]
    status, output, error = run_signet(["transcribe", *videos, "--vtt", str(tmp_path)])
    assert status == 1
    assert output == f"{tmp_path}/still.vtt: 0 signs\n"
    first, second = error.splitlines()
    assert first.startswith("error: page.mp4: a web page")
    assert "none.mp4: cannot be read (No such file or directory)" in second
    assert (tmp_path / "still.vtt").read_text().startswith("WEBVTT\n")
    assert not (tmp_path / "page.vtt").exists()
