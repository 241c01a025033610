"""`python -m services.evaluator.serving.model_trial`: load and run a model once, with little memory and time.

`services.evaluator.serving.graph_check` starts it. Standard input: a line of JSON with the seconds and the card; then
the graph. If the model has a fault, standard output names it.
"""

import json
import os
import resource
import sys
from pathlib import Path

from services.evaluator.serving.graph_check import FAULT, MODEL_BYTES
from services.evaluator.serving.loaded_model import LoadedModel
from signet.errors import SignetError
from signet.registry import ModelCard

# ONNX Runtime holds a graph parsed, and its weights in the layout that is fast, while it makes a session.
_COPIES = 3
# How ONNX Runtime says that the limit of memory refused an allocation. It has no exception of its own for it.
_OUT_OF_MEMORY = ("bad_alloc", "Failed to allocate memory")


def main() -> None:
    """Exit status 0: the model can be served. `FAULT`: it cannot. Anything else: it broke a limit, or crashed."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    cpu_seconds, card = json.loads(sys.stdin.buffer.readline())
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    graph = sys.stdin.buffer.read()
    limit = _address_space() + MODEL_BYTES + _COPIES * len(graph)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        LoadedModel(ModelCard.model_validate_json(card), graph, threads=1)
    except SignetError as error:
        if any(words in str(error) for words in _OUT_OF_MEMORY):
            raise SystemExit(1) from error
        os.write(1, str(error).encode())
        raise SystemExit(FAULT) from error


def _address_space() -> int:
    """The bytes of this process's address space now: libraries, most of them ONNX Runtime's, and their memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    main()
