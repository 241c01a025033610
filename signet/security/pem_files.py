"""Reads certificates and private keys in PEM form, with errors that name the setting and the file."""

from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from signet.errors import InvalidSetting


def parse_certificates(setting: str, path: Path, data: bytes) -> list[x509.Certificate]:
    """The certificates of a PEM file, at least one.

    Raises:
        InvalidSetting: the file has none, or one that cannot be read.
    """
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise InvalidSetting(
            f"{setting}={path}: holds no certificate in PEM form. Such a file has lines "
            "`-----BEGIN CERTIFICATE-----`. To convert a DER file: openssl x509 -inform der -in FILE -out FILE.pem"
        ) from error


def parse_private_key(setting: str, path: Path, data: bytes) -> PrivateKeyTypes:
    """The private key of a PEM file.

    Raises:
        InvalidSetting: the file has none, one of an unknown kind, or one that is protected by a password.
    """
    try:
        return serialization.load_pem_private_key(data, password=None)
    except TypeError as error:
        raise InvalidSetting(
            f"{setting}={path}: the key is protected by a password, which Signet cannot ask for. Remove it: "
            "openssl pkey -in FILE -out FILE.plain"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        # The message of the error may quote the file, which is secret.
        raise InvalidSetting(
            f"{setting}={path}: holds no usable private key in PEM form. Such a file has a line "
            "`-----BEGIN PRIVATE KEY-----`."
        ) from error


def check_pair(settings: tuple[str, str], paths: tuple[Path, Path], chain: list[x509.Certificate], key: bytes) -> None:
    """Check that a private key belongs to the first certificate of a chain.

    Args:
        settings: the settings of the certificate and of the key.
        paths: their files.
        chain: the certificates of the first file.
        key: the content of the second file.

    Raises:
        InvalidSetting: the key cannot be used, or does not belong to the certificate.
    """
    public = _spki(parse_private_key(settings[1], paths[1], key).public_key())
    owner = next((place for place, one in enumerate(chain) if _spki(one.public_key()) == public), None)
    if owner is None:
        raise InvalidSetting(
            f"{settings[1]}={paths[1]}: this key does not belong to the certificate {settings[0]}={paths[0]}. Name "
            "the key that the certificate was made for."
        )
    if owner > 0:
        raise InvalidSetting(
            f"{settings[0]}={paths[0]}: the certificate of this server is number {owner + 1} in the file. It must be "
            "the first, and those of its authorities follow."
        )


def check_validity(setting: str, path: Path, certificate: x509.Certificate, now: datetime | None = None) -> None:
    """Check that a certificate is valid at a time; None for now.

    Raises:
        InvalidSetting: it is not valid yet, or not valid any more.
    """
    now = now or datetime.now(UTC)
    if now > certificate.not_valid_after_utc:
        raise InvalidSetting(
            f"{setting}={path}: this certificate expired at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC. Put "
            "a new one in its place."
        )
    if now < certificate.not_valid_before_utc:
        raise InvalidSetting(
            f"{setting}={path}: this certificate is valid from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC "
            "on, and not yet. Is the clock of this machine right?"
        )


def check_authorities(setting: str, path: Path, data: bytes) -> None:
    """Check that a PEM file has at least one valid certificate. It can hold old authorities and new ones.

    Raises:
        InvalidSetting: it has none.
    """
    faults = []
    for certificate in parse_certificates(setting, path, data):
        try:
            check_validity(setting, path, certificate)
        except InvalidSetting as error:
            faults.append(error)
        else:
            return
    raise faults[0]


def _spki(key: object) -> bytes:
    """A public key in a form that can be compared."""
    encoded: bytes = key.public_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded
