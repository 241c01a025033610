"""Which model a command without a server uses: one of a store, or the one that comes with the package."""

from dataclasses import dataclass

from services.evaluator.serving.loaded_model import LoadedModel
from services.evaluator.serving.stored_version import StoredVersion
from signet import registry
from signet.errors import NotFound
from signet.pretrained import ASL100
from signet.store.options import open_store_option

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
        """Whether it can only be the model that comes with the package."""
        return not self.store and self.name in {"", ASL100} and not self.version


@dataclass(frozen=True, eq=False)
class ChosenModel:
    """A model that is ready to run, and a note for the user; "" if there is nothing to say."""

    model: LoadedModel
    note: str = ""


def load_chosen_model(choice: ModelChoice, threads: int = 1) -> ChosenModel:
    """Load the model of a choice.

    Without a store and a name, it is the bundled model. It also answers for a store without any version of the default
    model, as in an evaluator.

    Raises:
        NotFound: there is no such store, model or version.
        DataLoss: the model is damaged, or cannot be used here.
        Unavailable: the store cannot be reached.
    """
    if choice.is_bundled:
        return ChosenModel(load_bundled_model(threads))
    name = choice.name or DEFAULT_NAME
    try:
        store = open_store_option(choice.store, must_exist=True)
        version = registry.resolve(store, name, choice.version or registry.LATEST)
    except NotFound as error:
        if choice.name or choice.version:
            raise
        return ChosenModel(load_bundled_model(threads), f"{error} The model that comes with Signet is used.")
    return ChosenModel(LoadedModel.load(store, name, version, threads))


def load_bundled_model(threads: int = 1) -> LoadedModel:
    """Load the model that comes with the package.

    Raises:
        NotFound: this installation has none.
        DataLoss: it is damaged, or gives other answers here than where it was made.
    """
    return LoadedModel.from_stored(StoredVersion.read_bundled(), threads)
