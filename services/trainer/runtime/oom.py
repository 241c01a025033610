"""Work that fits the GPU's memory: done again in more parts when memory is full, or ended with a way out."""

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
    """Say what to do where the GPU's memory is full and there is nothing left to divide."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise SignetError(
            "the GPU's memory is full, and what did not fit cannot be divided further. `nvidia-smi` shows who else "
            "uses it. Free some, train a smaller model (--hidden-dim, --num-layers) or on fewer glosses "
            "(--max-glosses), or use --device cpu."
        ) from error


class MemorySplitter:
    """In how many parts work is done, since GPU memory does not hold it whole: as few as fit, and never fewer again.

    Args:
        what: what the work is, in a word.
        on_split: told of each doubling.
        release: lets go of what an attempt that failed may have left.
    """

    def __init__(self, what: str, on_split: Callable[[], None], release: Callable[[], None]) -> None:
        self._what = what
        self._on_split = on_split
        self._release = release
        self._parts = 1

    @explain_out_of_memory()
    def run(self, most: int, work: Callable[[int], T]) -> T:
        """The outcome of work(parts), which is begun again in twice as many parts whenever memory is full.

        Args:
            most: parts that the work can be divided into at most.
            work: does it in so many parts, or in `most` if that is fewer.

        Raises:
            SignetError: memory does not hold the smallest part.
        """
        while True:
            try:
                return work(self._parts)
            except torch.cuda.OutOfMemoryError:
                if self._parts >= most:
                    raise
            # Only here: as long as the exception is handled, it holds all that the failed attempt had made.
            self._release()
            torch.cuda.empty_cache()
            self._parts *= 2
            self._on_split()
            _log.warning(
                "GPU memory is full: %s goes on in %d parts at a time, which costs time and changes nothing else",
                self._what,
                self._parts,
            )
