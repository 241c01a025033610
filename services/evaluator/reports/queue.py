"""The evaluations of one evaluator, one at a time: those that clients ask for, and one of each served version."""

import asyncio
import logging
import threading
from functools import partial

from services.evaluator.metrics import REPORTS_SHOWN, EvaluatorMetrics
from services.evaluator.reports.evaluate import DEFAULT_SPLIT, evaluate
from services.evaluator.reports.report import PUBLISHED, Report
from services.evaluator.reports.report_store import list_reports
from services.evaluator.serving.served_model import ServedModel
from signet.errors import DeadlineExceeded, NotReady, SignetError, Unavailable
from signet.rpc.polling import StatusLog, poll_forever
from signet.store import ObjectStore

_log = logging.getLogger(__name__)


class EvaluationQueue:
    """Evaluates models and stores the reports. One evaluation takes all cores, so the next one waits for its end."""

    def __init__(self, store: ObjectStore, metrics: EvaluatorMetrics, *, commit: str, threads: int) -> None:
        self._store = store
        self._metrics = metrics
        self._commit = commit
        self._threads = threads
        self._turn = asyncio.Lock()
        self._evaluated_version = ""
        self._status = StatusLog(_log)

    async def run(self, model_name: str, version: str, split: str) -> Report:
        """Evaluate a model when all earlier evaluations have ended. A cancelled call stops before its next batch.

        Raises:
            SignetError: the errors of `evaluate`.
        """
        cancelled = threading.Event()

        def stop_if_cancelled(_done: int, _total: int) -> None:
            if cancelled.is_set():
                raise DeadlineExceeded("the caller cancelled the call, or its deadline passed; nothing was stored.")

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
                    on_progress=stop_if_cancelled,
                    metrics=self._metrics,
                )
            finally:
                cancelled.set()
        return report

    def show_stored(self) -> None:
        """Show the newest stored reports on published models in the metrics. Any process may have written them."""
        for report in reversed(list_reports(self._store, REPORTS_SHOWN)):
            about = report.provenance
            if about.protocol == PUBLISHED:
                self._metrics.show_accuracy(about.model_name, about.model_version, about.split, report.top1.value)

    async def poll(self, served: ServedModel, seconds: float) -> None:
        """Evaluate each version that comes to be served, once; check at this interval until cancelled."""
        await poll_forever(partial(self._evaluate_served, served), seconds, self._status, _log)

    async def _evaluate_served(self, served: ServedModel) -> bool:
        """Evaluate the served version, unless that was done; False if it must be tried again."""
        try:
            card = served.current().card
        except NotReady:
            return True
        if card.version == self._evaluated_version:
            return True
        try:
            if not await asyncio.to_thread(self._has_report, card.name, card.version):
                await self.run(card.name, card.version, DEFAULT_SPLIT)
        except Unavailable as error:
            self._status.report(f"cannot evaluate {card.name}/{card.version} now: {error}")
            return False
        except SignetError as error:
            self._status.report(f"cannot evaluate {card.name}/{card.version}: {error}")
        self._evaluated_version = card.version
        return True

    def _has_report(self, name: str, version: str) -> bool:
        evaluated = (report.provenance for report in list_reports(self._store))
        wanted = (name, version, DEFAULT_SPLIT)
        return any((about.model_name, about.model_version, about.split) == wanted for about in evaluated)
