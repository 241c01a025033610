"""The settings of a run of `signet fetch`, and how far it is."""

from dataclasses import dataclass, field
from pathlib import Path

from services.extractor.fetching.download import DownloadLimits
from services.extractor.fetching.schedule import HostLimits
from services.extractor.fetching.youtube import YOUTUBE_LIMITS


@dataclass(frozen=True)
class FetchSettings:
    """How clips are downloaded.

    Attributes:
        parallel: downloads at a time.
        host: the limits of each host.
        youtube: the limits of YouTube.
        retry_refused: whether links that failed for good are tried again.
        attempts: attempts of each link in one run.
        backoff_seconds: the wait before the second attempt. It doubles for each further one.
        read_seconds: a host that sends nothing for so long is given up.
        limits: when a download is given up.
    """

    parallel: int = 8
    host: HostLimits = field(default_factory=HostLimits)
    youtube: HostLimits = YOUTUBE_LIMITS
    retry_refused: bool = False
    attempts: int = 4
    backoff_seconds: float = 1.0
    read_seconds: float = 30.0
    limits: DownloadLimits = field(default_factory=DownloadLimits)


@dataclass(frozen=True)
class FetchProgress:
    """How far a job is.

    Attributes:
        to_check: files that existed and must be checked.
        checked: those that were.
        total: links to download.
        stored: links whose video was stored.
        refused: links that failed for good.
        failed: links that failed, and may succeed later.
        received: bytes that came.
        interrupted: whether the job was stopped.
        moved: broken files that a good one has replaced, with their new names.
    """

    to_check: int = 0
    checked: int = 0
    total: int = 0
    stored: int = 0
    refused: int = 0
    failed: int = 0
    received: int = 0
    interrupted: bool = False
    moved: tuple[Path, ...] = ()

    @property
    def done(self) -> int:
        """The links that have an outcome."""
        return self.stored + self.refused + self.failed
