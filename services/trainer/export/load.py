"""A published model's weights as a model again, to be asked frame by frame."""

from pydantic import ValidationError

from services.trainer.config.train_config import TrainConfig
from services.trainer.model.build import WEIGHTS, restore_model
from services.trainer.model.recogniser import Recogniser
from signet import registry
from signet.errors import NotReady
from signet.registry import ModelCard
from signet.store import ObjectStore


def recogniser(store: ObjectStore, name: str, version_or_alias: str) -> tuple[ModelCard, Recogniser]:
    """A version of a model, ready to be asked; one of several members as their ensemble.

    Raises:
        NotFound: there is none.
        DataLoss: its weights are damaged.
        NotReady: it was published by a version of Signet whose models are built otherwise, or see clips otherwise.
    """
    card = registry.read_card(store, name, registry.resolve(store, name, version_or_alias))
    whose = f"model {card.name}/{card.version}"
    if card.sampling_difference:
        raise NotReady(
            f"{whose} does not go with this version of Signet: {card.sampling_difference}. Train again with this one."
        )
    try:
        config = TrainConfig.stored(card.config)
    except ValidationError as error:
        raise NotReady(
            f"{whose} was trained by another version of Signet, with settings that this one does not have. Train again "
            "with this one, or look at it with that one."
        ) from error
    data = registry.read_file(store, card, WEIGHTS)
    return card, restore_model(config, len(card.vocabulary), data, whose)
