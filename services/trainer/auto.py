"""Training without being asked: whenever a corpus is complete that was not trained on yet."""

import asyncio
import logging

from services.trainer.config import TrainConfig
from services.trainer.runs import Failure, Run, Runs, succeeded
from signet.corpus import read_manifest
from signet.errors import Unavailable
from signet.following import Once, follow
from signet.store import ObjectStore

_log = logging.getLogger(__name__)

# A run that fails so often on the same clips will go on failing. A store that was away does not count.
_ATTEMPTS = 3

# Settings that say how a run is done, and not what is learnt.
_OPERATIONAL = {"device", "max_gpu_temperature"}

_WATCH_SECONDS = 0.2


class AutoTraining:
    """Looks at the corpus every so many seconds, and trains if it is new.

    A corpus counts as trained on once a run with this configuration came to its end on it: so one that was killed or
    interrupted is done again by the next process, and a configuration that learns something else trains anew.

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
        self._tried = ""
        self._failed = 0
        self._once = Once(_log)

    async def follow(self) -> None:
        """Look for ever."""
        await follow(self._look, self._seconds, self._once, _log)

    async def _look(self) -> bool:
        """Train if there is something new; False if that failed and is to be tried again."""
        corpus = self._config.corpus
        manifest = await asyncio.to_thread(read_manifest, self._store, corpus)
        if manifest is None:
            self._once.say(f"waiting for corpus {corpus!r} to be extracted", logging.INFO)
            return True
        version = manifest.version
        if version == self._settled:
            return True
        if await asyncio.to_thread(self._is_trained, version):
            self._settled = version
            self._once.say(f"corpus {corpus!r} of version {version} was trained on already", logging.INFO)
            return True
        if version != self._tried:
            self._tried, self._failed = version, 0
        run = await asyncio.to_thread(self._runs.start, self._config, version)
        _log.info("corpus %r of version %s is new: run %s", corpus, version, run.run_id)
        await _ended(run)
        return self._judge(run, version)

    def _judge(self, run: Run, version: str) -> bool:
        """Whether this version is settled, now that a run on it has ended."""
        if run.state == "failed":
            last = run.events[-1]
            self._failed += not (isinstance(last, Failure) and last.code == Unavailable.code)
            if self._failed < _ATTEMPTS:
                return False
            _log.error("%d runs on these clips failed: waiting for others, or a restart", _ATTEMPTS)
        self._settled = version
        return True

    def _is_trained(self, version: str) -> bool:
        told = self._config.model_dump(exclude=_OPERATIONAL)
        return any(
            config.model_dump(exclude=_OPERATIONAL) == told and result.corpus_version == version
            for config, result in succeeded(self._store)
        )


async def _ended(run: Run) -> None:
    while not run.ended:
        await asyncio.sleep(_WATCH_SECONDS)
