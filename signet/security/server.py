"""What protects a server: its certificate, its tokens, and the rules between the settings."""

import logging
from pathlib import Path
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Gauge

from signet.errors import InvalidSetting
from signet.security.access import AccessControl
from signet.security.certificates import CERTIFICATE, CLIENT_CA, KEY, CertificateFiles, ServerCertificate
from signet.security.hosts import is_loopback

_log = logging.getLogger(__name__)


class SecuritySettings(Protocol):
    """The settings of a service that this module uses."""

    host: str
    tls_certificate: Path | None
    tls_key: Path | None
    tls_client_ca: Path | None
    tls_at_proxy: bool
    tokens_file: Path | None


class ServerSecurity:
    """The certificate and the tokens of a server.

    Raises:
        InvalidSetting: a file cannot be used, a setting is missing, or tokens would cross a network without TLS.
    """

    def __init__(self, settings: SecuritySettings) -> None:
        self._certificate = _read_certificate(settings)
        local = is_loopback(settings.host)
        if settings.tokens_file is not None and self._certificate is None and not local and not settings.tls_at_proxy:
            raise InvalidSetting(
                f"SIGNET_TOKENS_FILE={settings.tokens_file}: this server listens on {settings.host} without TLS, so "
                f"that others in the network could read the tokens. Set {CERTIFICATE} and {KEY}, or listen on "
                "127.0.0.1. If a proxy or a service mesh encrypts all connections, set SIGNET_TLS_AT_PROXY=true."
            )
        self.access = AccessControl(settings.tokens_file)
        if self._certificate is not None:
            clients = "; clients need a certificate" if settings.tls_client_ca else ""
            _log.info("TLS with a certificate that is valid until %s%s", self._certificate.expires, clients)
        open_to_all = settings.tokens_file is None and settings.tls_client_ca is None
        if open_to_all and not local and not settings.tls_at_proxy:
            _log.info("no tokens and no client certificates: every host that reaches this port may make every call")

    def register_metrics(self, registry: CollectorRegistry) -> None:
        """Add the time at which the certificate expires to the metrics; nothing without TLS."""
        certificate = self._certificate
        if certificate is not None:
            Gauge(
                "signet_tls_certificate_expiry_timestamp_seconds",
                "When the certificate of this server expires, in seconds since 1970",
                registry=registry,
            ).set_function(certificate.expiry_timestamp)

    def add_port(self, server: Any, address: str) -> int:
        """Let a gRPC server listen on host:port, and return the port.

        Raises:
            RuntimeError: gRPC cannot listen there.
        """
        if self._certificate is None:
            return int(server.add_insecure_port(address))
        return int(server.add_secure_port(address, self._certificate.credentials()))


def _read_certificate(settings: SecuritySettings) -> ServerCertificate | None:
    """The certificate; None for a server without TLS."""
    certificate, key, client_ca = settings.tls_certificate, settings.tls_key, settings.tls_client_ca
    if certificate is None or key is None:
        if certificate is None and key is None and client_ca is None:
            return None
        present = CERTIFICATE if certificate else KEY if key else CLIENT_CA
        missing = " and ".join(name for name, path in ((CERTIFICATE, certificate), (KEY, key)) if path is None)
        raise InvalidSetting(f"{present} is set without {missing}. TLS needs both a certificate and its key.")
    return ServerCertificate(CertificateFiles(certificate, key, client_ca))
