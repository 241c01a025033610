"""MS-ASL is read as Microsoft publishes it."""

import json
from pathlib import Path

import pytest

from services.extractor.sources.detection import read_corpus
from signet.errors import InvalidInput, NotFound
from signet.store import keys

SEGMENT = {
    "org_text": "match [light-a-MATCH]", "clean_text": "match", "start_time": 0.0, "signer_id": 0, "signer": 0,
    "start": 0, "end": 83, "file": "match light-a-MATCH", "label": 1, "height": 360.0, "fps": 30.0, "end_time": 2.767,
    "url": "https://www.youtube.com/watch?v=C37R_Ix8-qs", "text": "match", "box": [0.05, 0.25, 1.0, 0.75],
    "width": 640.0, "review": 1,
}  # fmt: skip
LATER = SEGMENT | {
    "start_time": 5.0,
    "end_time": 6.5,
    "start": 150,
    "end": 195,
    "label": 0,
    "text": "fire",
    "signer_id": 4,
}
DASHED = SEGMENT | {"url": "www.youtube.com/watch?v=-ab_cdefgh1", "file": "hello", "label": 0}


def write(folder: Path, **lists: list[object]) -> Path:
    (folder / "videos").mkdir(exist_ok=True)
    (folder / "MSASL_classes.json").write_text(json.dumps(["fire", "match"]))
    for name, segments in lists.items():
        (folder / f"MSASL_{name}.json").write_text(json.dumps(segments))
    return folder


def test_segments_share_a_video_and_are_cut_by_time(tmp_path: Path) -> None:
    write(tmp_path, train=[SEGMENT, LATER], test=[DASHED])
    (tmp_path / "videos/C37R_Ix8-qs.mp4").touch()
    (tmp_path / "videos/other.mp4").touch()
    corpus = read_corpus(tmp_path)
    first, second, third = corpus.instances
    assert (first.clip_id, first.gloss, first.split, first.signer) == ("C37R_Ix8-qs_0_83", "match", "train", "0")
    assert (first.start_seconds, first.end_seconds, first.box) == (0.0, 2.767, (160, 18, 480, 360))
    assert (second.clip_id, second.gloss, second.start_seconds) == ("C37R_Ix8-qs_150_195", "fire", 5.0)
    assert (third.clip_id, third.split) == ("v-ab_cdefgh1_0_83", "test")
    assert corpus.path(first) == corpus.path(second) == tmp_path / "videos/C37R_Ix8-qs.mp4"
    assert not corpus.has(third)
    assert corpus.default_name == "msasl"
    assert "1 video not taken, because no segment names them: videos/other.mp4" in corpus.notes


def test_an_absurd_frame_number_gives_an_id_that_can_name_an_object(tmp_path: Path) -> None:
    write(tmp_path, train=[DASHED | {"start": 10**150}])
    (tmp_path / "hello.mp4").touch()
    (instance,) = read_corpus(tmp_path).instances
    assert keys.is_name(instance.clip_id)


@pytest.mark.parametrize("name", ["-ab_cdefgh1.webm", "hello.MP4", "-ab_cdefgh1_0_83.mp4"])
def test_a_video_is_named_by_its_id_its_title_or_the_clip(tmp_path: Path, name: str) -> None:
    write(tmp_path, val=[DASHED])
    (tmp_path / name).touch()
    for path in (tmp_path, tmp_path / "MSASL_val.json"):
        corpus = read_corpus(path)
        assert corpus.path(corpus.instances[0]).name == name


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("text", "an entry is no object"),
        (SEGMENT | {"url": "https://example.org/a.mp4"}, "url is no address of a video at YouTube"),
        (SEGMENT | {"end_time": 0.0}, "end_time is not after start_time"),
        (SEGMENT | {"start_time": None}, "start_time or end_time is no time in seconds"),
        (SEGMENT | {"label": 99, "text": "", "clean_text": " "}, "it has no gloss"),
        (SEGMENT | {"label": 99, "text": "a\u202eb"}, "its gloss cannot be used"),
    ],
)
def test_a_segment_that_cannot_be_used_is_named(tmp_path: Path, broken: object, reason: str) -> None:
    write(tmp_path, train=[broken, LATER])
    (tmp_path / "C37R_Ix8-qs.mp4").touch()
    corpus = read_corpus(tmp_path)
    assert [found.gloss for found in corpus.instances] == ["fire"]
    (note,) = corpus.notes
    assert reason in note
    assert note.endswith("MSASL_train.json entry 1")


def test_a_segment_with_two_glosses_is_left_out_and_a_repeated_one_is_used_once(tmp_path: Path) -> None:
    write(tmp_path, train=[SEGMENT, SEGMENT, LATER, LATER | {"label": 1}, LATER])
    (tmp_path / "C37R_Ix8-qs.mp4").touch()
    corpus = read_corpus(tmp_path)
    assert [found.clip_id for found in corpus.instances] == ["C37R_Ix8-qs_0_83"]
    assert "several glosses or splits: C37R_Ix8-qs_150_195" in corpus.notes[0]


@pytest.mark.parametrize("box", [None, [0, 0, 1], [0, 0.9, 1, 0.1], ["a", 0, 1, 1], [0, 0, 1, float("nan")]])
def test_a_box_that_cannot_be_used_is_left_out(tmp_path: Path, box: object) -> None:
    write(tmp_path, train=[SEGMENT | {"box": box}])
    (tmp_path / "C37R_Ix8-qs.mp4").touch()
    assert read_corpus(tmp_path).instances[0].box == (0, 0, 0, 0)


def test_other_files_are_refused(tmp_path: Path) -> None:
    write(tmp_path, train=[SEGMENT])
    with pytest.raises(NotFound, match="has no video"):
        read_corpus(tmp_path)
    (tmp_path / "MSASL_train.json").write_text('["fire"]')
    with pytest.raises(InvalidInput, match="is no list of segments of MS-ASL"):
        read_corpus(tmp_path)
    (tmp_path / "segments.json").write_text(json.dumps([SEGMENT]))
    with pytest.raises(InvalidInput, match="its name says no split"):
        read_corpus(tmp_path / "segments.json")
