"""The settings that all services have, from the environment and from flags."""

from typing import ClassVar, Literal, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import SettingsConfigDict, SettingsError

from signet.errors import InvalidSetting
from signet.home_paths import HomePath
from signet.store import StoreSettings


class ServiceSettings(StoreSettings):
    """The settings of all three services. Each field is SIGNET_<NAME> in the environment and --<name> as a flag."""

    # The name of the service in logs and traces.
    service: ClassVar[str] = "signet"

    model_config = SettingsConfigDict(
        env_prefix="SIGNET_", extra="ignore", cli_parse_args=True, cli_kebab_case=True, cli_implicit_flags=True,
        cli_exit_on_error=False,
    )  # fmt: skip

    host: str = Field(default="127.0.0.1", description="Address to listen on; 0.0.0.0 inside a container")
    port: int = Field(default=0, ge=0, le=65535, description="gRPC port; 0 takes a free one")
    metrics_port: int = Field(default=0, ge=0, le=65535, description="Prometheus /metrics port; 0 takes a free one")
    drain_seconds: float = Field(
        default=8.0, ge=0, description="After SIGTERM, how long running calls may go on before they are cancelled"
    )
    tls_certificate: HomePath | None = Field(
        default=None,
        description="PEM file with the certificate of this server, and those of its authorities after it. It turns TLS "
        "on. A changed file is used for new connections",
    )
    tls_key: HomePath | None = Field(default=None, description="PEM file with the key of --tls-certificate")
    tls_client_ca: HomePath | None = Field(
        default=None,
        description="PEM file with authorities. Clients must then have a certificate of one of them (mutual TLS)",
    )
    tokens_file: HomePath | None = Field(
        default=None,
        description="File of `signet token create`. Each call but health checks must then have one of its tokens",
    )
    tls_at_proxy: bool = Field(
        default=False,
        description="Accept tokens without TLS from other machines, because a proxy or a service mesh encrypts",
    )
    reflection: bool = Field(default=True, description="Tell clients such as grpcurl which methods there are")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Minimum level of log messages"
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="How the log is written: lines of text, or a JSON object in each line"
    )
    traces_endpoint: str = Field(
        default="",
        description="Send traces of calls to the OpenTelemetry collector at this URL (OTLP over HTTP), for example "
        "http://localhost:4318; needs the extra `tracing`",
    )
    traces_share: float = Field(
        default=1.0, ge=0, le=1, description="Share of calls that are traced, if their caller does not decide it"
    )


Settings = TypeVar("Settings", bound=ServiceSettings)


def read_settings(kind: type[Settings]) -> Settings:
    """Read the settings of a service, from its flags and its environment.

    Raises:
        InvalidSetting: some settings have unusable values, and the message names all of them; or a flag is unknown.
    """
    try:
        return kind()
    except SettingsError as error:
        fault = str(error).removeprefix("error parsing CLI: ")
        raise InvalidSetting(f"unusable settings: {fault}. --help lists all settings.") from error
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}={fault['input']!r}: {fault['msg']}" for fault in error.errors()
        )
        raise InvalidSetting(f"unusable settings: {faults}. --help lists all settings.") from error
