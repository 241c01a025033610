"""What every service can be told through its environment or its flags, and how it says so."""

from typing import Literal, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import SettingsConfigDict

from signet.errors import InvalidSetting
from signet.store import StoreSettings


class ServiceSettings(StoreSettings):
    """Settings that all three services share. Each field is SIGNET_<NAME> in the environment and --<name> as a flag."""

    model_config = SettingsConfigDict(
        env_prefix="SIGNET_", extra="ignore", cli_parse_args=True, cli_kebab_case=True, cli_implicit_flags=True
    )

    host: str = Field(default="127.0.0.1", description="Address to listen on; 0.0.0.0 inside a container")
    port: int = Field(default=0, ge=0, le=65535, description="gRPC port; 0 takes a free one")
    metrics_port: int = Field(default=0, ge=0, le=65535, description="Prometheus /metrics port; 0 takes a free one")
    drain_seconds: float = Field(
        default=8.0, ge=0, description="After SIGTERM, how long running calls may go on before they are cancelled"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="How much is logged")


Settings = TypeVar("Settings", bound=ServiceSettings)


def read_settings(kind: type[Settings]) -> Settings:
    """A service's settings, from its flags and its environment.

    Raises:
        InvalidSetting: some have unusable values; the message names all of them.
    """
    try:
        return kind()
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, one['loc']))}={one['input']!r}: {one['msg']}" for one in error.errors())
        raise InvalidSetting(f"unusable settings: {faults}. --help lists them all.") from error
