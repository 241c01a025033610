"""With trusted keys, a version is read only if a trusted key has signed its card; write access is not enough."""

import io
from dataclasses import replace
from pathlib import Path

import pytest

from signet import registry
from signet.errors import DataLoss, InvalidSetting, NotFound, UntrustedModel
from signet.registry import SIGNATURE
from signet.security.signatures import ModelKeys
from signet.store import DirectoryStore, ObjectStore, keys
from tests.model_keys import signing_keys
from tests.signet.registry.models import FILES, make_card

CARD_KEY, SIGNATURE_KEY = keys.model("signet", "v1", "model.json"), keys.model("signet", "v1", SIGNATURE)


@pytest.fixture
def publisher(tmp_path: Path) -> ModelKeys:
    return signing_keys(tmp_path)


@pytest.fixture
def store(object_store: ObjectStore, publisher: ModelKeys) -> ObjectStore:
    """A store with a signed version, of a process that trusts only signed ones."""
    object_store.model_keys = publisher
    registry.publish(object_store, make_card(), FILES)
    return object_store


def test_a_signed_version_is_read_and_others_are_not(store: ObjectStore, publisher: ModelKeys) -> None:
    assert registry.read_card(store, "signet", "v1") == make_card()
    assert publisher.accept(store.get(CARD_KEY), store.get(SIGNATURE_KEY))
    assert registry.versions(store, "signet") == ["v1"]
    store.delete(SIGNATURE_KEY)
    with pytest.raises(UntrustedModel, match=r"v1/model\.json: is not signed\. SIGNET_MODEL_TRUSTED_KEYS asks for"):
        registry.read_card(store, "signet", "v1")
    store.model_keys = None
    assert registry.read_card(store, "signet", "v1") == make_card(), "without trusted keys nothing is asked"


def test_a_changed_card_a_changed_signature_and_a_changed_file_are_refused(store: ObjectStore) -> None:
    card, signature = store.get(CARD_KEY), store.get(SIGNATURE_KEY)
    store.put(CARD_KEY, card.replace(b'"blank_penalty": 1.0', b'"blank_penalty": 9.0'))
    with pytest.raises(UntrustedModel, match="it was signed with another key, or was changed"):
        registry.read_card(store, "signet", "v1")
    store.put(CARD_KEY, card + b" ")
    with pytest.raises(UntrustedModel):
        registry.read_card(store, "signet", "v1")
    store.put(CARD_KEY, card)
    for wrong in (b"", bytes(64), signature + b"x", b"-----BEGIN"):
        store.put(SIGNATURE_KEY, wrong)
        with pytest.raises(UntrustedModel):
            registry.read_card(store, "signet", "v1")
    store.put(SIGNATURE_KEY, signature)
    store.put(keys.model("signet", "v1", "model.onnx"), b"another graph")
    with pytest.raises(DataLoss, match="sha256 differs"):
        registry.read_file(store, registry.read_card(store, "signet", "v1"), "model.onnx")


def test_a_signature_does_not_hold_for_another_version(store: ObjectStore) -> None:
    """A copy of a signed card under another version is a card of the first one."""
    for file in ("model.json", SIGNATURE, *FILES):
        store.put(keys.model("signet", "v2", file), store.get(keys.model("signet", "v1", file)))
    with pytest.raises(DataLoss, match="card of another model or version"):
        registry.read_card(store, "signet", "v2")


def test_an_alias_does_not_move_to_a_version_that_is_not_trusted(store: ObjectStore) -> None:
    store.model_keys, trusting = None, store.model_keys
    registry.publish(store, make_card("v2"), FILES, alias="candidate")
    store.model_keys = trusting
    with pytest.raises(UntrustedModel):
        registry.promote(store, "signet", "v2")
    assert "production" not in registry.aliases(store, "signet")


def test_a_version_of_another_publisher_is_trusted_as_soon_as_its_key_is(
    store: ObjectStore, publisher: ModelKeys, tmp_path: Path
) -> None:
    other = signing_keys(tmp_path, "other")
    store.model_keys = other
    with pytest.raises(UntrustedModel):
        registry.read_card(store, "signet", "v1")
    store.model_keys = replace(other, trusted=(*other.trusted, *publisher.trusted))
    assert registry.read_card(store, "signet", "v1") == make_card()


def test_a_process_does_not_publish_what_it_would_refuse(
    directory_store: DirectoryStore, publisher: ModelKeys, tmp_path: Path
) -> None:
    for model_keys in (
        replace(publisher, signing=None),
        replace(publisher, signing=signing_keys(tmp_path, "x").signing),
    ):
        directory_store.model_keys = model_keys
        with pytest.raises(InvalidSetting, match="this process would refuse the model"):
            registry.check_can_sign(directory_store)
        with pytest.raises(InvalidSetting):
            registry.publish(directory_store, make_card(), FILES)
    assert list(directory_store.list("models/")) == [], "nothing was stored"
    for fine in (None, publisher, replace(publisher, trusted=())):
        directory_store.model_keys = fine
        registry.check_can_sign(directory_store)


def test_an_older_version_can_be_signed_after_its_files_were_checked(
    object_store: ObjectStore, publisher: ModelKeys
) -> None:
    registry.publish(object_store, make_card(), FILES)
    with pytest.raises(InvalidSetting, match="SIGNET_MODEL_SIGNING_KEY is not set"):
        registry.sign(object_store, "signet", "v1")
    object_store.model_keys = publisher
    assert registry.sign(object_store, "signet", "v1") == make_card()
    assert registry.read_card(object_store, "signet", "v1") == make_card()
    object_store.delete(SIGNATURE_KEY)
    object_store.put(keys.model("signet", "v1", "model.onnx"), b"another graph")
    with pytest.raises(DataLoss):
        registry.sign(object_store, "signet", "v1")
    assert registry.read_signature(object_store, "signet", "v1") is None
    with pytest.raises(NotFound):
        registry.sign(object_store, "signet", "v9")


def test_a_deleted_version_leaves_no_signature(store: ObjectStore) -> None:
    registry.promote(store, "signet", "v1", alias="latest")
    store.delete(keys.alias("signet", "latest"))
    registry.delete(store, "signet", "v1")
    assert registry.read_signature(store, "signet", "v1") is None


def test_an_archive_carries_the_signature_and_is_refused_without_one(
    store: ObjectStore, publisher: ModelKeys, tmp_path: Path
) -> None:
    archive = b"".join(registry.export_archive(store, "signet", "v1")[2])
    target = DirectoryStore(tmp_path / "target")
    target.model_keys = replace(publisher, signing=None)
    assert registry.import_archive(target, io.BytesIO(archive), "model.tar").is_new
    assert registry.read_card(target, "signet", "v1") == make_card()
    assert not registry.import_archive(target, io.BytesIO(archive), "model.tar").is_new
    target.put(SIGNATURE_KEY, bytes(64))
    assert registry.import_archive(target, io.BytesIO(archive), "model.tar").is_new, "a wrong signature is replaced"
    assert registry.read_card(target, "signet", "v1") == make_card()
    assert b"".join(registry.export_archive(target, "signet", "v1")[2]) == archive

    unsigned = DirectoryStore(tmp_path / "unsigned")
    registry.publish(unsigned, make_card("v2"), FILES)
    archive = b"".join(registry.export_archive(unsigned, "signet", "v2")[2])
    with pytest.raises(UntrustedModel, match=r"model\.tar: is not signed"):
        registry.import_archive(target, io.BytesIO(archive), "model.tar")
    assert registry.versions(target, "signet") == ["v1"]
