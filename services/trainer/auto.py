"""Automatic training (`--auto-train`): train as soon as a corpus is complete that no run was trained on."""

import asyncio
import logging
import time
from collections.abc import Callable

from services.trainer.config.setting_effects import WHERE_IT_TRAINS
from services.trainer.config.train_config import TrainConfig
from services.trainer.runs.listing import find_succeeded_runs, find_unfinished_runs
from services.trainer.runs.progress import SILENCE_SECONDS, RunProgress
from services.trainer.runs.queue import QueuedRun, RunFailure, TrainingQueue
from signet.datasets.corpus import read_manifest
from signet.errors import Unavailable
from signet.rpc.polling import StatusLog, poll_forever
from signet.store import ObjectStore

_log = logging.getLogger(__name__)

# After so many failed runs on the same clips no other is started. Failures of the store do not count.
_MAX_FAILURES = 3

# Settings that do not change what is trained. The values of a preset are compared one by one. A run stores the version
# of its source model and not the alias, so `start_from` is compared separately.
_IGNORED_SETTINGS = {*WHERE_IT_TRAINS, "preset", "start_from"}

_POLL_RUN_SECONDS = 0.2


class AutoTraining:
    """Polls a corpus every so many seconds, and trains on each new version of it.

    A version counts as trained on when a run with this configuration has succeeded on it. A run that was interrupted is
    resumed. A configuration that trains something else starts a new run.
    """

    def __init__(
        self,
        store: ObjectStore,
        runs: TrainingQueue,
        config: TrainConfig,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._runs = runs
        self._config = config
        self._seconds = seconds
        self._settled_version = ""
        self._tried_version = ""
        self._failures = 0
        self._clock = clock
        self._seen: tuple[str, str, str] | None = None  # the progress of a run of another machine, as last seen
        self._seen_since = 0.0
        self._status = StatusLog(_log)

    async def follow(self) -> None:
        """Poll until this task is cancelled."""
        await poll_forever(self._poll, self._seconds, self._status, _log)

    async def _poll(self) -> bool:
        """Train if there is a new version; False if its run failed and is to be repeated."""
        corpus = self._config.corpus
        manifest = await asyncio.to_thread(read_manifest, self._store, corpus)
        if manifest is None:
            self._status.report(f"waiting for corpus {corpus!r} to be extracted", logging.INFO)
            return True
        version = manifest.version
        if version == self._settled_version:
            return True
        if await asyncio.to_thread(self._is_trained, version):
            self._settled_version = version
            self._status.report(f"version {version} of corpus {corpus!r} was trained on already", logging.INFO)
            return True
        if version != self._tried_version:
            self._tried_version, self._failures = version, 0
        run = await asyncio.to_thread(self._start_or_resume, version)
        if run is None:
            return True
        while not run.ended:
            await asyncio.sleep(_POLL_RUN_SECONDS)
        return self._is_settled_by(run, version)

    def _start_or_resume(self, version: str) -> QueuedRun | None:
        """Resume the interrupted run on this version, or start a new one. None if another process seems to train it."""
        for run_id, config, progress in find_unfinished_runs(self._store):
            if progress is None or progress.corpus_version != version or progress.failure:
                continue
            if not self._trains_the_same(config):
                continue
            if self._seems_live(run_id, progress):
                self._status.report(
                    f"process {progress.owner.pid} on {progress.owner.host} seems to train run {run_id}: waiting for "
                    "its end"
                )
                return None
            run = self._runs.resume(run_id, self._config.model_dump(include=set(WHERE_IT_TRAINS)))
            _log.info("version %s of corpus %r: run %s was interrupted and is resumed", version, config.corpus, run_id)
            return run
        run = self._runs.start(self._config, version)
        _log.info("version %s of corpus %r is new: run %s", version, self._config.corpus, run.run_id)
        return run

    def _seems_live(self, run_id: str, progress: RunProgress) -> bool:
        """Whether another process seems to train the run. Clocks of two machines are never compared.

        A process on another machine is taken for dead when its progress stays the same for so long by the clock here.
        """
        running = progress.owner.is_running()
        if running is not None:
            return running
        seen = (run_id, progress.owner.token, progress.updated)
        if self._seen != seen:
            self._seen, self._seen_since = seen, self._clock()
        return self._clock() - self._seen_since < SILENCE_SECONDS

    def _is_settled_by(self, run: QueuedRun, version: str) -> bool:
        """Whether no other run on this version is to be started after this one, which has ended."""
        if run.state == "failed":
            failure = run.events[-1]
            self._failures += not (isinstance(failure, RunFailure) and failure.code == Unavailable.code)
            if self._failures < _MAX_FAILURES:
                return False
            _log.error("%d runs on these clips failed. Waiting for a new version, or a restart", _MAX_FAILURES)
        self._settled_version = version
        return True

    def _is_trained(self, version: str) -> bool:
        return any(
            result.corpus_version == version and self._trains_the_same(config)
            for config, result in find_succeeded_runs(self._store)
        )

    def _trains_the_same(self, config: TrainConfig) -> bool:
        """Whether a run with this configuration trains what this process is configured to train."""
        own, source = self._config, self._config.start_from
        return config.model_dump(exclude=_IGNORED_SETTINGS) == own.model_dump(exclude=_IGNORED_SETTINGS) and (
            config.start_from == source or config.start_from.startswith(f"{source.partition('@')[0]}@")
        )
