"""Connecting to the store that the settings name."""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from signet.errors import InvalidSetting
from signet.store.base import ObjectStore
from signet.store.directory import DirectoryStore
from signet.text_files import REPLACEMENT, decode_text

DEFAULT_STORE = "file:data/store"
STORE_HELP = "The store: http(s)://host:port/bucket for S3, file:<directory> for a directory"


def _user_cache() -> Path | None:
    """The user's cache directory; None for a user without a home directory, as in many containers."""
    home = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(home) if home else Path.home() / ".cache") / "signet"
    except RuntimeError:
        return None


class StoreSettings(BaseSettings):
    """Where the store is, and the credentials for it."""

    model_config = SettingsConfigDict(env_prefix="SIGNET_", extra="ignore")

    store: str = Field(default=DEFAULT_STORE, description=STORE_HELP)
    s3_access_key: str = Field(default="", description="S3 user")
    s3_secret_key: SecretStr = Field(default=SecretStr(""), description="S3 user's secret")
    s3_secret_key_file: Path | None = Field(
        default=None, description="File that holds the S3 user's secret, instead of --s3-secret-key"
    )

    cache: Path | None = Field(
        default_factory=_user_cache,
        description="Directory on this machine for copies of datasets from S3; it can be deleted at any time",
    )

    def secret(self) -> str:
        """The S3 user's secret, from the setting or the file; "" if neither is given.

        Raises:
            InvalidSetting: the file cannot be read.
        """
        if self.s3_secret_key_file is None:
            return self.s3_secret_key.get_secret_value()
        try:
            secret = decode_text(self.s3_secret_key_file.read_bytes()).strip()
        except OSError as error:
            raise self._unreadable_secret(str(error)) from error
        if REPLACEMENT in secret:
            raise self._unreadable_secret("it is no text")
        return secret

    def _unreadable_secret(self, reason: str) -> InvalidSetting:
        return InvalidSetting(
            f"SIGNET_S3_SECRET_KEY_FILE={self.s3_secret_key_file}: cannot be read ({reason}). It must hold the secret "
            "as text, and the user that runs Signet must be able to read it."
        )


def open_store(settings: StoreSettings) -> ObjectStore:
    """Connect to the store that the settings name.

    Raises:
        InvalidSetting: Signet does not know this kind of URL, or the credentials are missing.
        Unavailable: the store cannot be reached.
    """
    parts = urlsplit(settings.store)
    if parts.scheme == "file":
        return DirectoryStore(Path(unquote(parts.path)))
    bucket = parts.path.strip("/")
    if parts.scheme not in {"http", "https"} or not parts.hostname or not bucket or "/" in bucket:
        raise InvalidSetting(
            f"SIGNET_STORE={settings.store!r} names no store. Write http://host:port/bucket, https://host:port/bucket "
            "or file:<directory>."
        )
    secret = settings.secret()
    if not settings.s3_access_key or not secret:
        raise InvalidSetting(
            f"{settings.store}: set SIGNET_S3_ACCESS_KEY, and SIGNET_S3_SECRET_KEY or SIGNET_S3_SECRET_KEY_FILE."
        )
    # The minio client takes as long to load as everything else that `signet runs` needs.
    from signet.store.s3 import S3Store  # noqa: PLC0415

    try:
        return S3Store(
            parts.netloc,
            bucket,
            settings.s3_access_key,
            secret,
            secure=parts.scheme == "https",
            cache=settings.cache,
        )
    except ValueError as error:  # the client refuses the name of the host or the bucket
        raise InvalidSetting(f"SIGNET_STORE={settings.store!r}: {error}.") from error
