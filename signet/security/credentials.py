"""What a client of Signet's services sends and trusts: TLS, its own certificate, and its token.

Settings come from the environment, SIGNET_CLIENT_<NAME>. A token is never a flag: other users of the machine can see
the flags of a process.
"""

import logging
import ssl
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from signet.errors import InvalidSetting
from signet.home_paths import HomePath
from signet.security.bearer import bearer_metadata
from signet.security.hosts import is_loopback
from signet.security.setting_files import WatchedFiles, read_setting_file, warn_of_readers

_log = logging.getLogger(__name__)

CA, CERTIFICATE, KEY, TOKEN_FILE = (
    f"SIGNET_CLIENT_{name}" for name in ("CA", "CERTIFICATE", "KEY", "TOKEN_FILE")
)  # fmt: skip

_MAX_TOKEN_CHARACTERS = 4096
_LOCAL_SCHEMES = ("unix:", "unix-abstract:")

Options = list[tuple[str, Any]]


class ClientSettings(BaseSettings):
    """How this process calls Signet's services. Each field is SIGNET_CLIENT_<NAME> in the environment."""

    model_config = SettingsConfigDict(env_prefix="SIGNET_CLIENT_", extra="ignore", env_ignore_empty=True)

    tls: bool = Field(default=False, description="Use TLS, and trust the usual public authorities")
    ca: HomePath | None = Field(default=None, description="Use TLS, and trust the authorities of this PEM file")
    certificate: HomePath | None = Field(default=None, description="PEM file with the certificate of this client")
    key: HomePath | None = Field(default=None, description="PEM file with the key of this client")
    server_name: str = Field(default="", description="The name in the server's certificate, if it is not the address")
    token: SecretStr = Field(default=SecretStr(""), description="The token of this client")
    token_file: HomePath | None = Field(default=None, description="File that holds the token of this client")
    plain_token: bool = Field(
        default=False, description="Send the token without TLS to other machines, because a proxy or a mesh encrypts"
    )


def read_client_settings(
    ca: Path | None = None, certificate: Path | None = None, key: Path | None = None, token_file: Path | None = None
) -> ClientSettings:
    """Read the settings of the environment; arguments that are not None replace those in them.

    Raises:
        InvalidSetting: a variable has an unusable value.
    """
    given = {"ca": ca, "certificate": certificate, "key": key, "token_file": token_file}
    try:
        return ClientSettings().model_copy(update={name: path for name, path in given.items() if path is not None})
    except ValidationError as error:
        fault = error.errors(include_input=False)[0]
        name = "_".join(map(str, fault["loc"])).upper()
        raise InvalidSetting(f"SIGNET_CLIENT_{name}: {fault['msg']}.") from None


@dataclass(frozen=True)
class _Pem:
    """The content of the client's files; None where a setting names none."""

    ca: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None


