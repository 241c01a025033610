"""Which model a command without a server uses: one of a store, or the one that comes with the package.

Signs that the user adds to the latter are kept in a directory of the user (`SIGNET_OWN_SIGNS`), which has the form of a
store.
"""

from contextlib import suppress
from dataclasses import dataclass

from services.evaluator.enrolment.parent import choose_model_name
from services.evaluator.serving.loaded_model import LoadedModel
from services.evaluator.serving.stored_version import StoredVersion
from services.standalone.settings import open_own_signs, open_writable_own_signs
from signet import pretrained, registry
from signet.errors import DataLoss, NotFound, SignetError, quote
from signet.pretrained import ASL100
from signet.registry import ModelCard
from signet.store import ObjectStore
from signet.store.options import open_store_option

# So many versions with the user's own signs are kept, each of 2 MB. `signet models rollback` goes back to older ones.
_KEPT_VERSIONS = 5

# The name under which `signet train` publishes, and the evaluator serves.
DEFAULT_NAME = "signet"


@dataclass(frozen=True)
class ModelChoice:
    """The model that a command line names.

    Attributes:
        store: the URL of a store; "" if none is named.
        name: the model; "" for the default one.
        version: a version or an alias; "" for the newest version.
    """

    store: str = ""
    name: str = ""
    version: str = ""

    @property
    def is_bundled(self) -> bool:
        """Whether it is the model that comes with the package, or a version that the user made from it."""
        return not self.store and (self.name == ASL100 or (not self.name and not self.version))


@dataclass(frozen=True, eq=False)
class ChosenModel:
    """A model that is ready to run, and a note for the user; "" if there is nothing to say."""

    model: LoadedModel
    note: str = ""


def load_chosen_model(choice: ModelChoice, threads: int = 1) -> ChosenModel:
    """Load the model of a choice.

    Without a store and a name, it is the bundled model, with the signs that the user has added to it. It also answers
    for a store without any version of the default model, as in an evaluator.

    Raises:
        NotFound: there is no such store, model or version.
        DataLoss: the model is damaged, or cannot be used here.
        Unavailable: the store cannot be reached.
    """
    if choice.is_bundled:
        return _load_with_own_signs(choice.version, threads)
    name = choice.name or DEFAULT_NAME
    try:
        store = open_store_option(choice.store, must_exist=True)
    except NotFound as error:
        if choice.name or choice.version:
            raise
        return ChosenModel(load_bundled_model(threads), f"{error} The model that comes with Signet is used.")
    try:
        version = registry.resolve(store, name, choice.version or registry.LATEST)
    except NotFound as error:
        if choice.name or choice.version:
            raise
        note = f"{error} The model that comes with Signet is used."
        return ChosenModel(LoadedModel.load(store, ASL100, pretrained.find_current_version(store), threads), note)
    return ChosenModel(LoadedModel.load(store, name, version, threads))


def load_bundled_model(threads: int = 1) -> LoadedModel:
    """Load the model that comes with the package.

    Raises:
        NotFound: this installation has none.
        DataLoss: it is damaged, or gives other answers here than where it was made.
    """
    return LoadedModel.from_stored(StoredVersion.read_bundled(), threads)


def find_enrolment_store(choice: ModelChoice) -> tuple[ObjectStore, str]:
    """The store in which a new version of the chosen model is published, and the name of the model.

    Raises:
        NotFound: there is no such store.
        InvalidSetting: there is no directory for the user's own signs.
        Unavailable: the store cannot be reached, or it cannot be written to.
    """
    if choice.is_bundled:
        return open_writable_own_signs(), ASL100
    store = open_store_option(choice.store, must_exist=True, writable=True)
    return store, choice.name or choose_model_name(store, DEFAULT_NAME)


def delete_old_versions(choice: ModelChoice, store: ObjectStore) -> None:
    """Delete the oldest versions in the directory of the user's own signs, and nothing in a store that is named.

    A version that an alias names stays.
    """
    if not choice.is_bundled:
        return
    for version in registry.versions(store, ASL100)[:-_KEPT_VERSIONS]:
        with suppress(SignetError):
            registry.delete(store, ASL100, version)


def compare_with_package(card: ModelCard) -> str:
    """A note if the user's signs were added to another model than the one in this package; "" if not.

    `card` is that of the version with the user's signs, or of the model in the package.
    """
    if card.run_id == pretrained.read_bundled_card().run_id:
        return ""
    signs = ", ".join(map(quote, card.enrolled_vocabulary))
    return (
        f"your signs ({signs}) were enrolled with another version of Signet, whose model is used on. To use the model "
        "of this version, take them away with `signet forget` and enroll them again."
    )


def _load_with_own_signs(version: str, threads: int) -> ChosenModel:
    """Load the bundled model, or the version that the user has made from it. "" is the newest one."""
    store = open_own_signs()
    if store is None:
        return ChosenModel(load_bundled_model(threads))
    try:
        found = (
            registry.resolve(store, ASL100, version)
            if version and not pretrained.is_bundled(ASL100, version)
            else version or pretrained.find_current_version(store)
        )
        # The user trusts the own directory, so the model needs no trial in a child process, which takes 0.4 s.
        model = LoadedModel.from_stored(StoredVersion.read(store, ASL100, found), threads)
    except DataLoss as error:
        raise DataLoss(
            f"{error} Your signs are kept in {store.root}. To go back to the model that comes with Signet, delete this "
            "directory and enroll your signs again."
        ) from error
    return ChosenModel(model, compare_with_package(model.card))
