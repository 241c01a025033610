"""Recognition of continuous signing as it happens: frames of landmarks in, events out. No I/O, threads or clocks.

`SignStream` is the entry. docs/streaming.md explains the method.
"""

from signet.streaming.events import (
    FinalSign,
    NothingSignedSince,
    PartialSigns,
    SignChoice,
    StreamEvent,
    StreamStatistics,
)
from signet.streaming.settings import StreamSettings
from signet.streaming.sign_stream import RecognitionModel, SignStream, StreamWindow

__all__ = [
    "FinalSign",
    "NothingSignedSince",
    "PartialSigns",
    "RecognitionModel",
    "SignChoice",
    "SignStream",
    "StreamEvent",
    "StreamSettings",
    "StreamStatistics",
    "StreamWindow",
]
