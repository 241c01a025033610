"""The model versions in memory: each is loaded once, counts its calls, and is unloaded if another one needs room."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.serving.compute import Compute
from services.evaluator.serving.servable_model import ServableModel
from signet.errors import Busy, NotReady
from signet.store import ObjectStore

_log = logging.getLogger(__name__)

_MIB = 1 << 20
_NO_PARITY = "; it has no parity vector, so its answers are not compared with those of the trainer"
# When to try again if all versions in memory are in use. A call takes milliseconds.
_RETRY_SECONDS = 1.0


@dataclass(eq=False)
class VersionInMemory:
    """A version in memory. Only `ModelMemory` changes it."""

    name: str
    version: str
    model: ServableModel | None  # None after it was unloaded
    memory_bytes: int
    loaded_at: datetime
    last_used: float
    holders: int = 0  # aliases and versions by which calls find it
    essential: bool = False  # it is never unloaded to make room
    calls: int = 0  # calls that use it now


class ModelUse:
    """The use of a version by one call, as a context: until it ends, the version stays in memory."""

    __slots__ = ("_held", "_memory", "_model")

    def __init__(self, memory: "ModelMemory", held: VersionInMemory, model: ServableModel) -> None:
        self._memory = memory
        self._held = held
        self._model = model

    def __enter__(self) -> ServableModel:
        return self._model

    def __exit__(self, *_: object) -> None:
        del self._model
        self._memory.end_use(self._held)


class ModelMemory:
    """Loads versions, and bounds how many are in memory and how many bytes they need. Safe to use from several threads.

    A version is unloaded when no alias leads to it any more and its last call has ended. If a new version needs room,
    the version that was not used for the longest time is unloaded, unless calls use it or it is essential.

    Args:
        store: has the published versions.
        metrics: counts loads and unloads.
        compute: loads the versions.
        max_models: at most so many versions are in memory.
        max_bytes: at most so many bytes are needed by them. The trial of each model measures how many it needs.
        clock: gives monotonic seconds.
    """

    def __init__(
        self,
        store: ObjectStore,
        metrics: EvaluatorMetrics,
        compute: Compute,
        *,
        max_models: int = 8,
        max_bytes: int = 1024 * _MIB,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self.metrics = metrics
        self.clock = clock
        self.max_bytes = max_bytes
        # Called after each load and unload, from any thread.
        self.on_change: Callable[[], None] = lambda: None
        self._compute = compute
        self._max_models = max_models
        self._lock = threading.Lock()
        self._versions: dict[tuple[str, str], VersionInMemory] = {}
        self._loading: dict[tuple[str, str], threading.Lock] = {}
        self._reserved: dict[tuple[str, str], int] = {}  # bytes of the versions that are being loaded
        # Unloaded models. They are freed outside the lock, because ONNX Runtime takes milliseconds for it.
        self._unloaded: list[ServableModel] = []

    def hold(self, name: str, version: str, *, essential: bool = False) -> VersionInMemory | None:
        """Hold a version that is in memory; None if it is not."""
        with self._lock:
            found = self._versions.get((name, version))
            if found is not None:
                found.holders += 1
                found.essential |= essential
        return found

    def load(self, name: str, version: str, *, essential: bool = False) -> VersionInMemory:
        """Load a version unless it is in memory, and hold it. Blocks. Two loads of one version share the work.

        An essential version is loaded even if there is no room.

        Raises:
            NotFound: there is no such version.
            DataLoss: it is damaged, or this evaluator cannot serve it.
            Busy: all versions in memory are in use, so that there is no room.
            NotReady: it needs more memory than all versions may have.
            Unavailable: the store cannot be reached.
        """
        key = (name, version)
        with self._lock:
            loading = self._loading.setdefault(key, threading.Lock())
        with loading:
            found = self.hold(name, version, essential=essential)
            if found is not None:
                return found
            try:
                return self._load(key, essential)
            finally:
                with self._lock:
                    self._reserved.pop(key, None)
                    self._loading.pop(key, None)

    def release(self, held: VersionInMemory, *, essential: bool = False) -> None:
        """End a hold. The version is unloaded when its last call has ended, if this was the last hold.

        `essential` says that the hold was an essential one.
        """
        with self._lock:
            held.holders -= 1
            if essential:
                held.essential = False
            self._unload_if_unused(held)
        self._unloaded.clear()

    def use(self, held: VersionInMemory) -> ModelUse | None:
        """Use a version for one call; None if it was unloaded."""
        with self._lock:
            if held.model is None:
                return None
            held.calls += 1
            held.last_used = self.clock()
            return ModelUse(self, held, held.model)

    def end_use(self, held: VersionInMemory) -> None:
        """End the use of one call."""
        with self._lock:
            held.calls -= 1
            self._unload_if_unused(held)
        self._unloaded.clear()

    def can_answer(self) -> bool:
        """Whether the versions in memory can answer calls now."""
        return self._compute.is_ready()

    def versions(self) -> list[VersionInMemory]:
        """The versions that are in memory now."""
        with self._lock:
            return list(self._versions.values())

    def _load(self, key: tuple[str, str], essential: bool) -> VersionInMemory:
        started = time.perf_counter()
        model = self._compute.load(self.store, *key, make_room=partial(self._make_room, key, essential))
        seconds = time.perf_counter() - started
        with self._lock:
            self._reserved.pop(key, None)
            loaded = self._versions.get(key)
            if loaded is None:
                loaded = VersionInMemory(*key, model, model.memory_bytes, datetime.now(UTC), self.clock())
                self._versions[key] = loaded
            loaded.holders += 1
            loaded.essential |= essential
            self._count()
        self.metrics.count_load(seconds)
        _log.info(
            "serving %s: %d glosses, %d parameters, %.0f MiB, loaded in %.2f s%s",
            model.name, len(model.vocabulary), model.card.parameters, model.memory_bytes / _MIB, seconds,
            "" if model.has_parity_vector else _NO_PARITY,
        )  # fmt: skip
        self.on_change()
        return loaded

    def _make_room(self, key: tuple[str, str], essential: bool, needed: int) -> None:
        """Unload versions until this one fits, and reserve its place.

        Raises:
            Busy: all versions in memory are in use.
            NotReady: the version needs more memory than all may have.
        """
        name = "/".join(key)
        if needed > self.max_bytes and not essential:
            raise NotReady(
                f"model {name} needs {needed / _MIB:.0f} MiB of memory; all models together may have "
                f"{self.max_bytes / _MIB:.0f} MiB. Raise SIGNET_MODEL_MEMORY_MIB of the evaluator."
            )
        with self._lock:
            while not self._has_room(needed):
                idle = [held for held in self._versions.values() if not held.calls and not held.essential]
                if idle:
                    self._unload(min(idle, key=lambda held: held.last_used), "room")
                elif essential:
                    _log.warning("there is no room for %s, and it is loaded because it is the default model", name)
                    break
                else:
                    raise Busy(
                        f"model {name} has no room in memory: all {len(self._versions)} models there are in use. "
                        f"Try again in {_RETRY_SECONDS:g} s.",
                        _RETRY_SECONDS,
                    )
            self._reserved[key] = needed
        self._unloaded.clear()

    def _has_room(self, needed: int) -> bool:
        used = sum(held.memory_bytes for held in self._versions.values()) + sum(self._reserved.values())
        return len(self._versions) + len(self._reserved) < self._max_models and used + needed <= self.max_bytes

    def _unload_if_unused(self, held: VersionInMemory) -> None:
        if not held.holders and not held.calls and held.model is not None:
            self._unload(held, "replaced")

    def _unload(self, held: VersionInMemory, reason: str) -> None:
        if held.model is not None:
            self._unloaded.append(held.model)
        held.model = None
        del self._versions[held.name, held.version]
        self._count()
        self.metrics.count_unload(reason)
        _log.info(
            "unloaded %s/%s: %s",
            held.name, held.version,
            "another model needed room" if reason == "room" else "no alias leads to it, and its last call has ended",
        )  # fmt: skip
        self.on_change()

    def _count(self) -> None:
        self.metrics.show_memory(len(self._versions), sum(held.memory_bytes for held in self._versions.values()))
