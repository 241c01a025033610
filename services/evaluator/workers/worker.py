"""`python -m services.evaluator.workers.worker CONNECTION LIFELINE THREADS`: a process that runs models.

`worker_process` starts it. CONNECTION and LIFELINE are the numbers of two open files. On CONNECTION, calls come and
answers go; both are pickled, because both ends are processes of the same evaluator. LIFELINE ends when the evaluator
does, in whatever way.
"""

import os
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

from services.evaluator.serving.loaded_model import Frames, LoadedModel
from services.evaluator.serving.pipeline import ClipRequest, ProcessedClip, process_clips
from services.evaluator.serving.stored_version import StoredVersion
from signet.errors import SignetError
from signet.process_memory import limit_arenas
from signet.registry import ModelCard


class Worker:
    """The models of this process, and what the evaluator asks of them."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._models: dict[int, LoadedModel] = {}
        self.methods: dict[str, Callable[..., Any]] = {
            "load": self.load,
            "unload": self.unload,
            "process": self.process,
            "log_probs": self.log_probs,
        }

    def load(self, key: int, card: str, graph: bytes, parity: bytes | None) -> None:
        """Build the session of a graph. Compare its answers with the parity vector, if there is one.

        Raises:
            DataLoss: this process cannot serve the model.
        """
        if key in self._models:
            return
        stored = StoredVersion(ModelCard.model_validate_json(card), graph, parity)
        self._models[key] = LoadedModel.from_stored(stored, self._threads)

    def unload(self, key: int) -> None:
        """Free a model."""
        self._models.pop(key, None)

    def process(self, key: int, requests: Sequence[ClipRequest]) -> tuple[list[ProcessedClip | Exception], list[int]]:
        """The answers to the requests, and the number of clips of each run of the model."""
        runs: list[int] = []
        return process_clips(self._models[key], requests, runs.append), runs

    def log_probs(
        self, key: int, clips: Sequence[Frames], dominance: Sequence[float] | None
    ) -> tuple[list[Frames], list[int]]:
        """The log-probabilities of model inputs, and the number of clips of each run of the model."""
        runs: list[int] = []
        return self._models[key].log_probs(clips, runs.append, dominance), runs


def answer_calls(worker: Worker, connection: Connection) -> None:
    """Answer one call after another, until the evaluator closes the connection.

    A call is (method, *arguments). Its answer is (True, result) or (False, error).
    """
    while True:
        try:
            method, *arguments = connection.recv()
        except (EOFError, OSError):
            return
        answer: tuple[bool, object]
        try:
            answer = True, worker.methods[method](*arguments)
        except SignetError as error:
            answer = False, error
        except Exception:  # noqa: BLE001  (errors of libraries may not be picklable)
            answer = False, RuntimeError(traceback.format_exc())
        del arguments
        try:
            connection.send(answer)
        except OSError:
            return
        del answer


def _end_with_the_evaluator(lifeline: int) -> None:
    os.read(lifeline, 1)
    os._exit(1)


def main() -> None:
    """Answer calls until the evaluator ends."""
    limit_arenas()
    connection, lifeline, threads = map(int, sys.argv[1:])
    # The evaluator gets these signals too, and may need this process until its last call has ended.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.Thread(target=_end_with_the_evaluator, args=(lifeline,), name="lifeline", daemon=True).start()
    answer_calls(Worker(threads), Connection(connection))


if __name__ == "__main__":
    main()
