"""Recognition of clips by a running evaluator, for `signet predict --server`."""

from pathlib import Path
from types import TracebackType
from typing import Self

from signet.client import RetryPolicy, SignetClient
from signet.client.inputs import read_clip
from signet.client.results import Recognition
from signet.errors import DeadlineExceeded
from signet.security.credentials import ClientSettings


class RemoteRecognizer:
    """Asks an evaluator. One that cannot be reached is reported at once; one that is busy is asked again."""

    def __init__(self, server: str, security: ClientSettings, model_name: str = "", model_version: str = "") -> None:
        self._client = SignetClient(
            server,
            retry=RetryPolicy(codes=("RESOURCE_EXHAUSTED",)),
            security=security,
            model_name=model_name,
            model_version=model_version,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def recognise(self, clip: Path, top_k: int, timeout: float | None) -> Recognition:
        """Ask which sign a clip shows.

        Raises:
            SignetError: the errors of `SignetClient.recognise`.
        """
        try:
            return self._client.recognise(clip, top_k=top_k, timeout=timeout)
        except DeadlineExceeded as error:
            seconds = timeout or read_clip(clip).default_timeout
            raise DeadlineExceeded(
                f"{clip}: {error} The option --timeout sets this time; it was {seconds:g} s."
            ) from error
