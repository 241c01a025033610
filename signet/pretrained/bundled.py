"""The model that comes with the package: its card and its files."""

import hashlib
from importlib.resources import files
from importlib.resources.abc import Traversable

from pydantic import ValidationError

from signet.errors import DataLoss, NotFound, quote
from signet.field_types import describe_first_fault
from signet.registry.card import CARD, ModelCard

# 100 signs of American Sign Language.
ASL100 = "asl100"

# What a model in the package may have: all files together.
MAX_BYTES = 3 << 20


def read_bundled_card(name: str = ASL100) -> ModelCard:
    """The card of a bundled model.

    Raises:
        NotFound: this installation has no such model.
        DataLoss: the card is damaged.
    """
    data = _read(name, CARD)
    try:
        return ModelCard.model_validate_json(data)
    except ValidationError as error:
        raise DataLoss(
            f"the card of the bundled model {name} is damaged ({describe_first_fault(error)}). Install Signet again."
        ) from error


def read_bundled_file(card: ModelCard, file: str) -> bytes:
    """A file of a bundled model, checked against its card.

    Raises:
        NotFound: the model has no such file.
        DataLoss: the file is damaged.
    """
    if file not in card.files:
        raise NotFound(f"the bundled model {card.name} has no file {quote(file)}; it has {', '.join(card.files)}.")
    data = _read(card.name, file)
    if hashlib.sha256(data).hexdigest() != card.files[file]:
        raise DataLoss(
            f"{file} of the bundled model {card.name} is damaged: its sha256 differs from the card's. Install Signet "
            "again."
        )
    return data


def is_bundled(name: str, version: str) -> bool:
    """Whether a version is that of a model in this package."""
    try:
        return name == ASL100 and read_bundled_card().version == version
    except (NotFound, DataLoss):
        return False


def bundled_folder(name: str = ASL100) -> Traversable:
    """The folder of a bundled model."""
    return files("signet.pretrained") / name


def _read(name: str, file: str) -> bytes:
    try:
        return (bundled_folder(name) / file).read_bytes()
    except OSError as error:
        raise NotFound(
            f"this installation has no bundled model {quote(name)}: {file} cannot be read ({error.strerror}). Install "
            "Signet again, or name a model of a store with --store."
        ) from error
