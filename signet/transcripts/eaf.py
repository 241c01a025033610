"""Transcripts as EAF, the format of ELAN, in which linguists annotate video.

The tier `gloss` has an annotation for each sign. The tiers `probability` and `alternatives` have one for each
annotation of `gloss`, which ELAN keeps together with it.
"""

import mimetypes
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote as quote_url

from signet.errors import SignetError
from signet.transcripts.subtitles import cue_times, one_line
from signet.transcripts.transcript import Sign, Transcript

GLOSS, PROBABILITY, ALTERNATIVES = "gloss", "probability", "alternatives"
_DEPENDENT = "depends-on-gloss"
# What XML 1.0 cannot express, even as a reference.
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_eaf(transcript: Transcript, video: Path | None = None, folder: Path | None = None) -> bytes:
    """The transcript as EAF 2.8, in UTF-8.

    Args:
        transcript: the signs.
        video: the video, which the file links by its path relative to `folder`; None links the name of the media.
        folder: the folder in which the EAF file will be.

    Raises:
        SignetError: the package pympi-ling is not installed.
    """
    try:
        from pympi import Eaf  # noqa: PLC0415  (only this function needs it)
        from pympi.Elan import to_string  # noqa: PLC0415
    except ImportError as error:
        raise SignetError(
            f"EAF files need a package ({error}). Install it: pip install 'signet[standalone]'"
        ) from error
    eaf = Eaf(author=f"Signet: {_text(transcript.model.name)} {_text(transcript.model.version)}")
    eaf.add_linguistic_type(_DEPENDENT, constraints="Symbolic_Association", timealignable=False)
    eaf.add_tier(GLOSS)
    eaf.remove_tier("default")
    eaf.add_tier(PROBABILITY, ling=_DEPENDENT, parent=GLOSS)
    eaf.add_tier(ALTERNATIVES, ling=_DEPENDENT, parent=GLOSS)
    _link(eaf, transcript.media.name if video is None else _relative_path(video, folder or Path()))
    eaf.add_property("signet.model", f"{_text(transcript.model.name)}/{_text(transcript.model.version)}")
    eaf.add_property("signet.threshold", f"{transcript.model.threshold:g}")
    last_end = 0
    for sign in transcript.signs:
        # Annotations of one tier do not overlap.
        start, end = cue_times(sign)
        start = max(start, last_end)
        last_end = max(end, start + 1)
        annotation = _add_sign(eaf, (start, last_end), _text(sign.gloss))
        _add_dependent(eaf, annotation, sign)
    data: bytes = to_string(eaf, encoding="UTF-8")
    return data if data.startswith(b"<?xml") else b'<?xml version="1.0" encoding="UTF-8"?>\n' + data


def _add_sign(eaf: Any, times: tuple[int, int], gloss: str) -> str:
    """Add an annotation to the tier of glosses, and return its id."""
    eaf.add_annotation(GLOSS, *times, value=gloss)
    identifier: str = next(reversed(eaf.tiers[GLOSS][0]))
    return identifier


def _add_dependent(eaf: Any, annotation: str, sign: Sign) -> None:
    """Add what depends on an annotation. The method of pympi would look for it by its time, among all annotations."""
    others = ", ".join(f"{_text(other.gloss)} {other.probability:.3f}" for other in sign.alternatives)
    for tier, value in ((PROBABILITY, f"{sign.probability:.3f}"), (ALTERNATIVES, others)):
        identifier = eaf.generate_annotation_id()
        eaf.annotations[identifier] = tier
        eaf.tiers[tier][1][identifier] = (annotation, value, None, None)


def _link(eaf: Any, path: str) -> None:
    url = quote_url(path if path.startswith(("/", "../")) else f"./{path}")
    eaf.add_linked_file(url, relpath=url, mimetype=mimetypes.guess_type(path)[0] or "video/*")


def _relative_path(video: Path, folder: Path) -> str:
    """The path from a folder to a video, with slashes; only its name if there is none, as on another drive."""
    try:
        return Path(os.path.relpath(video.absolute(), folder.absolute())).as_posix()
    except ValueError:
        return video.name


def _text(text: str) -> str:
    return _NO_XML.sub("�", one_line(text))
