"""Starts an extraction whenever the directory of clips has changed."""

import asyncio
import logging
import time
from pathlib import Path

from services.extractor.jobs.progress import ExtractionState
from services.extractor.jobs.queue import ExtractionQueue
from services.extractor.sources.selection import SelectionCriteria
from services.extractor.sources.wlasl import read_wlasl
from signet.rpc.polling import StatusLog, poll_forever

_log = logging.getLogger(__name__)

# The input of an extraction: names, sizes and change times of the clips and of their metadata.
Contents = frozenset[tuple[str, int, int]]


class AutoExtraction:
    """Checks the clips periodically, and extracts them if they have changed since the last extraction.

    If clips are still being copied, it waits: two checks in a row must find the same files.

    Args:
        extractions: runs the extraction.
        wlasl: see `read_wlasl`.
        clips: see `read_wlasl`.
        corpus: name of the landmarks in the store.
        choice: which clips to take.
        seconds: time between two checks.
    """

    def __init__(
        self,
        extractions: ExtractionQueue,
        wlasl: Path,
        clips: Path | None,
        *,
        corpus: str,
        choice: SelectionCriteria,
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
        """Check for ever."""
        await poll_forever(self._look, self._seconds, self._status, _log)

    async def _look(self) -> bool:
        """Extract if the clips have changed. Returns False if that failed."""
        found = await asyncio.to_thread(contents, self._wlasl, self._clips)
        if found == self._extracted or self._is_being_copied(found):
            return True
        extraction_id = await asyncio.to_thread(self._extractions.start, self._corpus, self._choice)
        self._status.clear()
        progress = await self._extractions.ended(extraction_id)
        if progress.state is ExtractionState.FAILED:
            return False
        # A cancelled extraction is not repeated until the clips change.
        self._extracted = found
        return True

    def _is_being_copied(self, found: Contents) -> bool:
        """Whether files changed since the previous check and during the last interval."""
        before, self._seen = self._seen, found
        newest = max(changed for _, _, changed in found) / 1e9
        return found != before and newest > time.time() - self._seconds


def contents(wlasl: Path, clips: Path | None) -> Contents:
    """List the files that an extraction would read.

    Raises:
        NotFound: there is no metadata or no clip.
        InvalidInput: the metadata is not that of WLASL.
    """
    corpus = read_wlasl(wlasl, clips)
    found = set()
    for path in (corpus.metadata, *(corpus.clips / name for name in corpus.files)):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue  # deleted since it was listed
        # The change time, since a copy may keep the modification time of its original.
        found.add((path.name, status.st_size, status.st_ctime_ns))
    return frozenset(found)
