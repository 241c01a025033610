"""A published model's weights as a model again, to be asked frame by frame."""

from pydantic import ValidationError
from safetensors import SafetensorError

from services.trainer import weights
from services.trainer.config import TrainConfig
from services.trainer.export import WEIGHTS
from services.trainer.model import Recogniser
from signet import registry
from signet.errors import DataLoss, NotReady
from signet.registry import ModelCard
from signet.store import ObjectStore


def recogniser(store: ObjectStore, name: str, version_or_alias: str) -> tuple[ModelCard, Recogniser]:
    """A version of a model, ready to be asked; one of several members as their ensemble.

    Raises:
        NotFound: there is none.
        DataLoss: its weights are damaged.
        NotReady: it was published by a version of Signet whose models are built otherwise.
    """
    card = registry.read_card(store, name, registry.resolve(store, name, version_or_alias))
    try:
        data = registry.read_file(store, card, WEIGHTS)
        model = weights.restored(TrainConfig.model_validate(card.config), len(card.vocabulary), data)
    except SafetensorError as error:
        raise DataLoss(f"model {card.name}/{card.version}: its weights cannot be read ({error}).") from error
    except (ValidationError, RuntimeError, KeyError) as error:
        raise NotReady(
            f"model {card.name}/{card.version} was published by another version of Signet, whose models are built "
            "otherwise. Train again with this one, or look at it with that one."
        ) from error
    return card, model
