"""Paths in settings, which may begin with the home directory."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator


def expand_home(path: Path) -> Path:
    """The path with ~ or ~user at its beginning replaced by the home directory.

    Raises:
        ValueError: there is no such user, or the user has no home directory.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"{path.parts[0]} has no home directory; write the whole path") from error


# A path from a setting. A shell does not expand the ~ in FLAG=~/x, and nothing expands it in an env file.
HomePath = Annotated[Path, AfterValidator(expand_home)]
