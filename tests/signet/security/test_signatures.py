"""Keys of models: PEM files with ed25519 keys, several of which can be trusted, and signatures that openssl checks."""

import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from signet.errors import InvalidSetting
from signet.security.signatures import SIGNATURE_BYTES, ModelKeys, read_model_keys
from signet.store import StoreSettings, open_store
from tests.model_keys import make_key

CARD = b'{"name": "signet"}'


def test_a_signature_is_accepted_by_its_own_key_and_for_its_own_bytes_only(tmp_path: Path) -> None:
    keys = read_model_keys(*make_key(tmp_path, "one"))
    other = read_model_keys(*make_key(tmp_path, "two"))
    signature = keys.sign(CARD)
    assert signature is not None
    assert len(signature) == SIGNATURE_BYTES
    assert keys.accept(CARD, signature)
    assert not keys.accept(CARD + b" ", signature)
    assert not other.accept(CARD, signature)
    for wrong in (b"", bytes(64), signature[:-1], signature + b"\n"):
        assert not keys.accept(CARD, wrong)
    assert ModelKeys().sign(CARD) is None


def test_several_keys_are_trusted_while_one_replaces_another(tmp_path: Path) -> None:
    old, new = make_key(tmp_path, "old"), make_key(tmp_path, "new")
    both = tmp_path / "trusted.pem"
    both.write_bytes(b"# the old key\n" + old[1].read_bytes() + b"\n# the new key\n" + new[1].read_bytes())
    trusted = read_model_keys(None, both)
    for private, _ in (old, new):
        signature = read_model_keys(private, None).sign(CARD)
        assert signature is not None
        assert trusted.accept(CARD, signature)


def test_openssl_can_check_a_signature(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on PATH")
    private, public = make_key(tmp_path, "one")
    signature = read_model_keys(private, None).sign(CARD)
    assert signature is not None
    (tmp_path / "card").write_bytes(CARD)
    (tmp_path / "sig").write_bytes(signature)
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(public), "-rawin", "-in", "card"]
    done = subprocess.run([*command, "-sigfile", "sig"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Verified Successfully" in done.stdout, done.stderr


def test_keys_of_another_kind_or_place_are_refused(tmp_path: Path) -> None:
    private, public = make_key(tmp_path, "one")
    elliptic = ec.generate_private_key(ec.SECP256R1())
    other, other_public = tmp_path / "ec.pem", tmp_path / "ec.pub"
    other.write_bytes(
        elliptic.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    other_public.write_bytes(
        elliptic.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    broken = tmp_path / "broken.pub"
    broken.write_bytes(public.read_bytes().replace(b"MCow", b"XXXX"))
    for signing, trusted, message in (
        (public, None, "holds no usable private key"),
        (other, None, "this is no ed25519 key"),
        (tmp_path / "missing", None, "SIGNET_MODEL_SIGNING_KEY=.*cannot be read"),
        (None, private, "holds a private key, which must not be here"),
        (None, other_public, "key 1 is no ed25519 key"),
        (None, broken, "key 1 cannot be read"),
        (None, tmp_path / "missing", "SIGNET_MODEL_TRUSTED_KEYS=.*cannot be read"),
    ):
        with pytest.raises(InvalidSetting, match=message):
            read_model_keys(signing, trusted)
    empty = tmp_path / "empty"
    empty.touch()
    with pytest.raises(InvalidSetting, match="holds no public key"):
        read_model_keys(None, empty)


def test_an_opened_store_has_the_keys_of_the_settings(tmp_path: Path) -> None:
    private, public = make_key(tmp_path, "one")
    url = (tmp_path / "store").as_uri()
    assert open_store(StoreSettings(store=url)).model_keys is None
    opened = open_store(StoreSettings(store=url, model_signing_key=private, model_trusted_keys=public)).model_keys
    assert opened is not None
    assert opened.signing is not None
    assert len(opened.trusted) == 1
    with pytest.raises(InvalidSetting):
        open_store(StoreSettings(store=url, model_trusted_keys=tmp_path / "missing"))
