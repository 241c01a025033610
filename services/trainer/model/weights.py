"""What a model has learnt as one safetensors file, and the model again."""

import re

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from services.trainer.config.train_config import TrainConfig
from services.trainer.model.ensemble import together
from services.trainer.model.initialisation import new_model
from services.trainer.model.recogniser import Recogniser
from signet.errors import DataLoss, NotReady

_MEMBER = re.compile(r"encoders\.(\d+)\.")


def dump(model: Recogniser) -> bytes:
    """A model's parameters and standardisation, those of its members one after the other."""
    return save({name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()})


def restored(config: TrainConfig, glosses: int, data: bytes, whose: str) -> Recogniser:
    """What `dump` was given, on the CPU: a single model, or the ensemble of several.

    Args:
        config: how it was trained.
        glosses: in its vocabulary.
        data: what `dump` made of it.
        whose: what it belongs to, such as "model signet/1", for the message.

    Raises:
        DataLoss: these are no tensors.
        NotReady: they are those of a version of Signet whose models are built otherwise.
    """
    try:
        tensors = load(data)
    except (SafetensorError, KeyError, ValueError) as error:
        raise DataLoss(f"{whose}: its weights cannot be read ({error}).") from error
    # As many as are named, not as the highest number says: a file must not decide how much memory is taken.
    members = len({_member(name) for name in tensors} | {0})
    model = together([new_model(config, glosses) for _ in range(members)])
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise NotReady(
            f"{whose} was trained by another version of Signet, whose models are built otherwise. Train again with "
            "this one, or go on with that one."
        ) from error
    return model.eval()


def first(data: bytes) -> dict[str, Tensor]:
    """The tensors of the first member of what `dump` made, by their names in a single model.

    Raises:
        SafetensorError: these are no tensors.
    """
    return {name: tensor for name, tensor in load(data).items() if _member(name) == 0}


def _member(name: str) -> int:
    """Whose encoder a tensor of this name belongs to, by the member's number; 0 if to none."""
    found = _MEMBER.match(name)
    return int(found[1]) if found else 0
