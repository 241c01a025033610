"""Transcripts: which signs a video shows and when, as WebVTT, SRT, JSON or ELAN's EAF. docs/transcripts.md."""

from signet.transcripts.eaf import to_eaf
from signet.transcripts.subtitles import to_srt, to_vtt
from signet.transcripts.transcript import SCHEMA, Alternative, Media, Sign, Transcript, TranscriptModel

__all__ = [
    "SCHEMA",
    "Alternative",
    "Media",
    "Sign",
    "Transcript",
    "TranscriptModel",
    "to_eaf",
    "to_srt",
    "to_vtt",
]
