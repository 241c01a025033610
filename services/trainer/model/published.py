"""Load a published model as a torch module, for what needs more than its ONNX graph gives."""

from pydantic import ValidationError

from services.trainer.config.train_config import TrainConfig
from services.trainer.model.build import WEIGHTS, restore_model
from services.trainer.model.sign_model import SignModel
from signet import registry
from signet.errors import NotReady
from signet.registry import ModelCard
from signet.store import ObjectStore


def load_published_model(store: ObjectStore, name: str, version_or_alias: str) -> tuple[ModelCard, SignModel]:
    """The card and the network of a published model; of an ensemble, the network of all its members.

    Raises:
        NotFound: there is no such model or version.
        DataLoss: its weights are damaged.
        NotReady: another version of Signet published it, which builds models or samples clips differently.
    """
    card = registry.read_card(store, name, registry.resolve(store, name, version_or_alias))
    owner = f"model {card.name}/{card.version}"
    if card.sampling_difference:
        raise NotReady(
            f"{owner} does not fit this version of Signet: {card.sampling_difference}. Train the model again."
        )
    try:
        config = TrainConfig.stored(card.config)
    except ValidationError as error:
        raise NotReady(
            f"{owner} was trained by another version of Signet, with settings that this version does not have. Train "
            "the model again, or use the version that trained it."
        ) from error
    data = registry.read_file(store, card, WEIGHTS)
    return card, restore_model(config, len(card.vocabulary), data, owner)
