"""Closes the inner ports of the local store: without its key, SeaweedFS answers on its S3 port only."""

import secrets
import subprocess
from pathlib import Path

from signet.errors import NotReady

# SeaweedFS reads each setting of its security.toml from an environment variable with this prefix.
_PREFIX = "WEED_"

# SeaweedFS signs and checks what its parts ask of each other over HTTP. The keys are made for one run.
_SIGNING_KEYS = ("JWT_SIGNING_KEY", "JWT_SIGNING_READ_KEY", "JWT_FILER_SIGNING_KEY", "JWT_FILER_SIGNING_READ_KEY")

# Servers that accept only clients with a certificate of the authority, over gRPC and over HTTP.
_GRPC_SERVERS = ("MASTER", "VOLUME", "FILER", "S3", "ADMIN", "WORKER", "MQ", "MSG_BROKER", "MSG_AGENT")
_HTTP_SERVERS = ("MASTER", "VOLUME", "FILER", "ADMIN")

# One certificate is its own authority. All parts are one process, so that one key serves all of them.
_CERTIFICATE_REQUEST = """
[req]
prompt = no
distinguished_name = name
x509_extensions = extensions
[name]
CN = signet-store
[extensions]
basicConstraints = critical, CA:TRUE
subjectAltName = IP:127.0.0.1
"""
_CERTIFICATE_DAYS = 3650
_OPENSSL_SECONDS = 30.0


def protect_store(folder: Path) -> dict[str, str]:
    """Make a certificate and signing keys for one run of SeaweedFS.

    The certificate and its key are files that only their owner can read. The signing keys are kept nowhere.

    Args:
        folder: the directory for the certificate and its key. Those of an earlier run are replaced.

    Returns:
        Environment variables for SeaweedFS.

    Raises:
        NotReady: the program openssl is not installed, or fails.
    """
    certificate, key = _make_certificate(folder)
    settings = {name: secrets.token_urlsafe(32) for name in _SIGNING_KEYS}
    settings["GRPC_CA"] = certificate
    for server in (*_GRPC_SERVERS, "CLIENT"):
        settings |= {f"GRPC_{server}_CERT": certificate, f"GRPC_{server}_KEY": key}
    for server in (*_HTTP_SERVERS, "CLIENT"):
        settings |= {
            f"HTTPS_{server}_CERT": certificate,
            f"HTTPS_{server}_KEY": key,
            f"HTTPS_{server}_CA": certificate,
        }
    settings["HTTPS_CLIENT_ENABLED"] = "true"
    return {_PREFIX + name: value for name, value in settings.items()}


def _make_certificate(folder: Path) -> tuple[str, str]:
    """The paths of a new certificate and of its key."""
    folder.mkdir(exist_ok=True, mode=0o700)
    certificate, key, request = folder / "certificate.pem", folder / "key.pem", folder / "request.conf"
    folder.chmod(0o700)
    for old in (certificate, key):
        old.unlink(missing_ok=True)  # a file that exists keeps its mode
    request.write_text(_CERTIFICATE_REQUEST)
    command = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command += ["-config", str(request), "-days", str(_CERTIFICATE_DAYS), "-keyout", str(key), "-out", str(certificate)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_OPENSSL_SECONDS, check=False, umask=0o077
        )
    except FileNotFoundError:
        raise NotReady(
            "The program openssl is not installed. The local store needs it to make its certificate. Install it."
        ) from None
    except subprocess.TimeoutExpired:
        raise NotReady(f"openssl made no certificate in {_OPENSSL_SECONDS:.0f} s. Start again.") from None
    if done.returncode:
        raise NotReady(f"openssl cannot make the certificate of the local store:\n{done.stderr.strip()}")
    return str(certificate), str(key)
