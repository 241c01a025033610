"""Build a network from its configuration, store and restore its weights, and join several networks into one."""

import re
from collections.abc import Callable, Sequence
from typing import Final

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from services.trainer.config.train_config import TrainConfig
from services.trainer.features.groups import FEATURE_VERSION
from services.trainer.model.masked import MaskedModel
from services.trainer.model.sign_model import Architecture, Encoder, SignModel
from signet.errors import DataLoss, NotReady
from signet.safetensors_header import read_metadata

# The weights' file in a published model.
WEIGHTS: Final = "model.safetensors"

# Replaces the random weights of a new model, given its vocabulary.
WeightInitialiser = Callable[[SignModel, Sequence[str]], None]

# In the metadata of the weights' file; files without it are of the first version.
_FEATURE_VERSION_KEY = "feature_version"
_FIRST_FEATURE_VERSION = "1"

_ENCODER_TENSOR = re.compile(r"encoders\.(\d+)\.")


def new_model(config: TrainConfig, glosses: int) -> SignModel:
    """A model of this configuration for a vocabulary of `glosses` entries, with random weights."""
    architecture = Architecture(
        classes=glosses + 1,
        branches=config.branches,
        hidden_dim=config.hidden_dim,
        num_layers=config.num_layers,
        hand_dim=config.hand_dim,
        dropout=config.dropout,
        groups=config.groups,
        head=config.head,
        sign_dim=config.sign_dim,
    )
    kind = MaskedModel if config.pretrain else SignModel
    return kind([Encoder(architecture)])


def build_ensemble(members: Sequence[SignModel]) -> SignModel:
    """One model with the encoders of all members; a single member is returned as it is.

    The members have the same vocabulary. An ensemble has the inputs and outputs of a single model, so that decoding,
    serving and the blank penalty treat both alike.
    """
    if len(members) == 1:
        return members[0]
    return SignModel([encoder for member in members for encoder in member.encoders])


def serialise_weights(model: SignModel) -> bytes:
    """A model's parameters and standardisation, of all its members, as one safetensors file."""
    tensors = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    return save(tensors, {_FEATURE_VERSION_KEY: str(FEATURE_VERSION)})


def restore_model(config: TrainConfig, glosses: int, data: bytes, owner: str) -> SignModel:
    """The model that `serialise_weights` was given, on the CPU: a single model or an ensemble.

    Args:
        config: the model's training configuration.
        glosses: entries of its vocabulary.
        data: what `serialise_weights` returned.
        owner: whose weights they are, for error messages, such as "model signet/1".

    Raises:
        DataLoss: the data is not a safetensors file.
        NotReady: they are weights of another version of Signet, which builds models or computes features differently.
    """
    try:
        version = read_metadata(data, _FEATURE_VERSION_KEY) or _FIRST_FEATURE_VERSION
        tensors = load(data)
    except (SafetensorError, KeyError, ValueError) as error:
        raise DataLoss(f"{owner}: its weights cannot be read ({error}).") from error
    if version != str(FEATURE_VERSION):
        raise _other_version(owner, f"computes features differently (version {version} instead of {FEATURE_VERSION})")
    # Count the members instead of trusting the highest number: a file must not decide how much memory is allocated.
    members = len({_member_index(name) for name in tensors} | {0})
    model = build_ensemble([new_model(config, glosses) for _ in range(members)])
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise _other_version(owner, "builds models differently") from error
    return model.eval()


def _other_version(owner: str, difference: str) -> NotReady:
    return NotReady(
        f"{owner} was trained by another version of Signet, which {difference}. Train the model again with this "
        "version, or use the version that trained it."
    )


def load_first_member(data: bytes) -> dict[str, Tensor]:
    """The tensors of the first member in what `serialise_weights` returned, named as in a single model.

    Raises:
        SafetensorError: the data is not a safetensors file.
    """
    return {name: tensor for name, tensor in load(data).items() if _member_index(name) == 0}


def _member_index(tensor_name: str) -> int:
    """The index of the member that a tensor belongs to; 0 if it is not an encoder's tensor."""
    match = _ENCODER_TENSOR.match(tensor_name)
    return int(match[1]) if match else 0
