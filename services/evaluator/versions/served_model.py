"""A served model: the version that an alias names. A new version replaces it without a restart."""

import logging
from dataclasses import dataclass

from services.evaluator.serving.loaded_model import ParityMismatch
from services.evaluator.serving.servable_model import ServableModel
from services.evaluator.versions.model_memory import ModelMemory, ModelUse, VersionInMemory
from signet import registry
from signet.errors import Busy, NotFound, NotReady, SignetError, Unavailable, UntrustedModel
from signet.pretrained import ASL100, find_current_version
from signet.rpc.polling import StatusLog

_log = logging.getLogger(__name__)

# A version that could not be served is tried again after this time: it may have been restored from a backup. Each
# attempt downloads the version.
RETRY_SECONDS = 60.0
# Reasons for a refusal that have no status code of their own.
_REASONS: dict[type[SignetError], str] = {ParityMismatch: "PARITY", UntrustedModel: "UNTRUSTED"}


@dataclass(frozen=True)
class ServingStatus:
    """What is served for an alias, and what is not."""

    model_name: str
    alias: str  # the alias, or the version
    is_default: bool
    version: str  # the version that is served; "" for none
    refused_version: str  # the version that the alias names, if it could not be loaded
    reason: str  # why no version is served, or no newer one; "" if all is well
    memory_bytes: int = 0
    calls: int = 0  # calls that use the version now
    loaded_at: str = ""  # ISO 8601


