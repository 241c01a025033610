"""What a published model keeps of each sign's clips: anonymous vectors, from which signs can be added without training.

A model compares each frame's embedding, one unit vector for each of its branches, with a direction for each sign. The
file `embeddings.safetensors` of a version holds the embeddings of a few clips of each sign. Enrolment uses
them to fit the directions of new signs (docs/enrolment.md). Its metadata key "signet" holds a JSON record
(`_EmbeddingsHeader`). Its tensors:

    directions   float32 [C', N, D]   unit vectors of the trained signs, the first C' of the vocabulary, as training
                                      left them
    vectors      float16 [M, N, D]    unit vectors of clips: see `clip_vector`
    signs        int64 [M]            the place of each clip's sign in the vocabulary

N is the number of branches, D that of a branch's numbers.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from signet.decoding import BLANK
from signet.errors import DataLoss
from signet.field_types import describe_first_fault
from signet.safetensors_header import read_metadata

EMBEDDINGS_FILE: Final = "embeddings.safetensors"

# The most vectors of a trained sign. More would hardly change where its clips lie.
MAX_VECTORS = 8

_METADATA_KEY = "signet"
# A unit vector of float16 differs from length 1 by less.
_LENGTH_TOLERANCE = 0.01

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


class _EmbeddingsHeader(BaseModel):
    model_config = ConfigDict(frozen=True)

    schema_version: Literal["signet.embeddings/1"] = Field(default="signet.embeddings/1", alias="schema")
    logit_scale: float = Field(gt=0, le=1000)


@dataclass(frozen=True, eq=False)
class SignEmbeddings:
    """The embeddings of clips of the signs of a model. See the module for the shapes."""

    directions: Floats
    vectors: Floats
    signs: Integers
    logit_scale: float  # the logit of a sign whose cosines are 1 in all branches

    @property
    def trained(self) -> int:
        """C', the number of signs that were trained."""
        return len(self.directions)


def clip_vector(log_probs: Floats, embeddings: Floats, branches: int) -> Floats:
    """The embedding of the frames in which a clip emits a sign: unit vectors float32 [N, D].

    Args:
        log_probs: float32 [T, C + 1], log-probabilities of the blank (class 0) and the signs.
        embeddings: float32 [T, N·D], the unit vectors of each frame.
        branches: N.
    """
    emission = np.maximum(-np.expm1(log_probs[:, BLANK].astype(np.float64)), 1e-9)
    mean = (emission / emission.sum()) @ embeddings.astype(np.float64)
    return unit_vectors(mean.reshape(branches, -1))


def unit_vectors(vectors: npt.NDArray[Any]) -> Floats:
    """Vectors [..., D] with length 1, float32."""
    lengths = np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
    return np.asarray(vectors / lengths, np.float32)


def dump_embeddings(embeddings: SignEmbeddings) -> bytes:
    """Encode embeddings. Equal ones give equal bytes."""
    tensors: dict[str, npt.NDArray[np.generic]] = {
        "directions": np.ascontiguousarray(embeddings.directions, np.float32),
        "signs": np.ascontiguousarray(embeddings.signs, np.int64),
        "vectors": np.ascontiguousarray(embeddings.vectors, np.float16),
    }
    header = _EmbeddingsHeader(logit_scale=embeddings.logit_scale)
    return bytes(save_safetensors(tensors, {_METADATA_KEY: header.model_dump_json(by_alias=True)}))


def load_embeddings(data: bytes, name: str, glosses: int) -> SignEmbeddings:
    """Decode the embeddings of the model with this name and version, and this number of glosses.

    Raises:
        DataLoss: the bytes are no embeddings, or those of another model.
    """
    try:
        header = _EmbeddingsHeader.model_validate_json(read_metadata(data, _METADATA_KEY) or "")
        tensors = load_safetensors(data)
        directions = _unit_tensor(tensors, "directions", np.float32)
        vectors = _unit_tensor(tensors, "vectors", np.float16)
        signs = tensors["signs"]
        _check_signs(directions, vectors, signs, glosses)
    except (ValueError, KeyError, SafetensorError) as error:
        fault = describe_first_fault(error) if isinstance(error, ValidationError) else str(error)
        raise DataLoss(
            f"model {name}: {EMBEDDINGS_FILE} holds no embeddings ({fault}). Publish the model again."
        ) from error
    return SignEmbeddings(directions, vectors, signs.astype(np.int64, copy=False), header.logit_scale)


def _check_signs(directions: Floats, vectors: Floats, signs: npt.NDArray[np.generic], glosses: int) -> None:
    if signs.dtype != np.int64 or signs.shape != vectors.shape[:1] or vectors.shape[1:] != directions.shape[1:]:
        raise ValueError(f"its shapes {directions.shape}, {vectors.shape} and {signs.shape} do not fit")
    numbers = signs.astype(np.int64)
    if not len(directions) <= glosses or not ((numbers >= 0) & (numbers < glosses)).all():
        raise ValueError(f"it is about other signs than the {glosses} of the model")
    without = set(range(len(directions), glosses)) - set(numbers.tolist())
    if without:
        raise ValueError(f"sign {min(without)} has neither a direction nor a vector")


def _unit_tensor(tensors: dict[str, npt.NDArray[np.generic]], name: str, dtype: type[np.generic]) -> Floats:
    tensor = tensors[name]
    if tensor.dtype != dtype or tensor.ndim != 3 or not tensor.size:
        raise ValueError(f"tensor {name} is {tensor.dtype} of shape {tensor.shape}")
    values = tensor.astype(np.float32)
    if not (np.abs(np.linalg.norm(values, axis=-1) - 1) < _LENGTH_TOLERANCE).all():
        raise ValueError(f"tensor {name} has vectors whose length is not 1")
    return values
