"""Keys that sign models, as PEM files."""

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signet.security.signatures import ModelKeys, read_model_keys


def make_key(folder: Path, name: str) -> tuple[Path, Path]:
    """A new key: the file of the private key, and that of the public key."""
    key = Ed25519PrivateKey.generate()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.touch(0o600)
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


def signing_keys(folder: Path, name: str = "publisher") -> ModelKeys:
    """The keys of a process that signs with a new key, and trusts it."""
    return read_model_keys(*make_key(folder, name))
