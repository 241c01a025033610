"""The served model: the version that an alias names. A new version replaces it without a restart."""

import asyncio
import logging
import time
from collections.abc import Callable

from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.serving.loaded_model import LoadedModel
from signet import registry
from signet.errors import NotFound, NotReady, SignetError, Unavailable
from signet.rpc.polling import StatusLog
from signet.store import ObjectStore

_log = logging.getLogger(__name__)

# A version that could not be served is tried again after this time: it may have been restored from a backup. Each
# attempt downloads the version.
_RETRY_SECONDS = 60.0


class ServedModel:
    """The version that an alias named at the last `refresh`.

    A new version is loaded while the old one serves, and then replaces it in one assignment: a running call keeps the
    version that it began with. If the new version is damaged or the store cannot be reached, the old version serves on.

    `alias` may also be a version, which never changes. `clock` gives monotonic seconds.
    """

    def __init__(
        self,
        store: ObjectStore,
        name: str,
        alias: str,
        metrics: EvaluatorMetrics,
        *,
        threads: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._name = name
        self._alias = alias
        self._metrics = metrics
        self._threads = threads
        self._clock = clock
        self._model: LoadedModel | None = None
        self._why_not_ready = f"model {name!r}: the evaluator has just started. Try again in a moment."
        # The version that could not be loaded, and when to try it again.
        self._refused: tuple[str, float] | None = None
        self._status = StatusLog(_log)

    def current(self) -> LoadedModel:
        """The served model.

        Raises:
            NotReady: no model is served; the message says why, and what to do.
        """
        if self._model is None:
            raise NotReady(self._why_not_ready)
        return self._model

    def refresh(self) -> None:
        """Resolve the alias, and load the version if it is new. Blocks. Logs a `SignetError` instead of raising it."""
        try:
            version = registry.resolve(self._store, self._name, self._alias)
            self._metrics.store_up.set(1)
        except NotFound as error:
            self._metrics.store_up.set(1)
            self._keep_current(
                f"no model to serve yet: {error} The evaluator serves it within seconds of its publication.",
                logging.INFO,
            )
            return
        except SignetError as error:
            self._metrics.store_up.set(not isinstance(error, Unavailable))
            self._keep_current(f"cannot look for a newer model: {error}")
            return
        if self._model is not None and self._model.card.version == version:
            self._refused = None
            self._status.clear()
        elif self._refused is None or self._refused[0] != version or self._clock() >= self._refused[1]:
            self._load(version)

    async def poll(self, seconds: float) -> None:
        """Refresh at this interval until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await asyncio.to_thread(self.refresh)
            except Exception:  # noqa: BLE001  (one failed refresh must not end the polling)
                _log.exception("looking for a newer model failed unexpectedly; trying again in %g s", seconds)

    def _load(self, version: str) -> None:
        started = time.perf_counter()
        try:
            model = LoadedModel.load(self._store, self._name, version, self._threads)
        except Unavailable as error:
            self._keep_current(f"cannot load {self._name}/{version}: {error}")
            return
        except SignetError as error:
            self._metrics.load_failures.inc()
            self._refused = (version, self._clock() + _RETRY_SECONDS)
            self._keep_current(str(error))
            return
        self._model = model
        self._refused = None
        self._status.clear()
        self._metrics.show_served(model.card)
        _log.info(
            "serving %s: %d glosses, %d parameters, loaded in %.2f s",
            model.name, len(model.vocabulary), model.card.parameters, time.perf_counter() - started,
        )  # fmt: skip

    def _keep_current(self, reason: str, level: int = logging.ERROR) -> None:
        """Log once why the served model stays, or why there is none."""
        if self._model is None:
            self._why_not_ready = reason
            self._status.report(reason, level)
        else:
            self._status.report(f"{reason} Still serving {self._model.name}.", logging.ERROR)
