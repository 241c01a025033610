"""Extraction without being asked: whenever the directory of clips is there and has changed."""

import asyncio
import logging
import time
from pathlib import Path

from services.extractor.jobs.progress import State
from services.extractor.jobs.queue import Extractions
from services.extractor.sources.selection import Choice
from services.extractor.sources.wlasl import read_wlasl
from signet.rpc.polling import StatusLog, poll_forever

_log = logging.getLogger(__name__)

# What there is to extract: names, sizes and times of change of the clips and of their metadata.
Contents = frozenset[tuple[str, int, int]]


class AutoExtraction:
    """Looks at the clips every so many seconds, and extracts them if they are not as the last extraction found them.

    Clips that are still coming are waited for: what changed since the last look has to be the same at the next one.

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
        self._seen: Contents = frozenset()
        self._status = StatusLog(_log)

    async def follow(self) -> None:
        """Look for ever."""
        await poll_forever(self._look, self._seconds, self._status, _log)

    async def _look(self) -> bool:
        """Extract if there is something new; False if that failed."""
        found = await asyncio.to_thread(contents, self._wlasl, self._clips)
        if found == self._extracted or self._comes_still(found):
            return True
        extraction_id = await asyncio.to_thread(self._extractions.start, self._corpus, self._choice)
        self._status.clear()
        progress = await self._extractions.ended(extraction_id)
        if progress.state is State.FAILED:
            return False
        # Cancelled by somebody: so they wanted it, until there are other clips.
        self._extracted = found
        return True

    def _comes_still(self, found: Contents) -> bool:
        """Whether something changed within the last interval, and is not yet as it was at the look before."""
        before, self._seen = self._seen, found
        newest = max(changed for _, _, changed in found) / 1e9
        return found != before and newest > time.time() - self._seconds


def contents(wlasl: Path, clips: Path | None) -> Contents:
    """What there is to extract.

    Raises:
        NotFound: nothing.
        InvalidInput: the metadata is not WLASL's.
    """
    corpus = read_wlasl(wlasl, clips)
    found = set()
    for path in (corpus.metadata, *(corpus.clips / name for name in corpus.files)):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue  # taken away since it was listed
        # Not the time of modification: a copy may keep that of its original.
        found.add((path.name, status.st_size, status.st_ctime_ns))
    return frozenset(found)
