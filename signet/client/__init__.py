"""A client of Signet for Python programs: `SignetClient`, and `AsyncSignetClient` for asyncio. See docs/clients.md."""

from signet.client.aio import AsyncSignetClient
from signet.client.inputs import ClipSource
from signet.client.parts import LandmarkPart
from signet.client.results import Moment, Prediction, Recognition, ServedModelStatus, Timing
from signet.client.retries import RetryPolicy
from signet.client.sync import SignetClient
from signet.security.credentials import ClientSettings

__all__ = [
    "AsyncSignetClient",
    "ClientSettings",
    "ClipSource",
    "LandmarkPart",
    "Moment",
    "Prediction",
    "Recognition",
    "RetryPolicy",
    "ServedModelStatus",
    "SignetClient",
    "Timing",
]
