"""CTC by its definition: all alignments are enumerated. Only for a few frames and classes."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from signet.decoding import BLANK, log_softmax

Array = npt.NDArray[np.float64]
Path = tuple[int, ...]


def posteriors(frames: int, classes: int, seed: int, scale: float = 3.0) -> Array:
    """Some log-probabilities, [T, C + 1]."""
    return log_softmax(np.random.default_rng(seed).normal(0, scale, (frames, classes + 1)))


def padded_batch(clips: list[Array], poison: float = 777.0) -> tuple[Array, list[int]]:
    """Clips in one padded array, and their lengths. The padding is such that reading it changes the result."""
    lengths = [len(clip) for clip in clips]
    batch = np.full((len(clips), max(lengths), clips[0].shape[1]), poison)
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = clip
    return batch, lengths


def collapse(path: Path) -> Path:
    """Repeats merged, blanks dropped."""
    return tuple(c for c, _ in itertools.groupby(path) if c != BLANK)


def paths(log_probs: Array) -> Iterator[tuple[Path, float]]:
    """All (C + 1)^T paths, each with its log-probability."""
    frames, classes = log_probs.shape
    for path in itertools.product(range(classes), repeat=frames):
        yield path, math.fsum(log_probs[t, c] for t, c in enumerate(path))


def sequences(log_probs: Array) -> dict[Path, float]:
    """Log p(signs | x) of every sequence of signs that these frames can hold."""
    total: dict[Path, float] = {}
    for path, score in paths(log_probs):
        signs = collapse(path)
        total[signs] = total.get(signs, 0.0) + math.exp(score)
    return {signs: math.log(share) for signs, share in total.items()}


small = st.builds(
    posteriors, st.integers(1, 5), st.integers(1, 3), st.integers(0, 10_000), st.sampled_from([0.3, 1.0, 3.0, 8.0])
)
