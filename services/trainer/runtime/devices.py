"""The device that a training computes on."""

import torch

from signet.errors import InvalidSetting, NotReady


def resolve_device(name: str) -> torch.device:
    """The device of this name. "auto" is the first GPU, or the CPU if there is none.

    Raises:
        NotReady: torch finds no GPU of that number.
        InvalidSetting: torch has no device of this name.
    """
    available = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if available else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InvalidSetting(f"--device {name}: write auto, cpu, cuda or cuda:<n>.") from error
    if device.type == "cuda" and (not available or (device.index or 0) >= torch.cuda.device_count()):
        count = torch.cuda.device_count() if available else 0
        raise NotReady(f"--device {name}: torch finds {count} GPU(s). Use --device cpu, or check `nvidia-smi`.")
    return device
