"""The settings of the commands that need no server."""

import os
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from signet.errors import InvalidSetting
from signet.home_paths import HomePath
from signet.store import DirectoryStore


def _user_folder() -> Path | None:
    """The folder of the user's own signs; None for a user without a home directory, as in many containers."""
    data = os.environ.get("XDG_DATA_HOME")
    try:
        return (Path(data) if data else Path.home() / ".local/share") / "signet/signs"
    except RuntimeError:
        return None


class StandaloneSettings(BaseSettings):
    """Where the commands keep what belongs to the user. An empty variable counts as not set."""

    model_config = SettingsConfigDict(env_prefix="SIGNET_", extra="ignore", env_ignore_empty=True)

    own_signs: HomePath | None = Field(
        default_factory=_user_folder,
        description="Directory for the signs that the user adds to the model that comes with Signet",
    )


def open_own_signs() -> DirectoryStore | None:
    """The store with the user's own signs, which may not exist yet; None for a user without a home directory.

    Raises:
        Unavailable: the directory cannot be read.
    """
    folder = StandaloneSettings().own_signs
    return None if folder is None else DirectoryStore(folder)


def open_writable_own_signs() -> DirectoryStore:
    """The store with the user's own signs, to write to.

    Raises:
        InvalidSetting: there is no directory for them.
        Unavailable: the directory cannot be written to.
    """
    store = open_own_signs()
    if store is None:
        raise InvalidSetting(
            "there is no directory for your signs, because this user has no home directory. Set SIGNET_OWN_SIGNS to a "
            "directory, or name a store with --store."
        )
    store.check_writable()
    return store
