"""A client of Signet for Python programs: `SignetClient`, and `AsyncSignetClient` for asyncio. See docs/clients.md."""

from signet.client.aio import AsyncSignetClient
from signet.client.inputs import ClipSource
from signet.client.parts import LandmarkPart
from signet.client.results import Moment, Prediction, Recognition, ServedModelStatus, Timing
from signet.client.retries import RetryPolicy
from signet.client.stream_results import (
    FrameStatistics,
    ImageFrame,
    ImageRefused,
    LandmarkFrame,
    RecognitionEvent,
    ServerDraining,
    StreamOpened,
)
from signet.client.streaming import RecognitionOptions
from signet.client.sync import SignetClient
from signet.client.transcription import TranscriptionEvent, TranscriptionRetry, TranscriptionStage, VideoProgress
from signet.security.credentials import ClientSettings
from signet.streaming import FinalSign, NothingSignedSince, PartialSigns

__all__ = [
    "AsyncSignetClient",
    "ClientSettings",
    "ClipSource",
    "FinalSign",
    "FrameStatistics",
    "ImageFrame",
    "ImageRefused",
    "LandmarkFrame",
    "LandmarkPart",
    "Moment",
    "NothingSignedSince",
    "PartialSigns",
    "Prediction",
    "Recognition",
    "RecognitionEvent",
    "RecognitionOptions",
    "RetryPolicy",
    "ServedModelStatus",
    "ServerDraining",
    "SignetClient",
    "StreamOpened",
    "Timing",
    "TranscriptionEvent",
    "TranscriptionRetry",
    "TranscriptionStage",
    "VideoProgress",
]
