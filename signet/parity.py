"""The parity vector of a published model: model inputs, and what the trainer's own model answers for them.

The trainer writes it at export. A server runs its copy of the model on the inputs, and refuses a version whose answers
differ: another runtime, another processor or a damaged library computes something else than what was trained.

The file is `parity.safetensors` of a version. Its metadata key "signet" holds a JSON record (`_ParityHeader`). It has
these tensors for input i:

    i.landmarks     float32 [T, 75, 3]      a model input; joints of absent parts are NaN
    i.log_probs     float32 [T, C + 1]      log-probabilities of the blank (class 0) and the glosses, from PyTorch
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from signet.errors import DataLoss
from signet.field_types import describe_first_fault
from signet.landmarks import JOINTS
from signet.safetensors_header import read_metadata

PARITY_FILE: Final = "parity.safetensors"

# The largest difference of log-probabilities between PyTorch and ONNX Runtime with which an export has a parity vector.
# It means one per cent of a probability. Four trained models of 50 to 100 glosses have 4e-6 to 9e-5.
MAX_EXPORT_DIFFERENCE = 0.01

# Another processor adds in another order than the one of the export. It may differ by ten times of what two programs
# differ by on one processor, and by a thousandth of a probability in any case.
_TIMES_EXPORT = 10
_LEAST_TOLERANCE = 1e-3

_MAX_INPUTS = 16
_MAX_FRAMES = 256
_METADATA_KEY = "signet"

Floats = npt.NDArray[np.float32]


class _ParityHeader(BaseModel):
    model_config = ConfigDict(frozen=True)

    schema_version: Literal["signet.parity/1"] = Field(default="signet.parity/1", alias="schema")
    inputs: int = Field(ge=1, le=_MAX_INPUTS)
    difference: float = Field(ge=0, le=MAX_EXPORT_DIFFERENCE)


@dataclass(frozen=True, eq=False)
class ParityVector:
    """Model inputs, and the expected answers."""

    landmarks: tuple[Floats, ...]  # each float32 [T, 75, 3]
    log_probs: tuple[Floats, ...]  # each float32 [T, C + 1]
    difference: float  # largest difference of log-probabilities between PyTorch and ONNX Runtime at export

    @property
    def tolerance(self) -> float:
        """The largest difference of log-probabilities that is rounding."""
        return max(_LEAST_TOLERANCE, _TIMES_EXPORT * self.difference)


def largest_difference(answers: Sequence[Floats], expected: Sequence[Floats]) -> float:
    """The largest difference of two lists of log-probabilities, each [T, C + 1].

    It is infinite if the shapes differ, or if a number is NaN.
    """
    if len(answers) != len(expected) or any(a.shape != e.shape for a, e in zip(answers, expected, strict=True)):
        return float("inf")
    with np.errstate(invalid="ignore"):  # both may be minus infinity, where the difference is NaN
        differences = [np.where(a == e, 0, np.abs(a - e)).max() for a, e in zip(answers, expected, strict=True)]
    largest = float(np.max(differences))
    return largest if np.isfinite(largest) else float("inf")


def dump_parity(vector: ParityVector) -> bytes:
    """Encode a parity vector. Equal ones give equal bytes."""
    header = _ParityHeader(inputs=len(vector.landmarks), difference=vector.difference)
    tensors: dict[str, npt.NDArray[np.generic]] = {}
    for index, (landmarks, log_probs) in enumerate(zip(vector.landmarks, vector.log_probs, strict=True)):
        tensors[f"{index}.landmarks"] = np.ascontiguousarray(landmarks, np.float32)
        tensors[f"{index}.log_probs"] = np.ascontiguousarray(log_probs, np.float32)
    return bytes(save_safetensors(tensors, {_METADATA_KEY: header.model_dump_json(by_alias=True)}))


def load_parity(data: bytes, name: str) -> ParityVector:
    """Decode the parity vector of the model with this name and version.

    Raises:
        DataLoss: the bytes are no parity vector.
    """
    try:
        header = _ParityHeader.model_validate_json(read_metadata(data, _METADATA_KEY) or "")
        tensors = load_safetensors(data)
        landmarks = tuple(_tensor(tensors, f"{index}.landmarks", 3) for index in range(header.inputs))
        log_probs = tuple(_tensor(tensors, f"{index}.log_probs", 2) for index in range(header.inputs))
        _check_shapes(landmarks, log_probs)
    except (ValueError, KeyError, SafetensorError) as error:
        fault = describe_first_fault(error) if isinstance(error, ValidationError) else str(error)
        raise DataLoss(
            f"model {name}: {PARITY_FILE} is no parity vector ({fault}). Publish the model again."
        ) from error
    return ParityVector(landmarks, log_probs, header.difference)


def _check_shapes(landmarks: Sequence[Floats], log_probs: Sequence[Floats]) -> None:
    for given, answer in zip(landmarks, log_probs, strict=True):
        if given.shape[1:] != (JOINTS, 3) or not 1 <= len(given) == len(answer) <= _MAX_FRAMES:
            raise ValueError(f"its shapes {given.shape} and {answer.shape} do not fit")


def _tensor(tensors: dict[str, npt.NDArray[np.generic]], name: str, dimensions: int) -> Floats:
    tensor = tensors[name]
    if tensor.dtype != np.float32 or tensor.ndim != dimensions:
        raise ValueError(f"tensor {name} is {tensor.dtype} with {tensor.ndim} dimensions")
    return tensor.astype(np.float32, copy=False)
