"""EAF files are read back by pympi, and link the video by a relative path."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from signet.transcripts import Alternative, Media, Sign, Transcript, TranscriptModel, to_eaf
from tests.signet.transcripts.test_subtitles import HOSTILE

pympi = pytest.importorskip("pympi")


def transcript(glosses: list[str]) -> Transcript:
    signs = tuple(
        Sign(
            start=index, end=index + 0.5, gloss=gloss, probability=0.875,
            alternatives=(Alternative(gloss="other", probability=0.1), Alternative(gloss=gloss, probability=0.02)),
        )
        for index, gloss in enumerate(glosses)
    )  # fmt: skip
    model = TranscriptModel(name="asl100", version="v1", vocabulary_size=100, threshold=0.25)
    return Transcript(media=Media(name="my talk.mp4"), model=model, signs=signs)


def test_the_three_tiers_come_back(tmp_path: Path) -> None:
    path = tmp_path / "talk.eaf"
    path.write_bytes(to_eaf(transcript(HOSTILE), tmp_path / "my talk.mp4", tmp_path))
    read = pympi.Eaf(str(path))
    assert list(read.get_tier_names()) == ["gloss", "probability", "alternatives"]
    glosses = sorted(read.get_annotation_data_for_tier("gloss"))
    assert [(start, end) for start, end, _ in glosses] == [(1000 * n, 1000 * n + 500) for n in range(len(HOSTILE))]
    assert (glosses[0][2], glosses[1][2], glosses[8][2]) == ("book", "<b>bold</b>", "本")
    probabilities = sorted(read.get_annotation_data_for_tier("probability"))
    assert {entry[2] for entry in probabilities} == {"0.875"}
    # An entry of a dependent tier has the times of the sign, its own value, and the gloss.
    alternatives = sorted(read.get_annotation_data_for_tier("alternatives"))
    assert alternatives[0][:3] == (0, 500, "other 0.100, book 0.020")
    assert len(probabilities) == len(alternatives) == len(HOSTILE)


@pytest.mark.parametrize(
    ("video", "folder", "url"),
    [("a/my talk.mp4", "a", "./my%20talk.mp4"), ("a/clip.webm", "b/c", "../../a/clip.webm")],
)
def test_the_video_is_linked_by_its_relative_path(tmp_path: Path, video: str, folder: str, url: str) -> None:
    data = to_eaf(transcript(["book"]), tmp_path / video, tmp_path / folder)
    (media,) = ElementTree.fromstring(data).iter("MEDIA_DESCRIPTOR")  # noqa: S314  (made here)
    assert (media.get("RELATIVE_MEDIA_URL"), media.get("MEDIA_URL")) == (url, url)
    assert media.get("MIME_TYPE") == ("video/mp4" if video.endswith("mp4") else "video/webm")
    assert str(tmp_path).encode() not in data


def test_annotations_of_a_tier_do_not_overlap(tmp_path: Path) -> None:
    one = transcript(["a", "b"])
    first, second = one.signs
    overlapping = one.model_copy(update={"signs": (first, second.model_copy(update={"start": 0.2, "end": 0.3}))})
    path = tmp_path / "talk.eaf"
    path.write_bytes(to_eaf(overlapping))
    read = sorted(pympi.Eaf(str(path)).get_annotation_data_for_tier("gloss"))
    assert read == [(0, 500, "a"), (500, 501, "b")]


def test_a_transcript_without_signs_is_a_valid_file(tmp_path: Path) -> None:
    path = tmp_path / "talk.eaf"
    path.write_bytes(to_eaf(transcript([])))
    assert pympi.Eaf(str(path)).get_annotation_data_for_tier("gloss") == []
