"""`python -m services.evaluator.serving.model_trial`: load and run a model once, with little memory and time.

`services.evaluator.serving.graph_check` starts it. Standard input: a line of JSON with the seconds and the card; then
the graph. If the model has a fault, standard output names it. Otherwise it has the bytes that the model needs.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np

from services.evaluator.serving.graph_check import FAULT, MODEL_BYTES
from services.evaluator.serving.loaded_model import LoadedModel
from signet.errors import SignetError
from signet.landmarks import JOINTS
from signet.registry import ModelCard

# ONNX Runtime holds a graph parsed, and its weights in the layout that is fast, while it makes a session.
_COPIES = 3
# A full batch of short clips. ONNX Runtime keeps the memory of the largest run for the next one.
_BATCH_CLIPS, _BATCH_FRAMES = 32, 64
# A model of 50 glosses takes 0.05 s for it.
_BATCH_SECONDS = 5.0
# How ONNX Runtime says that the limit of memory refused an allocation. It has no exception of its own for it.
_OUT_OF_MEMORY = ("bad_alloc", "Failed to allocate memory")


def main() -> None:
    """Exit status 0: the model can be served. `FAULT`: it cannot. Anything else: it broke a limit, or crashed."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    cpu_seconds, card = json.loads(sys.stdin.buffer.readline())
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    graph = sys.stdin.buffer.read()
    before = _resident()
    limit = _address_space() + MODEL_BYTES + _COPIES * len(graph)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        model = LoadedModel(ModelCard.model_validate_json(card), graph, threads=1)
    except SignetError as error:
        if any(words in str(error) for words in _OUT_OF_MEMORY):
            raise SystemExit(1) from error
        os.write(1, str(error).encode())
        raise SystemExit(FAULT) from error
    try:
        needed = _measure(model, before)
    except (SignetError, MemoryError):  # it answers single clips, and this batch needs more than the limit
        needed = 0
    os.write(1, str(needed or MODEL_BYTES + len(graph)).encode())


def _measure(model: LoadedModel, before: int) -> int:
    """The bytes by which this process has grown after a full batch; 0 if that would take too long."""
    clip = np.full((_BATCH_FRAMES, JOINTS, 3), np.nan, np.float32)
    started = time.process_time()
    model.log_probs([clip])
    if _BATCH_CLIPS * (time.process_time() - started) > _BATCH_SECONDS:
        return 0
    model.log_probs([clip] * _BATCH_CLIPS)
    return max(1, _resident() - before)


def _address_space() -> int:
    """The bytes of this process's address space now: libraries, most of them ONNX Runtime's, and their memory."""
    return _pages()[0] * resource.getpagesize()


def _resident() -> int:
    """The bytes of this process's memory now, without those of files."""
    _, resident, shared = _pages()
    return (resident - shared) * resource.getpagesize()


def _pages() -> tuple[int, int, int]:
    size, resident, shared, *_ = Path("/proc/self/statm").read_text().split()
    return int(size), int(resident), int(shared)


if __name__ == "__main__":
    main()