class ChannelSecurity:
    """Opens channels with the credentials of the settings, and gives the metadata that each call needs.

    Raises:
        InvalidSetting: a file cannot be used, or a setting is missing.
    """

    def __init__(self, settings: ClientSettings | None = None) -> None:
        self._settings = settings or read_client_settings()
        self._check_settings()
        self._pem_files = WatchedFiles(self._paths())
        self._pem = self._read_pem()
        token_file = self._settings.token_file
        self._token_files = WatchedFiles([] if token_file is None else [token_file])
        self._token = self._settings.token.get_secret_value().strip()
        if token_file is not None:
            self._token = _read_token(token_file)
            warn_of_readers(TOKEN_FILE, token_file)

    @property
    def uses_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self._settings.tls or self._settings.ca is not None or self._settings.certificate is not None

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata to send with each call: the token, if there is one. A changed token file is read again."""
        path = self._settings.token_file
        if path is not None and self._token_files.have_changed():
            try:
                self._token = _read_token(path)
            except InvalidSetting as error:
                _log.warning("the changed token is not used: %s The token of before is sent.", error)
        return bearer_metadata(self._token)

    def open_channel(self, address: str, options: Options | None = None) -> grpc.Channel:
        """Open a channel to host:port.

        Raises:
            InvalidSetting: the token would cross a network without TLS.
        """
        self.check_address(address)
        options = [*(options or []), *self._name_option()]
        if self.uses_tls:
            return grpc.secure_channel(address, self._credentials(), options=options)
        return grpc.insecure_channel(address, options=options)

    def open_async_channel(self, address: str, options: Options | None = None, **further: Any) -> Any:
        """Open a channel of `grpc.aio` to host:port. `further` are more arguments of it, such as `interceptors`.

        Raises:
            InvalidSetting: the token would cross a network without TLS.
        """
        self.check_address(address)
        options = [*(options or []), *self._name_option()]
        if self.uses_tls:
            return grpc.aio.secure_channel(address, self._credentials(), options=options, **further)
        return grpc.aio.insecure_channel(address, options=options, **further)

    def reload(self) -> bool:
        """Read the certificates again if their files have changed. Returns whether new channels get other credentials.

        If the new files cannot be used, the old content is used on, and the log says why.
        """
        if not self._pem_files.have_changed():
            return False
        try:
            self._pem = self._read_pem()
        except InvalidSetting as error:
            _log.warning("the changed TLS files are not used: %s The old ones are used on.", error)
            return False
        return True

    def tls_context(self) -> ssl.SSLContext | None:
        """The TLS of these settings for a plain socket, to find out why a connection fails; None without TLS."""
        if not self.uses_tls:
            return None
        context = ssl.create_default_context(cafile=self._settings.ca)
        if self._settings.certificate is not None and self._settings.key is not None:
            context.load_cert_chain(self._settings.certificate, self._settings.key)
        context.set_alpn_protocols(["h2"])
        return context

    @property
    def server_name(self) -> str:
        """The name that the server's certificate must have; "" for the name in the address."""
        return self._settings.server_name

    def _credentials(self) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(self._pem.ca, self._pem.key, self._pem.certificate)

    def _name_option(self) -> Options:
        return [("grpc.ssl_target_name_override", self.server_name)] if self.server_name and self.uses_tls else []

    def _check_settings(self) -> None:
        settings = self._settings
        if (settings.certificate is None) != (settings.key is None):
            present, missing = (CERTIFICATE, KEY) if settings.certificate else (KEY, CERTIFICATE)
            raise InvalidSetting(f"{present} is set without {missing}. A client certificate needs both.")
        if settings.token.get_secret_value() and settings.token_file is not None:
            raise InvalidSetting(f"SIGNET_CLIENT_TOKEN and {TOKEN_FILE} are both set. Set one of them.")

    def _paths(self) -> list[Path]:
        """The files of the certificates."""
        settings = self._settings
        return [path for path in (settings.ca, settings.certificate, settings.key) if path is not None]

    def _read_pem(self) -> _Pem:
        """Read the files of the certificates, and check them."""
        settings, pem = self._settings, _Pem()
        if not self._paths():
            return pem
        # Most clients on the server's own machine need no certificates, and `cryptography` takes 70 ms to load.
        from signet.security.pem_files import (  # noqa: PLC0415
            check_authorities,
            check_pair,
            check_validity,
            parse_certificates,
        )

        if settings.ca is not None:
            authorities = read_setting_file(CA, settings.ca, "a PEM file with certificates of authorities")
            check_authorities(CA, settings.ca, authorities)
            pem = _Pem(ca=authorities)
        if settings.certificate is not None and settings.key is not None:
            certificate = read_setting_file(CERTIFICATE, settings.certificate, "a PEM file with a certificate")
            key = read_setting_file(KEY, settings.key, "a PEM file with a private key")
            chain = parse_certificates(CERTIFICATE, settings.certificate, certificate)
            check_pair((CERTIFICATE, KEY), (settings.certificate, settings.key), chain, key)
            check_validity(CERTIFICATE, settings.certificate, chain[0])
            warn_of_readers(KEY, settings.key)
            pem = replace(pem, certificate=certificate, key=key)
        return pem

    def check_address(self, address: str) -> None:
        """Check that a token may be sent to host:port.

        Raises:
            InvalidSetting: the token would cross a network without TLS.
        """
        if not self._token or self.uses_tls or self._settings.plain_token or address.startswith(_LOCAL_SCHEMES):
            return
        if not is_loopback(address.rpartition(":")[0]):
            raise InvalidSetting(
                f"{address}: the token would be sent without TLS, and others in the network could read it. Set {CA} to "
                "a PEM file with the authority of the server, or SIGNET_CLIENT_TLS=true for a public authority. If a "
                "proxy or a service mesh encrypts the connection, set SIGNET_CLIENT_PLAIN_TOKEN=true."
            )


def _read_token(path: Path) -> str:
    """Read a token from a file.

    Raises:
        InvalidSetting: the file is unreadable, or holds something else.
    """
    data = read_setting_file(TOKEN_FILE, path, "a file that holds one token")
    token = data.decode("ascii", errors="replace").strip()
    if not token or len(token) > _MAX_TOKEN_CHARACTERS or not token.isprintable() or not token.isascii():
        raise InvalidSetting(
            f"{TOKEN_FILE}={path}: holds no token. It must be one line, as `signet token create` prints it."
        )
    return token