class ServedModel:
    """The version that an alias named at the last `refresh`.

    A new version is loaded while the old one serves, and then replaces it in one assignment: a running call keeps the
    version that it began with. If the new version is damaged or the store cannot be reached, the old version serves on.

    `alias` may also be a version, which never changes. An `essential` model is never unloaded to make room. With
    `bundled`, the model that comes with Signet is served until there is a version.
    """

    def __init__(
        self, memory: ModelMemory, name: str, alias: str, *, essential: bool = True, bundled: bool = False
    ) -> None:
        self.name = name
        self.alias = alias
        self._memory = memory
        self._essential = essential
        self._bundled = bundled
        self._held: VersionInMemory | None = None
        # Why no version is served, or no newer one.
        self._error: SignetError | None = NotReady(
            f"model {name!r}: the evaluator has just started. Try again in a moment."
        )
        # The version that could not be loaded, and when to try it again.
        self._refused: tuple[str, float] | None = None
        self._status = StatusLog(_log)

    def current(self) -> ServableModel:
        """The served model.

        Raises:
            NotReady: no model is served; the message says why, and what to do.
        """
        held = self._held
        if held is None or (model := held.model) is None:
            raise NotReady(str(self._error))
        return model

    def use(self) -> ModelUse | None:
        """Use the served version for one call; None if none is in memory."""
        while (held := self._held) is not None:
            use = self._memory.use(held)
            if use is not None or held is self._held:
                return use
            # Another version has replaced it meanwhile.
        return None

    def error(self) -> SignetError | None:
        """Why no version is served, or no newer one."""
        return self._error

    def is_fixed(self) -> bool:
        """Whether calls name the version itself, so that no other version can replace it."""
        return self._held is not None and self._held.version == self.alias

    def is_in_memory(self) -> bool:
        """Whether a version is in memory."""
        return self._held is not None and self._held.model is not None

    def status(self) -> ServingStatus:
        """What is served now."""
        held = self._held if self.is_in_memory() else None
        return ServingStatus(
            self.name,
            self.alias,
            self._essential,
            "" if held is None else held.version,
            self._refused[0] if self._refused else "",
            "" if self._error is None else str(self._error),
            *(() if held is None else (held.memory_bytes, held.calls, held.loaded_at.isoformat(timespec="seconds"))),
        )

    def refresh(self) -> None:
        """Resolve the alias, and load the version if it is new. Blocks. Logs a `SignetError` instead of raising it."""
        metrics = self._memory.metrics
        try:
            version = registry.resolve(self._memory.store, self.name, self.alias)
            metrics.store_up.set(1)
        except NotFound as error:
            metrics.store_up.set(1)
            if self._bundled and (self._held is None or self._held.name != self.name):
                self._serve_bundled(error)
                return
            if self._essential and self._held is None:
                error = NotFound(
                    f"no model to serve yet: {error} The evaluator serves it within seconds of its publication."
                )
            self._keep_current(error, logging.INFO)
            return
        except SignetError as error:
            metrics.store_up.set(not isinstance(error, Unavailable))
            self._keep_current(copy_error(error, f"cannot look for a newer model: {error}"))
            return
        held = self._held
        if held is not None and held.model is not None and held.version == version:
            self._accept()
        elif self._refused is None or self._refused[0] != version or self._memory.clock() >= self._refused[1]:
            self._load(version)

    def adopt(self) -> None:
        """Serve the version that calls name, if it is in memory already. The store is not asked."""
        held = self._memory.hold(self.name, self.alias)
        if held is not None:
            self._replace(held)

    def close(self) -> None:
        """Release the served version. It is unloaded when its last call has ended."""
        held, self._held = self._held, None
        if held is not None:
            self._memory.release(held, essential=self._essential)
        self._memory.metrics.forget_alias(self.name, self.alias)

    def _serve_bundled(self, error: NotFound) -> None:
        """Serve the model that comes with Signet, or the version with signs that were enrolled on it in this store.

        `error` says that the store has no version of the default model.
        """
        try:
            version = find_current_version(self._memory.store)
        except SignetError as failure:
            self._keep_current(failure)
            return
        if self._held is None or self._held.version != version:
            if self._refused is None or self._refused[0] != version or self._memory.clock() >= self._refused[1]:
                self._load(version, ASL100)
            if self._held is None or self._held.version != version:
                return
        card = self.current().card
        enrolled = f" and {len(card.enrolled_vocabulary)} enrolled ones" if card.enrolled_vocabulary else ""
        self._error = NotFound(
            f"{error} Until then {card.name}/{card.version} answers, the model that comes with Signet: "
            f"{len(card.trained_vocabulary)} signs of American Sign Language{enrolled}."
        )
        self._status.report(str(self._error), logging.INFO)
        self._show()

    def _load(self, version: str, name: str = "") -> None:
        """Load a version of the model, or of the one with another name, and serve it."""
        metrics = self._memory.metrics
        name = name or self.name
        try:
            held = self._memory.load(name, version, essential=self._essential)
        except SignetError as error:
            metrics.count_refusal(_REASONS.get(type(error), error.code))
            if isinstance(error, Unavailable | Busy):
                # The version is not at fault. It is tried again at the next refresh.
                self._keep_current(copy_error(error, f"cannot load {name}/{version}: {error}"))
                return
            metrics.load_failures.inc()
            self._refused = (version, self._memory.clock() + RETRY_SECONDS)
            self._keep_current(error)
            return
        self._replace(held)

    def _replace(self, held: VersionInMemory) -> None:
        old, self._held = self._held, held
        if old is not None:
            self._memory.release(old, essential=self._essential)
        if self._essential and held.model is not None:
            self._memory.metrics.show_served(held.model.card)
        self._accept()

    def _accept(self) -> None:
        self._refused = self._error = None
        self._status.clear()
        self._show()

    def _keep_current(self, error: SignetError, level: int = logging.ERROR) -> None:
        """Log once why the served version stays, or why there is none."""
        self._error = error
        if self._held is None:
            # Anybody can ask for a model that does not exist. The answer says so, and the log would be flooded.
            if self._essential or not isinstance(error, NotFound):
                self._status.report(str(error), level)
        else:
            self._status.report(f"{error} Still serving {self._held.name}/{self._held.version}.", logging.ERROR)
        self._show()

    def _show(self) -> None:
        """Show the alias in the metrics. Callers choose names, so one that never led to a version is not shown."""
        if not self._essential and (self._held is None or self.is_fixed()):
            return
        version = self._held.version if self._held is not None else ""
        self._memory.metrics.show_alias(self.name, self.alias, version, refused=self._refused is not None)


def copy_error(error: SignetError, message: str) -> SignetError:
    """A new error of the same kind, with the same time to retry. It gets a traceback of its own."""
    copied = type(error)(message)
    if isinstance(error, Busy) and isinstance(copied, Busy):
        copied.retry_seconds = error.retry_seconds
    return copied
