"""Starts an extraction whenever the directory of clips has changed."""

import asyncio
import logging
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from services.extractor.jobs.progress import ExtractionState
from services.extractor.jobs.queue import ExtractionQueue
from services.extractor.sources.detection import read_corpus
from services.extractor.sources.selection import SelectionCriteria
from signet.rpc.polling import StatusLog, poll_forever

_log = logging.getLogger(__name__)

# The input of an extraction: paths, sizes and change times of the clips and of their metadata.
Contents = frozenset[tuple[str, int, int]]


@dataclass(eq=False)
class AutoExtraction:
    """Checks the clips every `seconds`, and extracts them if they have changed since the last extraction.

    If clips are still being copied, it waits: two checks in a row must find the same files. `path` and `clips` are the
    arguments of `read_corpus`, and `corpus` is the name of the landmarks in the store.
    """

    extractions: ExtractionQueue
    path: Path
    clips: Path | None
    corpus: str
    choice: SelectionCriteria
    seconds: float

    def __post_init__(self) -> None:
        self._extracted: Contents | None = None
        self._seen: Contents = frozenset()
        self._status = StatusLog(_log)

    async def follow(self) -> None:
        """Check for ever."""
        await poll_forever(self._extract_if_changed, self.seconds, self._status, _log)

    async def _extract_if_changed(self) -> bool:
        """Extract if the clips have changed. Returns False if that failed."""
        current = await asyncio.to_thread(contents, self.path, self.clips)
        if current == self._extracted or self._is_being_copied(current):
            return True
        # It need not be kept in the store: after a restart, it is started again with the settings of then.
        start = partial(self.extractions.start, self.corpus, self.choice, stored=False)
        extraction_id = await asyncio.to_thread(start)
        self._status.clear()
        view = await self.extractions.ended(extraction_id)
        if view.progress.state is ExtractionState.FAILED:
            return False
        # A cancelled extraction is not repeated until the clips change.
        self._extracted = current
        return True

    def _is_being_copied(self, current: Contents) -> bool:
        """Whether files changed since the previous check and during the last interval."""
        before, self._seen = self._seen, current
        newest = max(changed for _, _, changed in current) / 1e9
        return current != before and newest > time.time() - self.seconds


def contents(path: Path, clips: Path | None) -> Contents:
    """List the files that an extraction would read.

    Raises:
        NotFound: there is no metadata or no clip.
        InvalidInput: it is unclear what the path is, or its files cannot be used.
    """
    corpus = read_corpus(path, clips)
    files = set()
    for file in (*corpus.metadata, *corpus.files.values()):
        try:
            status = file.stat()
        except FileNotFoundError:
            continue  # deleted since it was listed
        # The change time, since a copy may keep the modification time of its original.
        files.add((str(file), status.st_size, status.st_ctime_ns))
    return frozenset(files)
