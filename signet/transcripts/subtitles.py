"""Transcripts as subtitles: WebVTT and SubRip (SRT). Each sign is one cue with its gloss as the text.

A gloss may hold any character, and players interpret some of them. WebVTT has escapes for them. SRT has none, so they
are replaced by similar characters; JSON and EAF keep the exact gloss.
"""

import re

from signet.transcripts.transcript import Sign, Transcript

# Characters that separate lines for some programs, and those that XML and players do not accept.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]+")
_VTT_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
# Tags of HTML, and overrides of SubStation Alpha such as {\an8}, which many players apply to SRT.
_SRT_REPLACEMENTS = str.maketrans({"<": "‹", ">": "›", "{": "(", "}": ")", "\\": "⧵"})
_EMPTY = "(unnamed)"


def to_vtt(transcript: Transcript) -> bytes:
    """The transcript as WebVTT, in UTF-8. The identifier of each cue has the probability of the sign."""
    model = one_line(f"{transcript.model.name} {transcript.model.version}")
    blocks = ["WEBVTT", f"NOTE Signs of {_vtt_text(transcript.media.name)}, found by {_vtt_text(model)}"]
    for number, sign in enumerate(transcript.signs, start=1):
        start, end = (_clock(milliseconds, ".") for milliseconds in cue_times(sign))
        blocks.append(f"{number} p={sign.probability:.3f}\n{start} --> {end}\n{_vtt_text(sign.gloss)}")
    return ("\n\n".join(blocks) + "\n").encode()


def to_srt(transcript: Transcript) -> bytes:
    """The transcript as SubRip, in UTF-8."""
    blocks = []
    for number, sign in enumerate(transcript.signs, start=1):
        start, end = (_clock(milliseconds, ",") for milliseconds in cue_times(sign))
        text = one_line(sign.gloss).translate(_SRT_REPLACEMENTS) or _EMPTY
        blocks.append(f"{number}\n{start} --> {end}\n{text}\n")
    return "\n".join(blocks).encode()


def cue_times(sign: Sign) -> tuple[int, int]:
    """Start and end of a sign in whole milliseconds. A cue without a duration is not valid, so it has at least one."""
    start = round(1000 * sign.start)
    return start, max(start + 1, round(1000 * sign.end))


def one_line(text: str) -> str:
    """A text without line breaks and control characters."""
    return _CONTROL.sub(" ", text).strip()


def _vtt_text(text: str) -> str:
    return one_line(text).translate(_VTT_ESCAPES) or _EMPTY


def _clock(milliseconds: int, point: str) -> str:
    seconds, thousandths = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{point}{thousandths:03d}"
