"""Gives a complete and checked file its final names."""

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

# What is appended to the name of a broken file that a good one replaces.
_BROKEN_SUFFIX = ".broken"


def place(source: Path, clips: Path, work: Path, names: Sequence[str], *, keep: bool = False) -> list[Path]:
    """Give a file its final names. Each name appears with the complete file, or not at all.

    Several names are hard links, where the file system has them.

    Args:
        source: the complete file.
        clips: the directory of the clips.
        work: a directory on the same file system.
        names: the final names.
        keep: whether the file keeps its present name, too.
    """
    placed = []
    for name in names:
        new, final = work / f"{name}.new", clips / name
        new.unlink(missing_ok=True)
        try:
            os.link(source, new)
        except OSError:  # a file system without hard links
            shutil.copyfile(source, new)
            with new.open("rb") as file:
                os.fsync(file.fileno())
        new.replace(final)
        new.unlink(missing_ok=True)  # the system does not rename a link to a link of the same file
        placed.append(final)
    if not keep:
        source.unlink()
    folder = os.open(clips, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return placed


def move_aside(broken: Iterable[Path]) -> list[Path]:
    """Rename broken files, so that they do not hide the good ones. Returns their new names."""
    moved = []
    for path in broken:
        new = path.with_name(path.name + _BROKEN_SUFFIX)
        path.replace(new)
        moved.append(new)
    return moved
