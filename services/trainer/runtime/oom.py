"""Repeats work in more and smaller parts when the GPU's memory is full."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from signet.errors import SignetError

_log = logging.getLogger(__name__)

T = TypeVar("T")


@contextmanager
def explain_out_of_memory() -> Iterator[None]:
    """Raise torch's out-of-memory error as a SignetError that says what to do."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise SignetError(
            "the GPU's memory is full, and the work cannot be divided further. `nvidia-smi` shows which processes use "
            "the memory. Free some of it, train a smaller model (--hidden-dim, --num-layers) or fewer glosses "
            "(--max-glosses), or use --device cpu."
        ) from error


class MemorySplitter:
    """Runs work in as few parts as fit the GPU's memory. The number of parts doubles when needed and never shrinks.

    Args:
        name: what the work is, for the log.
        on_split: called after each doubling.
        release: called before each repetition; frees what the failed attempt has left.
    """

    def __init__(self, name: str, on_split: Callable[[], None], release: Callable[[], None]) -> None:
        self._name = name
        self._on_split = on_split
        self._release = release
        self._parts = 1

    @explain_out_of_memory()
    def run(self, max_parts: int, work: Callable[[int], T]) -> T:
        """The result of work(parts). While memory is full, repeat it with twice as many parts, up to `max_parts`.

        Raises:
            SignetError: the smallest part does not fit.
        """
        while True:
            try:
                return work(self._parts)
            except torch.cuda.OutOfMemoryError:
                if self._parts >= max_parts:
                    raise
            # Outside the handler: within it, the exception keeps all tensors of the failed attempt alive.
            self._release()
            torch.cuda.empty_cache()
            self._parts *= 2
            self._on_split()
            _log.warning(
                "GPU memory is full: %s continues in %d parts at a time. This takes longer; the result is the same",
                self._name,
                self._parts,
            )
