"""Training without being asked: whenever a corpus is complete that was not trained on yet."""

import asyncio
import logging

from services.trainer.config.train_config import TrainConfig
from services.trainer.runs.listing import OPERATIONAL, find_succeeded_runs, find_unfinished_runs
from services.trainer.runs.queue import QueuedRun, RunFailure, TrainingQueue
from signet.datasets.corpus import read_manifest
from signet.errors import Unavailable
from signet.rpc.polling import StatusLog, poll_forever
from signet.store import ObjectStore

_log = logging.getLogger(__name__)

# A run that fails so often on the same clips will go on failing. A store that was away does not count.
_ATTEMPTS = 3

# Settings that say how a run is done, and not what is learnt. What a preset says, its values say.
# A run notes the version of the model that it began with, where it was told a name that moves: that is compared apart.
_UNLEARNT = {*OPERATIONAL, "preset", "start_from"}

_WATCH_SECONDS = 0.2


class AutoTraining:
    """Looks at the corpus every so many seconds, and trains if it is new.

    A corpus counts as trained on once a run with this configuration came to its end on it: so one that was killed or
    interrupted is continued by the next process, and a configuration that learns something else trains anew.

    Args:
        store: where the corpus and the runs are.
        runs: who trains.
        config: what every run is told.
        seconds: between two looks.
    """

    def __init__(self, store: ObjectStore, runs: TrainingQueue, config: TrainConfig, seconds: float) -> None:
        self._store = store
        self._runs = runs
        self._config = config
        self._seconds = seconds
        self._settled = ""
        self._tried = ""
        self._failed = 0
        self._status = StatusLog(_log)

    async def follow(self) -> None:
        """Look for ever."""
        await poll_forever(self._look, self._seconds, self._status, _log)

    async def _look(self) -> bool:
        """Train if there is something new; False if that failed and is to be tried again."""
        corpus = self._config.corpus
        manifest = await asyncio.to_thread(read_manifest, self._store, corpus)
        if manifest is None:
            self._status.report(f"waiting for corpus {corpus!r} to be extracted", logging.INFO)
            return True
        version = manifest.version
        if version == self._settled:
            return True
        if await asyncio.to_thread(self._is_trained, version):
            self._settled = version
            self._status.report(f"corpus {corpus!r} of version {version} was trained on already", logging.INFO)
            return True
        if version != self._tried:
            self._tried, self._failed = version, 0
        run = await asyncio.to_thread(self._next, version)
        if run is None:
            return True
        await _ended(run)
        return self._judge(run, version)

    def _next(self, version: str) -> QueuedRun | None:
        """The run that this version of the corpus is to have now: the one that was interrupted, or a new one.

        None if another process seems to be at it.
        """
        for run_id, config, progress in find_unfinished_runs(self._store):
            if progress is None or progress.corpus_version != version or progress.failure or not self._is_mine(config):
                continue
            if progress.is_live():
                self._status.report(
                    f"run {run_id} seems to be under way in process {progress.owner.pid} on {progress.owner.host}: "
                    "waiting for its end"
                )
                return None
            changes = self._config.model_dump(include=set(OPERATIONAL))
            run = self._runs.resume(run_id, changes)
            _log.info("corpus %r of version %s: run %s was interrupted, and goes on", config.corpus, version, run_id)
            return run
        run = self._runs.start(self._config, version)
        _log.info("corpus %r of version %s is new: run %s", self._config.corpus, version, run.run_id)
        return run

    def _judge(self, run: QueuedRun, version: str) -> bool:
        """Whether this version is settled, now that a run on it has ended."""
        if run.state == "failed":
            last = run.events[-1]
            self._failed += not (isinstance(last, RunFailure) and last.code == Unavailable.code)
            if self._failed < _ATTEMPTS:
                return False
            _log.error("%d runs on these clips failed: waiting for others, or a restart", _ATTEMPTS)
        self._settled = version
        return True

    def _is_trained(self, version: str) -> bool:
        return any(
            self._is_mine(config) and result.corpus_version == version
            for config, result in find_succeeded_runs(self._store)
        )

    def _is_mine(self, config: TrainConfig) -> bool:
        """Whether a run with this configuration learns what this one is told to learn."""
        return config.model_dump(exclude=_UNLEARNT) == self._config.model_dump(exclude=_UNLEARNT) and (
            config.start_from == self._config.start_from
            or config.start_from.startswith(f"{self._config.start_from.partition('@')[0]}@")
        )


async def _ended(run: QueuedRun) -> None:
    while not run.ended:
        await asyncio.sleep(_WATCH_SECONDS)
