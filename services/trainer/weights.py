"""What a model has learnt as one safetensors file, and the model again."""

from safetensors.torch import load, save

from services.trainer.config import TrainConfig
from services.trainer.ensemble import Ensemble
from services.trainer.model import Recogniser
from services.trainer.training import new_model


def dump(model: Recogniser) -> bytes:
    """A model's parameters and standardisation; those of an ensemble member by member."""
    tensors = model.member_weights() if isinstance(model, Ensemble) else model.state_dict()
    return save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})


def restored(config: TrainConfig, glosses: int, data: bytes) -> Recogniser:
    """A single model, on the CPU.

    Args:
        config: how it was trained.
        glosses: in its vocabulary.
        data: what `dump` made of it.
    """
    model = new_model(config, glosses)
    model.load_state_dict(load(data))
    return model.eval()
