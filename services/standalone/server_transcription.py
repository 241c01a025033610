"""Transcription of a video by a running evaluator: the video goes there, and signs come back."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from services.standalone.recognition import clip_name
from services.standalone.stream_recognition import choose_threshold, sign_score, to_transcript_sign
from services.standalone.transcription import TranscriptionProgress
from signet.client import (
    FinalSign,
    RetryPolicy,
    SignetClient,
    StreamOpened,
    TranscriptionRetry,
    TranscriptionStage,
    VideoProgress,
)
from signet.errors import DataLoss, InvalidInput, Unavailable
from signet.security.credentials import ClientSettings
from signet.transcripts import Media, Transcript, TranscriptModel

# A server that restarts, or works on other videos, gets several minutes.
_RETRY = RetryPolicy(attempts=12, first_seconds=1.0, most_seconds=30.0)

_STAGES = {
    TranscriptionStage.RECEIVING: "sent",
    TranscriptionStage.EXTRACTING: "tracked",
    TranscriptionStage.RECOGNISING: "recognised",
}
# What servers say of a video that exceeds a limit.
_TOO_LARGE = ("the limit is", "are allowed")


class ServerTranscription:
    """The transcription of one video by an evaluator. An evaluator that cannot be reached is reported at once.

    Args:
        path: the video.
        server: host:port.
        security: TLS and the token.
        model: the name and the version of the model; "" for those of the server.
        on_retry: called before the video is sent again, with the reason and the seconds until then.
    """

    def __init__(
        self,
        path: Path,
        server: str,
        security: ClientSettings,
        model: tuple[str, str],
        on_retry: Callable[[Exception, float], None],
    ) -> None:
        self._path = path
        self._client = SignetClient(
            server, retry=_RETRY, security=security, model_name=model[0], model_version=model[1]
        )
        self._on_retry = on_retry
        self._opened: StreamOpened | None = None
        self._progress: VideoProgress | None = None

    def run(self, threshold: float | None, on_progress: Callable[[TranscriptionProgress], None]) -> Transcript:
        """Transcribe the video.

        Raises:
            SignetError: the errors of `SignetClient.transcribe_video`.
        """
        signs: list[FinalSign] = []
        try:
            with self._client as client:
                for event in client.transcribe_video(self._path):
                    if isinstance(event, TranscriptionRetry):
                        self._check_retry(event)
                    elif isinstance(event, StreamOpened):
                        self._opened = event
                    elif isinstance(event, FinalSign):
                        signs.append(event)
                    elif isinstance(event, VideoProgress):
                        self._progress = event
                        on_progress(_to_progress(event, len(signs)))
        except InvalidInput as error:
            if not any(words in str(error) for words in _TOO_LARGE):
                raise
            raise InvalidInput(f"{error} Without --server, this machine transcribes a video of any length.") from error
        return self._transcript(signs, threshold)

    def _check_retry(self, event: TranscriptionRetry) -> None:
        """Report a retry; a server that was not there at all is not tried again."""
        if self._opened is None and isinstance(event.error, Unavailable):
            raise event.error
        self._on_retry(event.error, event.seconds)

    def _transcript(self, signs: list[FinalSign], threshold: float | None) -> Transcript:
        opened, progress = self._opened, self._progress
        if opened is None or progress is None:
            raise DataLoss(f"{self._path}: the server has ended the call without an answer. Check its version.")
        least = choose_threshold(threshold, opened.threshold)
        with self._path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return Transcript(
            media=Media(name=clip_name(self._path), sha256=sha256, duration=progress.total_seconds),
            model=TranscriptModel(
                name=opened.model_name,
                version=opened.model_version,
                vocabulary_size=opened.vocabulary_size,
                threshold=least,
            ),
            signs=tuple(to_transcript_sign(sign) for sign in signs if sign_score(sign) >= least),
            warnings=progress.warnings,
        )


def _to_progress(progress: VideoProgress, signs: int) -> TranscriptionProgress:
    stage, share = progress.stage, 0.0
    if stage is TranscriptionStage.RECEIVING and progress.total_bytes:
        share = progress.received_bytes / progress.total_bytes
    elif stage is TranscriptionStage.EXTRACTING:
        share = progress.extracted_share
    return TranscriptionProgress(progress.recognised_seconds, progress.total_seconds, 0.0, signs, _STAGES[stage], share)
