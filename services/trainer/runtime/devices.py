"""What a training computes with: a GPU if there is one, and how many of the CPU's threads."""

import os

import torch

from signet.errors import InvalidSetting, NotReady

# A small model's operations take microseconds: a second thread gains a tenth on idle cores, and on busy ones each waits
# for the other's time slice, many times slower.
DEFAULT_THREADS = 1
# Of each shape that it computed with, oneDNN keeps a program: 1,024 unless it is told otherwise. Each batch has its own
# lengths, so that hardly one is asked for again, and they would be half of what a training of 100 glosses holds.
_KEPT_PROGRAMS = 32

THREADS_HELP = "CPU threads to compute with; 0 takes one per core, which pays for models far larger than the default"


def use_threads(threads: int) -> None:
    """Compute with so many CPU threads, 0 takes one per core, and in little memory: before anything is computed."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(_KEPT_PROGRAMS))
    torch.set_num_threads(threads or os.cpu_count() or 1)


def find_device(name: str) -> torch.device:
    """The device of this name; "auto" is a GPU if there is one.

    Raises:
        NotReady: a GPU was asked for, and there is none of that number.
        InvalidSetting: the name means nothing.
    """
    available = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if available else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InvalidSetting(f"--device {name}: write auto, cpu, cuda or cuda:<n>.") from error
    if device.type == "cuda" and (not available or (device.index or 0) >= torch.cuda.device_count()):
        found = torch.cuda.device_count() if available else 0
        raise NotReady(f"--device {name}: torch finds {found} GPU(s) here. Use --device cpu, or look at `nvidia-smi`.")
    return device
