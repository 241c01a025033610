"""The kind of a corpus is found out from what lies at its path."""

import json
from pathlib import Path

import pytest

from services.extractor.sources.detection import read_corpus
from signet.errors import InvalidInput, NotFound

WLASL = [{"gloss": "book", "instances": [{"video_id": "1", "split": "train", "signer_id": 1}]}]


def test_the_metadata_of_wlasl_decides(tmp_path: Path) -> None:
    (tmp_path / "WLASL_v0.3.json").write_text(json.dumps(WLASL))
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/1.mp4").touch()
    for path in (tmp_path, tmp_path / "WLASL_v0.3.json"):
        assert read_corpus(path).title == "WLASL"
    (tmp_path / "WLASL_v0.3.json").rename(tmp_path / "mine.json")
    assert read_corpus(tmp_path / "mine.json").title == "WLASL"
    with pytest.raises(InvalidInput, match=r"videos in videos, which is no gloss, and mine\.json"):
        read_corpus(tmp_path)


def test_other_folders_hold_own_videos(tmp_path: Path) -> None:
    (tmp_path / "book").mkdir()
    (tmp_path / "book/1.mp4").touch()
    (tmp_path / "signs.csv").write_text("file,signer\n1.mp4,ann\n")
    assert read_corpus(tmp_path).instances[0].signer == ""
    for given in ({"path": tmp_path / "signs.csv"}, {"path": tmp_path, "tables": [tmp_path / "signs.csv"]}):
        assert read_corpus(**given).instances[0].signer == "ann"


def test_the_videos_may_be_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "there/book").mkdir(parents=True)
    (tmp_path / "there/book/1.mp4").touch()
    (tmp_path / "here").mkdir()
    (tmp_path / "here/signs.csv").write_text("file,signer\n1.mp4,ann\n")
    corpus = read_corpus(tmp_path / "here/signs.csv", tmp_path / "there")
    assert corpus.has(corpus.instances[0])
    with pytest.raises(NotFound, match="no such directory"):
        read_corpus(tmp_path / "here", tmp_path / "nowhere")


def test_a_path_that_is_no_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no such file or folder\. Name a folder of videos"):
        read_corpus(tmp_path / "absent")
    with pytest.raises(NotFound, match="has no video"):
        read_corpus(tmp_path)
    (tmp_path / "a.mp4").touch()
    with pytest.raises(InvalidInput, match="is a single video"):
        read_corpus(tmp_path / "a.mp4")
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(InvalidInput, match="unknown layout"):
        read_corpus(tmp_path / "a.json")
