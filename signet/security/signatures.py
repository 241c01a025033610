"""Signatures of models: ed25519 (RFC 8032) over the bytes of model.json, in the object model.json.sig of its folder.

The card has the sha256 of all other files of its version, so that the signature covers them too. The object has the 64
bytes of the signature and nothing else: openssl can check it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from signet.errors import InvalidSetting
from signet.security.pem_files import parse_private_key
from signet.security.setting_files import read_setting_file, warn_of_readers

SIGNING_KEY, TRUSTED_KEYS = "SIGNET_MODEL_SIGNING_KEY", "SIGNET_MODEL_TRUSTED_KEYS"
SIGNATURE_BYTES = 64

_NEW_KEY = "To make one: openssl genpkey -algorithm ed25519 -out FILE"
_END = b"-----END PUBLIC KEY-----"


@dataclass(frozen=True)
class ModelKeys:
    """The keys of a process: one to sign what it publishes, and those that it trusts.

    Without trusted keys, models need no signature. Several keys are trusted while one replaces another.
    """

    signing: Ed25519PrivateKey | None = None
    trusted: Sequence[Ed25519PublicKey] = ()

    def sign(self, card: bytes) -> bytes | None:
        """The signature of a card; None without a key to sign with."""
        return None if self.signing is None else self.signing.sign(card)

    def accept(self, card: bytes, signature: bytes) -> bool:
        """Whether a trusted key has made this signature of this card."""
        return any(_is_valid(key, card, signature) for key in self.trusted)


def read_model_keys(signing: Path | None, trusted: Path | None) -> ModelKeys:
    """Read the keys that the settings name.

    Args:
        signing: a PEM file with one private key; None to sign nothing.
        trusted: a PEM file with one or more public keys; None to trust every model.

    Raises:
        InvalidSetting: a file cannot be read, or has no key, or one of another kind.
    """
    return ModelKeys(
        None if signing is None else _read_signing_key(signing), () if trusted is None else _read_trusted_keys(trusted)
    )


def _is_valid(key: Ed25519PublicKey, card: bytes, signature: bytes) -> bool:
    try:
        key.verify(signature, card)
    except InvalidSignature:
        return False
    return True


def _read_signing_key(path: Path) -> Ed25519PrivateKey:
    data = read_setting_file(SIGNING_KEY, path, "a PEM file with an ed25519 private key")
    key = parse_private_key(SIGNING_KEY, path, data)
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidSetting(f"{SIGNING_KEY}={path}: this is no ed25519 key. {_NEW_KEY}")
    warn_of_readers(SIGNING_KEY, path)
    return key


def _read_trusted_keys(path: Path) -> tuple[Ed25519PublicKey, ...]:
    data = read_setting_file(TRUSTED_KEYS, path, "a PEM file with ed25519 public keys")
    advice = "To make it of a private key: openssl pkey -in KEY -pubout"
    if b"PRIVATE KEY" in data:
        raise InvalidSetting(f"{TRUSTED_KEYS}={path}: holds a private key, which must not be here. {advice}")
    keys: list[Ed25519PublicKey] = []
    for text in data.split(_END)[:-1]:
        try:
            key = serialization.load_pem_public_key(text + _END + b"\n")
        except ValueError as error:
            raise InvalidSetting(f"{TRUSTED_KEYS}={path}: key {len(keys) + 1} cannot be read. {advice}") from error
        if not isinstance(key, Ed25519PublicKey):
            raise InvalidSetting(f"{TRUSTED_KEYS}={path}: key {len(keys) + 1} is no ed25519 key. {advice}")
        keys.append(key)
    if not keys:
        raise InvalidSetting(f"{TRUSTED_KEYS}={path}: holds no public key in PEM form. {advice}")
    return tuple(keys)
