"""How torch computes on the CPU."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import nn

from services.trainer.runtime.threads import use_threads

MEBIBYTE_IN_KIB = 1024


def resident() -> float:
    """What this process holds now, MiB."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / MEBIBYTE_IN_KIB


def growth(limited: bool) -> float:
    """What a process holds more after batches of many shapes than after two, with or without `use_threads`."""
    torch.set_num_threads(1)
    if limited:
        use_threads(1)
    lstm = nn.LSTM(64, 96, batch_first=True)

    def learn(sequences: int, frames: int) -> None:
        lstm(torch.randn(sequences, frames, 64, requires_grad=True))[0].sum().backward()

    for frames in (20, 80):
        learn(12, frames)
    before = resident()
    for frames in range(20, 80):
        for sequences in (4, 6, 8, 10, 12):
            learn(sequences, frames)
    return resident() - before


def test_what_is_held_hardly_grows_with_the_shapes_of_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    # `use_threads` was called in this process, and new processes would inherit its setting.
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as executor:
        unlimited, limited = (executor.submit(growth, limit).result() for limit in (False, True))
    assert limited < 0.7 * unlimited, f"{limited:.0f} MiB, and {unlimited:.0f} MiB without"
