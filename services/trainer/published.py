"""A published model's weights as a model again, to be asked frame by frame."""

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from services.trainer.config import TrainConfig
from services.trainer.ensemble import together
from services.trainer.export import WEIGHTS
from services.trainer.model import Recogniser
from services.trainer.training import new_model
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
        tensors = load(registry.read_file(store, card, WEIGHTS))
    except SafetensorError as error:
        raise DataLoss(f"model {card.name}/{card.version}: its weights cannot be read ({error}).") from error
    try:
        config = TrainConfig.model_validate(card.config)
        members = [_member(config, len(card.vocabulary), weights) for weights in _by_member(tensors)]
    except (ValidationError, RuntimeError, KeyError) as error:
        raise NotReady(
            f"model {card.name}/{card.version} was published by another version of Signet, whose models are built "
            "otherwise. Train again with this one, or look at it with that one."
        ) from error
    return card, together(members).eval()


def _by_member(tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """The tensors of each member under its own names; a single model's are its own already."""
    members: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        prefix, _, own = name.partition(".") if name.startswith("member-") else ("", "", name)
        members.setdefault(prefix, {})[own] = tensor
    return [members[prefix] for prefix in sorted(members, key=lambda prefix: int(prefix.removeprefix("member-") or 0))]


def _member(config: TrainConfig, glosses: int, weights: dict[str, Tensor]) -> Recogniser:
    model = new_model(config, glosses)
    model.load_state_dict(weights)
    return model.eval()
