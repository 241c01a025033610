"""The HTML page of an audit. It needs no other file, no script and no font, and its size is bounded."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
from jinja2 import Environment

from services.extractor.quality import findings
from services.extractor.quality.audit import AuditedClip, CorpusAudit
from services.extractor.quality.pictures import choose_frames, draw_strip, to_data_uri
from services.extractor.sources.pieces import parse_piece_id
from signet import __version__
from signet.html import page_environment
from signet.landmarks import load
from signet.store import ObjectStore

# Frames of a clip in its strip.
_FRAMES = 5
# Clips without findings that are shown for comparison.
_COMPARED_CLIPS = 6
# Rows of the tables. With the pictures of 60 clips, a page has about 1.5 MB.
_MOST_ROWS = 1000
_MOST_GROUPS = 300

# Numbers of `ClipQuality` in the table of the corpus, with their name, unit and limits (low, high).
_NUMBERS: tuple[tuple[str, str, float | None, float | None], ...] = (
    ("any_hand", "share of frames with a hand", findings.MIN_ANY_HAND, None),
    ("left_hand", "share of frames with the left hand", None, None),
    ("right_hand", "share of frames with the right hand", None, None),
    ("pose", "share of frames with a body", findings.MIN_POSE, None),
    ("hand_jitter", "jitter of the hands, picture heights", None, findings.MAX_HAND_JITTER),
    ("shoulder_jitter", "jitter of the shoulders, picture heights", None, findings.MAX_SHOULDER_JITTER),
    ("signing_hand_outside", "share of frames with the signing hand outside", None, findings.MAX_SIGNING_HAND_OUTSIDE),
    ("palm_pixels", "length of a palm, pixels", findings.MIN_PALM_PIXELS, None),
    ("shoulder_width", "width of the shoulders, picture heights", findings.MIN_SHOULDER_WIDTH,
     findings.MAX_SHOULDER_WIDTH),
    ("frame_rate", "frames of the video a second", findings.MIN_FRAME_RATE, None),
    ("dropped_frames", "share of missing frames", None, findings.MAX_DROPPED_FRAMES),
)  # fmt: skip


@dataclass(frozen=True)
class NumberSummary:
    """One number over all clips: its 2nd, 50th and 98th percentile, and its limits."""

    name: str
    clips: int
    low: float
    median: float
    high: float
    least: float | None
    most: float | None


@dataclass(frozen=True)
class SheetClip:
    """A clip of the contact sheet: a picture as a data URI, its size, and why it does not show the video."""

    clip: AuditedClip
    picture: str
    width: int
    height: int
    plain: str


def render_audit(
    audit: CorpusAudit,
    store: ObjectStore,
    videos: Mapping[str, Path],
    most_pictures: int,
    on_progress: Callable[[str, int, int], None] = lambda *_: None,
) -> str:
    """The page of an audit.

    Args:
        audit: the audit.
        store: the store with the landmarks.
        videos: the video files by clip id, as far as they are here.
        most_pictures: the number of clips in the contact sheet: the worst ones.
        on_progress: called with what is done, and how many clips of how many are finished.
    """
    worst = audit.flagged[:most_pictures]
    others = _choose_evenly([clip for clip in audit.clips if not clip.findings], _COMPARED_CLIPS)
    drawn: list[SheetClip] = []
    for count, clip in enumerate([*worst, *others]):
        on_progress("drawing clips", count, len(worst) + len(others))
        drawn.append(_draw_clip(clip, store, _find_video(videos, clip.record.clip_id)))
    sheet = drawn[: len(worst)]
    return (
        _environment()
        .get_template("audit.html")
        .render(
            audit=audit,
            flagged=audit.flagged,
            rows=audit.flagged[:_MOST_ROWS],
            sheet=sheet,
            others=drawn[len(worst) :],
            plain=[shown for shown in drawn if shown.plain],
            glosses=sorted({shown.clip.record.gloss for shown in sheet}),
            kinds=[kind for kind, _ in audit.counts if any(_has(shown.clip, kind.key) for shown in sheet)],
            copies=audit.copies[:_MOST_GROUPS],
            summaries=_summarise(audit.clips),
            signers={clip.record.signer for clip in audit.clips if clip.record.signer},
            all_glosses={clip.record.gloss for clip in audit.clips},
            version=__version__,
            now=datetime.now(UTC),
        )
    )


@cache
def _environment() -> Environment:
    environment = page_environment("services.extractor.quality")
    environment.filters.update(figure=_figure)
    return environment


def _figure(value: float | None) -> str:
    """A number with three digits; a dash if there is none."""
    return "–" if value is None else f"{value:.3g}"


def _has(clip: AuditedClip, key: str) -> bool:
    return any(finding.kind.key == key for finding in clip.findings)


def _find_video(videos: Mapping[str, Path], clip_id: str) -> Path | None:
    """The video of a clip, or that of which the clip is a piece."""
    return videos.get(clip_id) or videos.get(parse_piece_id(clip_id)[0])


def _draw_clip(clip: AuditedClip, store: ObjectStore, video: Path | None) -> SheetClip:
    """The clip with its picture. Videos are decoded here only if they are those that were extracted before."""
    landmarks = load(store.get(clip.key), clip.key)
    strip, plain = draw_strip(landmarks, choose_frames(landmarks, _FRAMES), video)
    height, width = strip.shape[:2]
    return SheetClip(clip, to_data_uri(strip), width, height, plain)


def _choose_evenly(clips: Sequence[AuditedClip], most: int) -> list[AuditedClip]:
    """At most so many clips at even distances in the order of their ids, so that they are of different glosses."""
    ordered = sorted(clips, key=lambda clip: clip.record.clip_id)
    if len(ordered) <= most:
        return ordered
    return [ordered[int(place)] for place in np.linspace(0, len(ordered) - 1, most).round()]


def _summarise(clips: Sequence[AuditedClip]) -> list[NumberSummary]:
    summaries = []
    for field, name, least, most in _NUMBERS:
        values = [value for clip in clips if (value := getattr(clip.quality, field)) is not None]
        if values:
            low, median, high = (float(value) for value in np.quantile(values, [0.02, 0.5, 0.98]))
            summaries.append(NumberSummary(name, len(values), low, median, high, least, most))
    return summaries
