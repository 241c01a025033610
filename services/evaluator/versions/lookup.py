"""The models that calls can use: the default one, and others that are loaded when a call names them."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress

from services.evaluator.versions.background_thread import BackgroundThread
from services.evaluator.versions.model_memory import ModelMemory, ModelUse
from services.evaluator.versions.served_model import RETRY_SECONDS, ServedModel, ServingStatus, copy_error
from signet.errors import Busy, DataLoss, DeadlineExceeded, NotFound, NotReady, SignetError
from signet.store import keys

_log = logging.getLogger(__name__)

# A model that does not exist is looked for again after this time, and one whose store was away.
_RECHECK_SECONDS = 3.0
# Errors that are kept for the next callers, and aliases that are followed. Callers choose the names.
_MAX_ERRORS, _MAX_FOLLOWED = 256, 64
# Models that are loaded or wait for it. Each takes up to a second.
_MAX_LOADS = 8
_LOADS_RETRY_SECONDS = 2.0
# A model may be unloaded again before the call that waited for it can use it.
_ATTEMPTS = 3

# How often it is checked whether all worker processes have ended.
_HEALTH_SECONDS = 1.0

# A model's name, and a version or an alias of it.
_Key = tuple[str, str]


class Models:
    """Finds the model of each call: `with await models.acquire(name, version) as model`.

    The default model is loaded at the start and never unloaded. Other models, versions and aliases are loaded when a
    call names them, one at a time. Calls that name the same one share the load. The aliases of models in memory are
    followed as that of the default model is. With `bundled`, the model that comes with Signet is served as long as the
    store has no version of the default model.

    Make it inside the event loop that serves.
    """

    def __init__(self, memory: ModelMemory, name: str, alias: str, *, bundled: bool = False) -> None:
        self.default = ServedModel(memory, name, alias, bundled=bundled)
        self._memory = memory
        self._others: OrderedDict[_Key, ServedModel] = OrderedDict()  # the last used one is last
        self._errors: OrderedDict[_Key, tuple[SignetError, float]] = OrderedDict()
        self._loads: dict[_Key, asyncio.Task[ServedModel]] = {}
        self._thread = BackgroundThread("load")
        self._default_thread = BackgroundThread("load-default")

    async def acquire(self, name: str = "", version: str = "", deadline_seconds: float | None = None) -> ModelUse:
        """The use of a model by one call. Load the model if it is not in memory.

        Args:
            name: the model; "" for the default one.
            version: a version or an alias; "" for the alias of the default model.
            deadline_seconds: wait at most so long for the load; None for no limit.

        Raises:
            NotReady: the default model is not served yet, or the model needs too much memory.
            NotFound: there is no such model or version.
            DataLoss: the version cannot be served; the message says why.
            Busy: all models in memory are in use, or too many are being loaded.
            DeadlineExceeded: the load takes longer.
            Unavailable: the store cannot be reached.
            InvalidInput: no model or version can have such a name.
        """
        key = (name or self.default.name, version or self.default.alias)
        if key == (self.default.name, self.default.alias):
            use = self.default.use()
            if use is None:
                raise NotReady(str(self.default.error()))
            return use
        try:
            async with asyncio.timeout(deadline_seconds):
                for _ in range(_ATTEMPTS):
                    served = self._others.get(key) or await self._load_once(key)
                    use = served.use()
                    if use is not None:
                        if key in self._others:
                            self._others.move_to_end(key)
                        return use
                    if self._others.get(key) is served:
                        self._forget(key)
        except TimeoutError:
            raise DeadlineExceeded(
                f"model {'/'.join(key)} is being loaded, which takes some seconds. Try again, or allow more time."
            ) from None
        raise Busy(f"model {'/'.join(key)} was unloaded at once: other models need the memory. Try again.", 1.0)

    def status(self, name: str = "") -> list[ServingStatus]:
        """What is served for each alias and version that calls have named, the default model first; "" for all models.

        Models that could not be loaded are listed as long as their error is kept.
        """
        found = [served.status() for served in (self.default, *self._others.values())]
        for (model, version), (error, _) in self._errors.items():
            if (model, version) not in self._others and not isinstance(error, NotFound):
                found.append(ServingStatus(model, version, False, "", version, str(error)))
        return [status for status in found if name in {"", status.model_name}]

    @property
    def memory_limit_bytes(self) -> int:
        """The bytes that all models in memory may need."""
        return self._memory.max_bytes

    def memory_bytes(self) -> int:
        """The bytes that the models in memory need."""
        return sum(held.memory_bytes for held in self._memory.versions())

    async def poll_default(self, seconds: float) -> None:
        """Follow the alias of the default model until cancelled. It does not wait while other models are loaded."""
        while True:
            await asyncio.sleep(seconds)
            await self._refresh(self._default_thread, self.default)

    async def poll_others(self, seconds: float) -> None:
        """Follow the aliases of the models in memory, except that of the default model, until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            for key, served in list(self._others.items()):
                if not served.is_in_memory():
                    self._forget(key)
                elif not served.is_fixed():
                    await self._refresh(self._thread, served)

    async def close(self, seconds: float) -> None:
        """Wait at most so long until no model is being loaded. The process may end while one is."""
        await asyncio.gather(self._thread.finish(seconds), self._default_thread.finish(seconds))

    async def show_health(self, show: Callable[[str, bool], Awaitable[None]]) -> None:
        """At each change, call `show` with a model's name and whether a version of it can answer, until cancelled."""
        loop, changed = asyncio.get_running_loop(), asyncio.Event()
        shown: dict[str, bool] = {}

        def notice_change() -> None:
            loop.call_soon_threadsafe(changed.set)

        self._memory.on_change = notice_change
        try:
            while True:
                changed.clear()
                serving = {held.name for held in self._memory.versions()} if self._memory.can_answer() else set()
                for name in {self.default.name, *serving, *shown}:
                    if shown.get(name) is not (name in serving):
                        shown[name] = name in serving
                        await show(name, shown[name])
                with suppress(TimeoutError):
                    async with asyncio.timeout(_HEALTH_SECONDS):
                        await changed.wait()
        finally:
            self._memory.on_change = lambda: None

    async def _refresh(self, thread: BackgroundThread, served: ServedModel) -> None:
        try:
            await thread.run(served.refresh)
        except Exception:  # noqa: BLE001  (one failed refresh must not end the polling)
            _log.exception("looking for a newer version of %s/%s failed unexpectedly", served.name, served.alias)

    async def _load_once(self, key: _Key) -> ServedModel:
        """Load a model; calls that need it at the same time share the load, which goes on if they leave.

        Raises:
            SignetError: why it cannot be loaded. The error is kept for some seconds, and the model not tried again.
        """
        error, until = self._errors.get(key, (None, 0.0))
        if error is not None:
            if self._memory.clock() < until:
                raise copy_error(error, str(error))
            del self._errors[key]
        load = self._loads.get(key)
        if load is None:
            keys.model(*key, "")
            if len(self._loads) >= _MAX_LOADS:
                raise Busy(
                    f"model {'/'.join(key)} cannot be loaded now: {_MAX_LOADS} other models are being loaded. "
                    f"Try again in {_LOADS_RETRY_SECONDS:g} s.",
                    _LOADS_RETRY_SECONDS,
                )
            load = self._loads[key] = asyncio.create_task(self._load(key))
            # Each caller gets the error. Without this, asyncio logs it if all callers have left.
            load.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(load)

    async def _load(self, key: _Key) -> ServedModel:
        served = ServedModel(self._memory, *key, essential=False)
        try:
            served.adopt()
            if not served.is_in_memory():
                await self._thread.run(served.refresh)
            if not served.is_in_memory():
                error = served.error() or NotReady(f"model {'/'.join(key)} was unloaded at once. Try again.")
                served.close()
                self._keep_error(key, error)
                raise copy_error(error, str(error))
            self._others[key] = served
            while len(self._others) > _MAX_FOLLOWED:
                self._forget(next(iter(self._others)))
            return served
        finally:
            del self._loads[key]

    def _keep_error(self, key: _Key, error: SignetError) -> None:
        if isinstance(error, Busy):
            return
        seconds = RETRY_SECONDS if isinstance(error, DataLoss | NotReady) else _RECHECK_SECONDS
        self._errors[key] = (error, self._memory.clock() + seconds)
        while len(self._errors) > _MAX_ERRORS:
            self._errors.popitem(last=False)

    def _forget(self, key: _Key) -> None:
        served = self._others.pop(key, None)
        if served is not None:
            served.close()
