"""The version that an enrolment starts from, and whether a sign can be added to it.

It is a version of a store, or the model that comes with Signet. A version that is made from the latter is published in
the store under its name.
"""

import unicodedata
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.evaluator.enrolment.graph_file import read_directions
from services.evaluator.serving.graph_check import try_model
from services.evaluator.serving.stored_version import ONNX_FILE
from signet import pretrained, registry
from signet.errors import AlreadyExists, DataLoss, InvalidInput, NotFound, NotReady, quote
from signet.labels import describe_gloss_fault
from signet.parity import PARITY_FILE, ParityVector, load_parity
from signet.registry import LATEST, ModelCard
from signet.sign_embeddings import EMBEDDINGS_FILE, SignEmbeddings, load_embeddings
from signet.store import ObjectStore

# With more signs than this, a training with all of them is better, and the fit of all of them takes seconds.
MAX_ENROLLED = 100

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Parent:
    """The version that an enrolment starts from."""

    card: ModelCard
    graph: bytes
    kept: SignEmbeddings
    parity: ParityVector | None
    directions: Floats  # [C, N, D]
    latest: str  # the version that the alias `latest` named before the enrolment; "" if it did not exist

    @property
    def name(self) -> str:
        """The name and the version of the model, for messages."""
        return f"{self.card.name}/{self.card.version}"


def choose_model_name(store: ObjectStore, default: str) -> str:
    """The model to which signs are added if none is named: the one that answers calls that name none.

    Returns:
        The default model, or the one that comes with Signet if the store has no version of the default model.
    """
    try:
        registry.resolve(store, default, LATEST)
    except NotFound:
        return pretrained.ASL100
    return default


def read_parent_card(store: ObjectStore, model_name: str, version: str = LATEST) -> ModelCard:
    """Read the card of the version that an enrolment starts from.

    Args:
        store: has the version, unless it is the one that comes with Signet.
        model_name: the model.
        version: a version or an alias.

    Raises:
        NotFound: there is no such model or version.
        NotReady: the version has no embeddings, so that no sign can be added to it.
        DataLoss: the card cannot be read.
    """
    if model_name == pretrained.ASL100 and version == LATEST:
        version = pretrained.find_current_version(store)
    if pretrained.is_bundled(model_name, version):
        card = pretrained.read_bundled_card()
    else:
        card = registry.read_card(store, model_name, registry.resolve(store, model_name, version))
    if EMBEDDINGS_FILE not in card.files:
        raise NotReady(
            f"model {card.name}/{card.version} has no {EMBEDDINGS_FILE}, so that no sign can be added to it: an older "
            "version of Signet published it, or it has a linear head. Train it again with the default head."
        )
    return card


def read_parent(store: ObjectStore, model_name: str, version: str, trial: bool) -> Parent:
    """Read the version that an enrolment starts from. With `trial`, try it in a child process first.

    The other arguments and the errors are those of `read_parent_card`.

    Raises:
        DataLoss: a file of the version is damaged.
    """
    card = read_parent_card(store, model_name, version)
    try:
        latest = registry.read_alias(store, model_name, LATEST).version
    except NotFound:
        latest = ""
    name = f"{card.name}/{card.version}"
    graph = _read_file(store, card, ONNX_FILE)
    if trial:
        try_model(card, graph)
    kept = load_embeddings(_read_file(store, card, EMBEDDINGS_FILE), name, len(card.vocabulary))
    try:
        directions = read_directions(graph, name)
    except ValueError as error:
        raise DataLoss(f"model {name}: {ONNX_FILE} is not a graph ({error}). Train it again.") from error
    if directions.shape != (len(card.vocabulary), *kept.directions.shape[1:]):
        raise DataLoss(f"model {name}: {ONNX_FILE} and {EMBEDDINGS_FILE} are not about the same signs. Train it again.")
    parity = load_parity(_read_file(store, card, PARITY_FILE), name) if PARITY_FILE in card.files else None
    return Parent(card, graph, kept, parity, directions, latest)


def check_new_gloss(card: ModelCard, gloss: str) -> None:
    """Check that a sign with this name can be added to a version.

    Raises:
        InvalidInput: no sign can have this name.
        AlreadyExists: the model knows a sign of this name, perhaps in other case or with other spaces.
        NotReady: the version has as many enrolled signs as it can have.
    """
    if not gloss.strip():
        raise InvalidInput("the name of the sign is empty. Give it a gloss.")
    if fault := describe_gloss_fault(gloss):
        raise InvalidInput(f"the name of the sign cannot be used: {fault}.")
    name = f"{card.name}/{card.version}"
    same = [known for known in card.vocabulary if _comparable(known) == _comparable(gloss)]
    if same:
        way_out = "Choose another name"
        if same[0] in card.enrolled_vocabulary:
            way_out += f", or take the enrolled sign away first: `signet forget {quote(same[0])}`"
        raise AlreadyExists(f"model {name} knows {quote(same[0])} already. {way_out}.")
    if len(card.enrolled_vocabulary) >= MAX_ENROLLED:
        raise NotReady(
            f"model {name} has {MAX_ENROLLED} enrolled signs, which is the most. Train a model with them: "
            "`signet train`."
        )


def _read_file(store: ObjectStore, card: ModelCard, file: str) -> bytes:
    if pretrained.is_bundled(card.name, card.version):
        return pretrained.read_bundled_file(card, file)
    return registry.read_file(store, card, file)


def _comparable(gloss: str) -> str:
    """The same text for glosses that differ only in case, spaces or the encoding of accents."""
    return " ".join(unicodedata.normalize("NFKC", gloss).casefold().split())
