"""The certificate of a server: checked at start, and read again when its files change, without a restart."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc

from signet.errors import InvalidSetting
from signet.rpc.polling import StatusLog
from signet.security.pem_files import check_authorities, check_pair, check_validity, parse_certificates
from signet.security.setting_files import WatchedFiles, read_setting_file, warn_of_readers

_log = logging.getLogger(__name__)

CERTIFICATE, KEY, CLIENT_CA = "SIGNET_TLS_CERTIFICATE", "SIGNET_TLS_KEY", "SIGNET_TLS_CLIENT_CA"

# From this time before the end on, the log warns.
_WARN_BEFORE = timedelta(days=14)


@dataclass(frozen=True)
class CertificateFiles:
    """The files of a server. With `client_ca`, clients must have a certificate of one of its authorities."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files."""
        return tuple(path for path in (self.certificate, self.key, self.client_ca) if path is not None)


@dataclass(frozen=True)
class _Loaded:
    """The checked content of the files."""

    configuration: Any
    expires: datetime


class ServerCertificate:
    """The certificate of a server and the authorities of its clients.

    New connections get the content of the files as it is then. If the new content cannot be used, the old one is used
    on, and the log says why. Connections that exist keep their certificate.

    Raises:
        InvalidSetting: a file is missing, unreadable, expired or no PEM file, or key and certificate do not belong
            together.
    """

    def __init__(self, files: CertificateFiles, clock: Callable[[], float] = time.monotonic) -> None:
        self._files = files
        self._status = StatusLog(_log)
        self._lock = threading.Lock()
        self._watched = WatchedFiles(files.paths, clock)
        self._loaded = _load(files)
        warn_of_readers(KEY, files.key)
        self._warn_of_end()

    @property
    def expires(self) -> datetime:
        """When the certificate expires."""
        return self._loaded.expires

    def expiry_timestamp(self) -> float:
        """When the certificate expires, in seconds since 1970."""
        return self._loaded.expires.timestamp()

    def credentials(self) -> grpc.ServerCredentials:
        """What gRPC needs for a secure port."""
        return grpc.dynamic_ssl_server_credentials(
            self._loaded.configuration, self._fetch, require_client_authentication=self._files.client_ca is not None
        )

    def _fetch(self) -> Any:
        """The configuration for a new connection; None if it is unchanged. gRPC calls this in threads of its own."""
        with self._lock:
            return self._reload()

    def _reload(self) -> Any:
        if not self._watched.is_check_due():
            return None
        if not self._watched.have_changed():
            self._warn_of_end()
            return None
        try:
            self._loaded = _load(self._files)
        except InvalidSetting as error:
            self._status.report(f"the changed TLS files are not used: {error} The server goes on with the old ones.")
            return None
        self._status.clear()
        _log.info("%s=%s: read again; valid until %s", CERTIFICATE, self._files.certificate, self.expires)
        self._warn_of_end()
        return self._loaded.configuration

    def _warn_of_end(self) -> None:
        """Log once if the certificate expires soon, and once when it has expired."""
        left = self.expires - datetime.now(UTC)
        if left < timedelta(0):
            self._status.report(
                f"{CERTIFICATE}={self._files.certificate}: expired at {self.expires}. Clients refuse it. Put a new one "
                "in its place.",
                logging.ERROR,
            )
        elif left < _WARN_BEFORE:
            self._status.report(f"{CERTIFICATE}={self._files.certificate}: expires at {self.expires}. Renew it.")


def _load(files: CertificateFiles) -> _Loaded:
    certificate = read_setting_file(CERTIFICATE, files.certificate, "a PEM file with the certificate of this server")
    key = read_setting_file(KEY, files.key, "a PEM file with the private key of this server")
    chain = parse_certificates(CERTIFICATE, files.certificate, certificate)
    check_pair((CERTIFICATE, KEY), (files.certificate, files.key), chain, key)
    check_validity(CERTIFICATE, files.certificate, chain[0])
    authorities = None
    if files.client_ca is not None:
        authorities = read_setting_file(CLIENT_CA, files.client_ca, "a PEM file with certificates of authorities")
        check_authorities(CLIENT_CA, files.client_ca, authorities)
    configuration = grpc.ssl_server_certificate_configuration([(key, certificate)], authorities)
    return _Loaded(configuration, chain[0].not_valid_after_utc)
