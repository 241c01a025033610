"""What a model has learnt as one safetensors file, and the model again."""

from safetensors.torch import load, save
from torch import Tensor

from services.trainer.config import TrainConfig
from services.trainer.ensemble import Ensemble, together
from services.trainer.initialisation import new_model
from services.trainer.model import Recogniser


def dump(model: Recogniser) -> bytes:
    """A model's parameters and standardisation; those of an ensemble member by member."""
    tensors = model.member_weights() if isinstance(model, Ensemble) else model.state_dict()
    return save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})


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
    members = []
    for tensors in _by_member(load(data)):
        model = new_model(config, glosses)
        model.load_state_dict(tensors)
        members.append(model.eval())
    return together(members).eval()


def first(data: bytes) -> dict[str, Tensor]:
    """The tensors of the first member of what `dump` made, by their names in a single model.

    Raises:
        SafetensorError: these are no tensors.
    """
    return _by_member(load(data))[0]


def _by_member(tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """The tensors of each member under its own names; a single model's are its own already."""
    members: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        prefix, _, own = name.partition(".") if name.startswith("member-") else ("", "", name)
        members.setdefault(prefix, {})[own] = tensor
    return [members[prefix] for prefix in sorted(members, key=lambda prefix: int(prefix.removeprefix("member-") or 0))]
