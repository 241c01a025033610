"""In how many bits a model is computed: float32, or bf16 where a GPU has it. The loss is always float32."""

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Literal, Protocol

import torch

from signet.errors import InvalidSetting

Precision = Literal["auto", "float32", "bf16"]


class AutocastFactory(Protocol):
    """Makes a context in which a model is computed in the precision that was chosen."""

    def __call__(self) -> AbstractContextManager[Any]:
        """The context."""


def select_autocast(name: Precision, device: torch.device) -> AutocastFactory:
    """How to compute on this device.

    bf16 has float32's range, so that no loss has to be scaled; torch's autocast keeps weights, and the log-softmax from
    which the loss is made, in float32.

    Args:
        name: "auto" is bf16 on a GPU that has it, and float32 elsewhere.
        device: where.

    Raises:
        InvalidSetting: bf16 is asked for where there is no GPU, or one that has none.
    """
    able = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if name == "bf16" and not able:
        raise InvalidSetting(
            f"--precision bf16: {device} does not compute in bf16. Use auto, which takes it where it is to be had."
        )
    if name == "float32" or not able:
        return nullcontext
    return partial(torch.autocast, device.type, torch.bfloat16)
