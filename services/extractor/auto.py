"""Extraction without being asked: whenever the directory of clips is there and has changed."""

import asyncio
import logging
from pathlib import Path

from services.extractor.extractions import Extractions
from services.extractor.progress import State
from services.extractor.selection import Choice
from services.extractor.wlasl import read_wlasl
from signet.errors import SignetError

_log = logging.getLogger(__name__)

# What fails stays so for a while: a store that is away, landmarks of another extractor. It is tried ever more seldom.
_LONGEST_PAUSE_SECONDS = 600.0

# What a directory holds: names, sizes and times of change.
Contents = frozenset[tuple[str, int, int]]


class AutoExtraction:
    """Looks at the clips every so many seconds, and extracts them if they are not as the last extraction found them.

    Args:
        extractions: who does it.
        wlasl: see `read_wlasl`.
        clips: likewise.
        corpus: what the landmarks are called in the store.
        choice: what to take.
        seconds: between two looks.
    """

    def __init__(
        self,
        extractions: Extractions,
        wlasl: Path,
        clips: Path | None,
        *,
        corpus: str,
        choice: Choice,
        seconds: float,
    ) -> None:
        self._extractions = extractions
        self._wlasl = wlasl
        self._clips = clips
        self._corpus = corpus
        self._choice = choice
        self._seconds = seconds
        self._extracted: Contents | None = None
        self._said = ""

    async def follow(self) -> None:
        """Look for ever."""
        pause = self._seconds
        while True:
            try:
                done = await self._look()
            except SignetError as error:
                self._say(f"{error} Looking again every {self._seconds:g} s.")
                done = True  # looking is cheap
            except Exception:  # noqa: BLE001  (one failed look must not end the following)
                _log.exception("looking for clips failed unexpectedly")
                done = False
            pause = self._seconds if done else min(2 * pause, _LONGEST_PAUSE_SECONDS)
            await asyncio.sleep(pause)

    async def _look(self) -> bool:
        """Extract if there is something new; False if that failed."""
        found = await asyncio.to_thread(contents, self._wlasl, self._clips)
        self._said = ""
        if found == self._extracted:
            return True
        extraction_id = await asyncio.to_thread(self._extractions.start, self._corpus, self._choice)
        progress = await self._extractions.ended(extraction_id)
        if progress.state is State.FAILED:
            return False
        # Cancelled by somebody: so they wanted it, until there are other clips.
        self._extracted = found
        return True

    def _say(self, message: str) -> None:
        if message != self._said:
            _log.warning("%s", message)
        self._said = message


def contents(wlasl: Path, clips: Path | None) -> Contents:
    """What there is to extract.

    Raises:
        NotFound: nothing.
        InvalidInput: the metadata is not WLASL's.
    """
    corpus = read_wlasl(wlasl, clips)
    found = set()
    for name in corpus.files:
        try:
            status = (corpus.clips / name).stat()
        except FileNotFoundError:
            continue  # taken away since it was listed
        found.add((name, status.st_size, status.st_mtime_ns))
    return frozenset(found)
