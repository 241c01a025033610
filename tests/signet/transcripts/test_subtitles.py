"""Subtitles are read back by parsers that know nothing of Signet, whatever the glosses are."""

import html
import re
from collections.abc import Callable

import pytest

from signet.transcripts import Media, Sign, Transcript, TranscriptModel, to_srt, to_vtt

HOSTILE = [
    "book", "<b>bold</b>", "a --> b", "00:00:01.000 --> 00:00:09.000", "NOTE", "two\n\nlines", "{\\an8}top",
    "&amp;", "本", "\x00\x1b[31m", "   ", "WEBVTT\r\n", "STYLE", "\u2028next",
]  # fmt: skip


def transcript(glosses: list[str]) -> Transcript:
    signs = tuple(
        Sign(start=index * 3600 / 7, end=index * 3600 / 7 + 0.4321, gloss=gloss, probability=0.9)
        for index, gloss in enumerate(glosses)
    )
    model = TranscriptModel(name="m", version="v --> 1\n\n00:00", vocabulary_size=3, threshold=0.5)
    return Transcript(media=Media(name="a --> b\n\n.mp4"), model=model, signs=signs)


TIME = re.compile(r"(\d+):(\d\d):(\d\d)[.,](\d{3})")


def seconds(text: str) -> float:
    found = TIME.fullmatch(text)
    assert found is not None, text
    hours, minutes, whole, thousandths = map(int, found.groups())
    assert minutes < 60 > whole
    return hours * 3600 + minutes * 60 + whole + thousandths / 1000


def parse_blocks(text: str) -> list[list[str]]:
    return [block.split("\n") for block in re.split(r"\n\n+", text.strip("\n"))]


def parse_vtt(text: str) -> list[tuple[float, float, str]]:
    """As the standard says: a header, then blocks; a block with an arrow in its first or second line is a cue."""
    head, *blocks = parse_blocks(text)
    assert head == ["WEBVTT"]
    cues = []
    for lines in blocks:
        timed = next((number for number, line in enumerate(lines[:2]) if "-->" in line), None)
        if timed is None:
            assert lines[0].startswith("NOTE ")
            continue
        start, _, end = lines[timed].partition(" --> ")
        (text_line,) = lines[timed + 1 :]
        assert "<" not in text_line
        cues.append((seconds(start), seconds(end), html.unescape(text_line)))
    return cues


def parse_srt(text: str) -> list[tuple[float, float, str]]:
    cues = []
    for number, lines in enumerate(parse_blocks(text), start=1):
        index, times, shown = lines
        assert int(index) == number
        start, _, end = times.partition(" --> ")
        cues.append((seconds(start), seconds(end), shown))
    return cues


@pytest.mark.parametrize(("write", "parse"), [(to_vtt, parse_vtt), (to_srt, parse_srt)])
def test_each_sign_is_one_cue_with_its_times(
    write: Callable[[Transcript], bytes], parse: Callable[[str], list[tuple[float, float, str]]]
) -> None:
    written = transcript(HOSTILE)
    cues = parse(write(written).decode())
    assert len(cues) == len(HOSTILE)
    for (start, end, shown), sign in zip(cues, written.signs, strict=True):
        assert start == pytest.approx(sign.start, abs=1e-3)
        assert end == pytest.approx(sign.end, abs=1e-3)
        assert shown
        assert "-->" not in shown or write is to_vtt


def test_glosses_in_vtt_are_exact_but_for_line_breaks_and_control_characters() -> None:
    shown = [text for _, _, text in parse_vtt(to_vtt(transcript(["<b>&amp;", "a --> b", "本", "x\ny"])).decode())]
    assert shown == ["<b>&amp;", "a --> b", "本", "x y"]


def test_srt_has_no_tags_and_no_overrides() -> None:
    text = to_srt(transcript(HOSTILE)).decode()
    assert not re.search(r"[<{\\]", text)
    assert all("-->" not in shown for _, _, shown in parse_srt(text))


def test_a_sign_without_a_duration_is_a_cue_of_a_millisecond() -> None:
    one = transcript(["book"])
    moment = one.model_copy(update={"signs": (Sign(start=2, end=2, gloss="book", probability=1),)})
    assert parse_srt(to_srt(moment).decode()) == [(2.0, 2.001, "book")]


def test_a_transcript_without_signs_is_a_valid_file() -> None:
    assert parse_vtt(to_vtt(transcript([])).decode()) == []
    assert to_srt(transcript([])) == b""
