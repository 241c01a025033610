"""What a model has learnt as one safetensors file, and the model again."""

import re

from safetensors.torch import load, save
from torch import Tensor

from services.trainer.config import TrainConfig
from services.trainer.ensemble import together
from services.trainer.initialisation import new_model
from services.trainer.model import Recogniser

_MEMBER = re.compile(r"encoders\.(\d+)\.")


def dump(model: Recogniser) -> bytes:
    """A model's parameters and standardisation, those of its members one after the other."""
    return save({name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()})


def restored(config: TrainConfig, glosses: int, data: bytes) -> Recogniser:
    """What `dump` was given, on the CPU: a single model, or the ensemble of several.

    Args:
        config: how it was trained.
        glosses: in its vocabulary.
        data: what `dump` made of it.

    Raises:
        SafetensorError: these are no tensors.
        RuntimeError: they are not those of a model of this configuration.
    """
    tensors = load(data)
    # As many as are named, not as the highest number says: a file must not decide how much memory is taken.
    members = len({_member(name) for name in tensors} | {0})
    model = together([new_model(config, glosses) for _ in range(members)])
    model.load_state_dict(tensors)
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
