"""How long a job may take: longer for a longer clip, and for a larger file."""

from collections.abc import Iterable
from pathlib import Path

from services.extractor.sources.selection import Usable

# The time limit of the settings is meant for a clip of so many frames (a minute at 25 frames a second), in a file of so
# many bytes. With 300 s, a frame has 0.2 s: four times the work of one core with the quality `full`.
_FRAMES = 1500
_FILE_BYTES = 64 * 1024**2


def length_factor(arguments: Iterable[object]) -> float:
    """How many times longer than the time limit a job may take: 1 for a short clip.

    Args:
        arguments: those of the job's function. A list in them is a batch of jobs: the factor is then their mean.
    """
    factor = 1.0
    for argument in arguments:
        if isinstance(argument, list) and argument:
            factor = max(factor, sum(map(length_factor, argument)) / len(argument))
        elif isinstance(argument, Usable):
            factor = max(factor, argument.segment.frames / _FRAMES)
        elif isinstance(argument, Path):
            factor = max(factor, _file_bytes(argument) / _FILE_BYTES)
    return factor


def _file_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # the job reports it
