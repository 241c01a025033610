"""The evaluations of one evaluator: one after the other, for clients and for each version that comes to be served."""

import asyncio
import logging
import threading
from functools import partial

from services.evaluator.metrics import REPORTS_SHOWN, EvaluatorMetrics
from services.evaluator.reports.evaluate import DEFAULT_SPLIT, EvaluationProgress, evaluate
from services.evaluator.reports.report import PUBLISHED, Report, list_reports
from services.evaluator.serving.served_model import ServedModel
from signet.errors import DeadlineExceeded, NotReady, SignetError, Unavailable
from signet.rpc.polling import StatusLog, poll_forever
from signet.store import ObjectStore

_log = logging.getLogger(__name__)


class EvaluationQueue:
    """Evaluates and stores reports. Each evaluation takes all the cores that it is given, so they wait for one another.

    Args:
        store: where models and snapshots are, and where reports go.
        metrics: told the batch_indices and the accuracies.
        commit: git commit of this code.
        threads: see `LoadedModel`.
    """

    def __init__(self, store: ObjectStore, metrics: EvaluatorMetrics, *, commit: str, threads: int) -> None:
        self._store = store
        self._metrics = metrics
        self._commit = commit
        self._threads = threads
        self._turn = asyncio.Lock()
        self._measured = ""
        self._status = StatusLog(_log)

    async def run(self, model_name: str, version: str, split: str) -> Report:
        """Evaluate when its turn has come; a caller that leaves ends it before its next batch.

        Raises:
            SignetError: see `evaluate`.
        """
        gone = threading.Event()

        def watch(_: EvaluationProgress) -> None:
            if gone.is_set():
                raise DeadlineExceeded("the caller is gone, or its time ran out; nothing was stored.")

        async with self._turn:
            try:
                report, _ = await asyncio.to_thread(
                    evaluate,
                    self._store,
                    model_name,
                    version,
                    split,
                    commit=self._commit,
                    threads=self._threads,
                    watch=watch,
                    metrics=self._metrics,
                )
            finally:
                gone.set()
        return report

    def show_stored(self) -> None:
        """Let the metrics show the newest reports on published models, whichever process wrote them."""
        for report in reversed(list_reports(self._store, REPORTS_SHOWN)):
            about = report.provenance
            if about.protocol != PUBLISHED:
                continue  # on a run's models, which no server serves
            self._metrics.show_accuracy(about.model_name, about.model_version, about.split, report.top1.value)

    async def poll(self, served: ServedModel, seconds: float) -> None:
        """Measure each version that is served, once in its life, looking every so many seconds for ever."""
        await poll_forever(partial(self._measure, served), seconds, self._status, _log)

    async def _measure(self, served: ServedModel) -> bool:
        """Measure what is served, if it was not; False if that has to be tried again."""
        try:
            card = served.current().card
        except NotReady:
            return True
        if card.version == self._measured:
            return True
        try:
            if not await asyncio.to_thread(self._is_reported, card.name, card.version):
                await self.run(card.name, card.version, DEFAULT_SPLIT)
        except Unavailable as error:
            self._status.report(f"cannot measure {card.name}/{card.version} now: {error}")
            return False
        except SignetError as error:
            self._status.report(f"cannot measure {card.name}/{card.version}: {error}")
        self._measured = card.version
        return True

    def _is_reported(self, name: str, version: str) -> bool:
        about = (report.provenance for report in list_reports(self._store))
        return any((one.model_name, one.model_version, one.split) == (name, version, DEFAULT_SPLIT) for one in about)
