"""The precision of a model: float32, or bf16 on a GPU that supports it. The loss is always computed in float32."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Literal

import torch

from signet.errors import InvalidSetting

Precision = Literal["auto", "float32", "bf16"]

# Makes a context manager; a model is computed within it.
AutocastFactory = Callable[[], AbstractContextManager[Any]]


def select_autocast(precision: Precision, device: torch.device) -> AutocastFactory:
    """The autocast context of this precision on this device.

    bf16 has the range of float32, so the loss needs no scaling. torch's autocast keeps the weights and the log-softmax
    in float32.

    Args:
        precision: "auto" takes bf16 on a GPU that supports it, otherwise float32.
        device: where the model is computed.

    Raises:
        InvalidSetting: bf16 is required, and the device does not support it.
    """
    supported = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "bf16" and not supported:
        raise InvalidSetting(
            f"--precision bf16: {device} does not support bf16. Use auto, which takes bf16 only where it is supported."
        )
    if precision == "float32" or not supported:
        return nullcontext
    return partial(torch.autocast, device.type, torch.bfloat16)
