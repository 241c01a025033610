"""The evaluations of one evaluator, one at a time: those that clients ask for, and one of each served version."""

import asyncio
import logging
import threading
from dataclasses import dataclass
from functools import partial

from services.evaluator.metrics import REPORTS_SHOWN, EvaluatorMetrics
from services.evaluator.reports.evaluate import DEFAULT_SPLIT, evaluate
from services.evaluator.reports.report import PUBLISHED, Report
from services.evaluator.reports.report_store import ReportIndex, list_reports
from services.evaluator.versions.served_model import ServedModel
from signet import __version__, registry
from signet.errors import Busy, DeadlineExceeded, InvalidInput, NotReady, SignetError, Unavailable
from signet.rpc.polling import StatusLog, poll_forever
from signet.store import ObjectStore

_log = logging.getLogger(__name__)

# Evaluations that run or wait. Each takes seconds to minutes on all cores, so more of them would wait for hours.
MAX_EVALUATIONS = 8
# When to try again if so many wait.
_RETRY_SECONDS = 30.0

# The longest name of a split; "train", "val" and "test" are usual.
_MAX_SPLIT_CHARACTERS = 128

# A model's name, its version, and a split.
_Key = tuple[str, str, str]


@dataclass(eq=False)
class _Evaluation:
    """An evaluation that runs or waits, for all callers that asked for the same."""

    task: asyncio.Task[Report]
    cancelled: threading.Event  # set when no caller waits for it any more
    begun: asyncio.Event  # set when its turn has come
    callers: int = 0


class EvaluationQueue:
    """Evaluates models and stores the reports. One evaluation takes all cores, so the next one waits for its end."""

    def __init__(self, store: ObjectStore, metrics: EvaluatorMetrics, *, commit: str, threads: int) -> None:
        self.reports = ReportIndex(store)
        self._store = store
        self._metrics = metrics
        self._commit = commit
        self._threads = threads
        self._turn = asyncio.Lock()
        self._evaluations: dict[_Key, _Evaluation] = {}
        self._evaluated_version = ""
        self._status = StatusLog(_log)

    async def run(self, model_name: str, version_or_alias: str, split: str) -> Report:
        """The report on a model. Equal calls share one evaluation, and a stored report is not made again.

        An evaluation runs when all earlier ones have ended. It stops before its next batch if all its callers leave.

        Raises:
            Busy: too many evaluations wait.
            SignetError: the errors of `evaluate`.
        """
        key, stored = await asyncio.to_thread(self._find_stored, model_name, version_or_alias, split)
        if stored is not None:
            return stored
        evaluation = self._evaluations.get(key)
        if evaluation is None:
            evaluation = self._evaluations[key] = self._start(key)
        evaluation.callers += 1
        try:
            return await asyncio.shield(evaluation.task)
        finally:
            evaluation.callers -= 1
            if not evaluation.callers:
                self._leave(key, evaluation)

    def _find_stored(self, model_name: str, version_or_alias: str, split: str) -> tuple[_Key, Report | None]:
        """What is to be evaluated, and the stored report on it.

        A report on clips of the corpus is not looked for here, since the corpus may have other clips by now.
        """
        if len(split) > _MAX_SPLIT_CHARACTERS:
            raise InvalidInput(
                f"the name of the split has {len(split)} characters; at most {_MAX_SPLIT_CHARACTERS} are allowed."
            )
        key = model_name, registry.resolve(self._store, model_name, version_or_alias), split
        for report in self.reports.newest():
            about = report.provenance
            same_code = (about.commit, about.signet_version) == (self._commit, __version__)
            if _key_of(report) == key and same_code and not about.clips_version:
                return key, report
        return key, None

    def _start(self, key: _Key) -> _Evaluation:
        if len(self._evaluations) >= MAX_EVALUATIONS:
            raise Busy(f"{MAX_EVALUATIONS} evaluations are running or waiting. Try again later.", _RETRY_SECONDS)
        cancelled, begun = threading.Event(), asyncio.Event()
        task = asyncio.create_task(self._evaluate(key, cancelled, begun))
        # Each caller gets the error. Without this, asyncio logs it if all callers have left.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return _Evaluation(task, cancelled, begun)

    def _leave(self, key: _Key, evaluation: _Evaluation) -> None:
        evaluation.cancelled.set()
        if self._evaluations.get(key) is evaluation:
            del self._evaluations[key]
        if not evaluation.begun.is_set():
            evaluation.task.cancel()

    async def _evaluate(self, key: _Key, cancelled: threading.Event, begun: asyncio.Event) -> Report:
        def stop_if_cancelled(_done: int, _total: int) -> None:
            if cancelled.is_set():
                raise DeadlineExceeded("the caller cancelled the call, or its deadline passed; nothing was stored.")

        async with self._turn:
            begun.set()
            report, _ = await asyncio.to_thread(
                evaluate,
                self._store,
                *key,
                commit=self._commit,
                threads=self._threads,
                on_progress=stop_if_cancelled,
                metrics=self._metrics,
                stored=self.reports,
            )
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
        if card.version == self._evaluated_version or card.name != served.name:
            # The store has no clips of the model that comes with Signet.
            return True
        try:
            if not await asyncio.to_thread(self._has_report, card.name, card.version):
                await self.run(card.name, card.version, DEFAULT_SPLIT)
        except (Unavailable, Busy) as error:
            self._status.report(f"cannot evaluate {card.name}/{card.version} now: {error}")
            return False
        except SignetError as error:
            self._status.report(f"cannot evaluate {card.name}/{card.version}: {error}")
        self._evaluated_version = card.version
        return True

    def _has_report(self, name: str, version: str) -> bool:
        return any(_key_of(report) == (name, version, DEFAULT_SPLIT) for report in self.reports.newest())


def _key_of(report: Report) -> _Key | None:
    """What a report is about; None for a report on a training run."""
    about = report.provenance
    return (about.model_name, about.model_version, about.split) if about.protocol == PUBLISHED else None
