"""Training without being asked: whenever a corpus is complete that was not trained on yet."""

import asyncio
import logging

from services.trainer.config import TrainConfig
from services.trainer.runs import Run, Runs, succeeded
from signet.corpus import read_manifest
from signet.errors import SignetError
from signet.store import ObjectStore

_log = logging.getLogger(__name__)

# A run that fails may have met a store that was away; one that fails so often on the same clips will go on failing.
_ATTEMPTS = 3

_WATCH_SECONDS = 0.2


class AutoTraining:
    """Looks at the corpus every so many seconds, and trains if it is new.

    A corpus counts as trained on once a run with this very configuration came to its end on it: so one that was killed
    or interrupted is done again by the next process, and a changed configuration trains anew.

    Args:
        store: where the corpus and the runs are.
        runs: who trains.
        config: what every run is told.
        seconds: between two looks.
    """

    def __init__(self, store: ObjectStore, runs: Runs, config: TrainConfig, seconds: float) -> None:
        self._store = store
        self._runs = runs
        self._config = config
        self._seconds = seconds
        self._settled = ""
        self._failed = 0
        self._said = ""

    async def follow(self) -> None:
        """Look for ever."""
        while True:
            try:
                await self._look()
            except SignetError as error:
                self._say(f"{error} Looking again every {self._seconds:g} s.", logging.WARNING)
            except Exception:  # noqa: BLE001  (one failed look must not end the following)
                _log.exception("looking for a corpus failed unexpectedly")
            await asyncio.sleep(self._seconds)

    async def _look(self) -> None:
        corpus = self._config.corpus
        manifest = await asyncio.to_thread(read_manifest, self._store, corpus)
        if manifest is None:
            return self._say(f"waiting for corpus {corpus!r} to be extracted")
        if manifest.version == self._settled:
            return None
        if await asyncio.to_thread(self._is_trained, manifest.version):
            self._settled = manifest.version
            return self._say(f"corpus {corpus!r} of version {manifest.version} was trained on already")
        run = await asyncio.to_thread(self._runs.start, self._config, manifest.version)
        self._say(f"corpus {corpus!r} of version {manifest.version} is new: run {run.run_id}")
        await _ended(run)
        self._failed = self._failed + 1 if run.state == "failed" else 0
        if self._failed == _ATTEMPTS:
            self._say(f"{_ATTEMPTS} runs on these clips failed: waiting for others, or a restart", logging.ERROR)
        if self._failed in {0, _ATTEMPTS}:
            self._settled, self._failed = manifest.version, 0
        return None

    def _is_trained(self, version: str) -> bool:
        return any(
            config == self._config and result.corpus_version == version for config, result in succeeded(self._store)
        )

    def _say(self, message: str, level: int = logging.INFO) -> None:
        if message != self._said:
            _log.log(level, "%s", message)
        self._said = message


async def _ended(run: Run) -> None:
    while not run.ended:
        await asyncio.sleep(_WATCH_SECONDS)
