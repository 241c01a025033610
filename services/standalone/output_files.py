"""Writes the files of a command: all of them as a whole, or none."""

import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from signet.errors import InvalidInput, InvalidSetting, Unavailable

_TEMPORARY = ".signet-"


def check_outputs(outputs: Mapping[str, Path], inputs: list[Path]) -> None:
    """Check that the files can be written, before hours of work.

    Args:
        outputs: the files by the option that names them.
        inputs: files that must not be replaced.

    Raises:
        InvalidSetting: two options name one file, or one names an input.
        Unavailable: a folder does not exist, or nothing can be written there.
    """
    used: dict[Path, str] = {path.resolve(): str(path) for path in inputs}
    for option, path in outputs.items():
        resolved = path.resolve()
        if resolved in used:
            raise InvalidSetting(f"{option} {path}: this file is {used[resolved]}. Name another one.")
        used[resolved] = f"that of {option}"
        if path.is_dir():
            raise InvalidInput(f"{option} {path}: is a folder. Name a file.")
        try:
            with tempfile.NamedTemporaryFile(prefix=_TEMPORARY, dir=path.parent):
                continue
        except OSError as error:
            raise Unavailable(f"{option} {path}: cannot be written ({error.strerror}). Name another folder.") from error


def write_outputs(contents: Mapping[Path, Callable[[], bytes]]) -> None:
    """Write all files, each first under a temporary name. If one cannot be written, none is changed.

    Raises:
        Unavailable: a file cannot be written.
    """
    temporary: dict[Path, Path] = {}
    try:
        for path, make in contents.items():
            temporary[path] = _write_beside(path, make())
        for path, written in temporary.items():
            try:
                written.replace(path)
            except OSError as error:
                raise Unavailable(f"{path}: cannot be written ({error.strerror}).") from error
    finally:
        for written in temporary.values():
            with suppress(OSError):
                written.unlink(missing_ok=True)


def _write_beside(path: Path, data: bytes) -> Path:
    try:
        handle, name = tempfile.mkstemp(prefix=_TEMPORARY, dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o666 & ~_umask())
    except OSError as error:
        raise Unavailable(f"{path}: cannot be written ({error.strerror}). Check the space on its disk.") from error
    return Path(name)


def _umask() -> int:
    """The mode bits that this user's new files lack. Only a change of them tells them."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
