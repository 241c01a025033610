"""The settings of a store: where it is, and what an S3 server needs to know."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from signet.errors import InvalidSetting
from signet.home_paths import HomePath
from signet.text_files import REPLACEMENT, decode_text

DEFAULT_STORE = "file:data/store"
STORE_HELP = "The store: http(s)://host:port/bucket for S3, file:<directory> for a directory"

# The region of a server that has none of its own, as MinIO and SeaweedFS.
DEFAULT_REGION = "us-east-1"


def _user_cache() -> Path | None:
    """The user's cache directory; None for a user without a home directory, as in many containers."""
    home = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(home) if home else Path.home() / ".cache") / "signet"
    except RuntimeError:
        return None


class AwsSettings(BaseSettings):
    """The variables of AWS's own programs. They are used where no variable of Signet is set."""

    model_config = SettingsConfigDict(env_prefix="AWS_", extra="ignore", env_ignore_empty=True)

    access_key_id: str = ""
    secret_access_key: SecretStr = SecretStr("")
    session_token: SecretStr = SecretStr("")
    region: str = ""
    default_region: str = ""
    ca_bundle: HomePath | None = None


@dataclass(frozen=True)
class S3Keys:
    """The keys of an S3 user, and the variables that they came from."""

    access_key: str
    secret_key: str
    session_token: str = ""  # only temporary keys have one
    variables: str = "SIGNET_S3_ACCESS_KEY and SIGNET_S3_SECRET_KEY"


class StoreSettings(BaseSettings):
    """Where the store is, and how an S3 server is used.

    An empty variable counts as not set: Compose passes a variable on even if nobody has set it.
    """

    model_config = SettingsConfigDict(env_prefix="SIGNET_", extra="ignore", env_ignore_empty=True)

    store: str = Field(default=DEFAULT_STORE, description=STORE_HELP)
    s3_access_key: str = Field(default="", description="S3 user; without one, AWS_ACCESS_KEY_ID")
    s3_secret_key: SecretStr = Field(default=SecretStr(""), description="S3 user's secret")
    s3_secret_key_file: HomePath | None = Field(
        default=None, description="File that holds the S3 user's secret, instead of --s3-secret-key"
    )
    s3_session_token: SecretStr = Field(default=SecretStr(""), description="Session token of temporary S3 keys")
    s3_region: str = Field(
        default="",
        description="S3 region; without one, that of an AWS host in --store, or AWS_REGION, AWS_DEFAULT_REGION, "
        f"{DEFAULT_REGION}",
    )
    s3_addressing: Literal["auto", "path", "virtual"] = Field(
        default="auto",
        description="How a request names the bucket: path (host/bucket), virtual (bucket.host), or auto, which is "
        "virtual for AWS and path for others",
    )
    s3_ca_bundle: HomePath | None = Field(
        default=None,
        description="PEM file or directory of the authorities that https trusts, instead of the system's; without one, "
        "AWS_CA_BUNDLE",
    )

    model_signing_key: HomePath | None = Field(
        default=None, description="PEM file with an ed25519 private key, which signs each model that is published"
    )
    model_trusted_keys: HomePath | None = Field(
        default=None,
        description="PEM file with ed25519 public keys. Models without a signature of one of them are refused",
    )

    cache: HomePath | None = Field(
        default_factory=_user_cache,
        description="Directory on this machine for copies of datasets from S3; it can be deleted at any time",
    )

    def s3_keys(self) -> S3Keys:
        """The keys of the S3 user; those of AWS's own variables if Signet's name neither a user nor a secret.

        Raises:
            InvalidSetting: there are none, or the file with the secret cannot be read.
        """
        aws = AwsSettings()
        secret, token = self.secret(), self.s3_session_token.get_secret_value()
        aws_token = aws.session_token.get_secret_value()
        if self.s3_access_key and secret:
            # Another user's token would be refused.
            same_user = self.s3_access_key == aws.access_key_id
            return S3Keys(self.s3_access_key, secret, token or (aws_token if same_user else ""))
        aws_secret = aws.secret_access_key.get_secret_value()
        if not self.s3_access_key and not secret and aws.access_key_id and aws_secret:
            variables = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            return S3Keys(aws.access_key_id, aws_secret, token or aws_token, variables)
        raise InvalidSetting(
            f"{self.store}: set SIGNET_S3_ACCESS_KEY, and SIGNET_S3_SECRET_KEY or SIGNET_S3_SECRET_KEY_FILE (or "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)."
        )

    def region(self, of_host: str = "") -> str:
        """The S3 region; `of_host` is the one that the store's host belongs to, "" if that is not known."""
        aws = AwsSettings()
        return self.s3_region or of_host or aws.region or aws.default_region or DEFAULT_REGION

    def ca_bundle(self) -> Path | None:
        """The authorities that https trusts; None for those of the system."""
        return self.s3_ca_bundle or AwsSettings().ca_bundle

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


def read_store_settings(store: str = "") -> StoreSettings:
    """Read the settings of the environment; `store` replaces the store in them.

    Raises:
        InvalidSetting: a variable has an unusable value; the message names it.
    """
    try:
        return StoreSettings(store=store) if store else StoreSettings()
    except ValidationError as error:
        raise InvalidSetting(
            "; ".join(
                f"SIGNET_{'_'.join(map(str, fault['loc'])).upper()}={fault['input']}: {fault['msg']}."
                for fault in error.errors()
            )
        ) from error
