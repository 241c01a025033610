"""Which model is served: whatever an alias names, followed without a restart."""

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

# A version that could not be served may be restored from a backup; looking costs a download.
_SECOND_CHANCE_SECONDS = 60.0


class ServedModel:
    """The model that an alias names, as of the last look.

    A new version is loaded beside the old one and then takes its place in one assignment: a call that runs keeps the
    version that it began with. Whatever goes wrong with a new version or with the store, the old one goes on serving.

    Args:
        store: where models are published.
        name: the model.
        alias: the alias that is followed, or a version, which then never moves.
        metrics: told what is served and what could not be.
        threads: see `LoadedModel`.
        clock: monotonic seconds.
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
        self._why_none = f"model {name!r}: not looked for yet. Try again in a moment."
        self._refused: tuple[str, float] | None = None
        self._status = StatusLog(_log)

    def current(self) -> LoadedModel:
        """The served model.

        Raises:
            NotReady: there is none; the message says why, and what to do.
        """
        if self._model is None:
            raise NotReady(self._why_none)
        return self._model

    def refresh(self) -> None:
        """Look where the alias points, and serve that version. Blocks; never raises what a next look may cure."""
        try:
            version = registry.resolve(self._store, self._name, self._alias)
            self._metrics.store_up.set(1)
        except NotFound as error:
            self._metrics.store_up.set(1)
            self._keep(
                f"no model to serve yet: {error} It is picked up within seconds of being published.", logging.INFO
            )
            return
        except SignetError as error:
            self._metrics.store_up.set(not isinstance(error, Unavailable))
            self._keep(f"cannot look for a newer model: {error}")
            return
        if self._model is not None and self._model.card.version == version:
            self._refused = None
            self._status.clear()
        elif self._refused is None or self._refused[0] != version or self._clock() >= self._refused[1]:
            self._take(version)

    async def follow(self, seconds: float) -> None:
        """Refresh for ever, every so many seconds."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await asyncio.to_thread(self.refresh)
            except Exception:  # noqa: BLE001  (one failed look must not end the following)
                _log.exception("looking for a newer model failed unexpectedly; trying again in %g s", seconds)

    def _take(self, version: str) -> None:
        started = time.perf_counter()
        try:
            model = LoadedModel.load(self._store, self._name, version, self._threads)
        except Unavailable as error:
            self._keep(f"cannot load {self._name}/{version}: {error}")
            return
        except SignetError as error:
            self._metrics.load_failures.inc()
            self._refused = (version, self._clock() + _SECOND_CHANCE_SECONDS)
            self._keep(f"{error}")
            return
        self._model = model
        self._refused = None
        self._status.clear()
        self._metrics.serve(model.card)
        _log.info(
            "serving %s: %d glosses, %d parameters, loaded in %.2f s",
            model.name, len(model.vocabulary), model.card.parameters, time.perf_counter() - started,
        )  # fmt: skip

    def _keep(self, why: str, level: int = logging.ERROR) -> None:
        """Go on with what there is, and say why, once."""
        if self._model is None:
            self._why_none = why
            self._status.report(why, level)
        else:
            self._status.report(f"{why} Still serving {self._model.name}.", logging.ERROR)
