"""Deleted versions are gone, also if the deletion is cut off; a version that an alias names is not deleted."""

from pathlib import Path

import pytest

from signet import registry
from signet.errors import InvalidInput, NotFound, NotReady, Unavailable
from signet.store import DirectoryStore, ObjectStore, keys
from tests.signet.registry.models import FILES, make_card


def _files(store: ObjectStore, version: str) -> list[str]:
    return [info.key.rpartition("/")[2] for info in store.list(keys.model_version("signet", version))]


def test_a_deleted_version_is_gone_and_others_stay(object_store: ObjectStore) -> None:
    for version in ("v1", "v2"):
        registry.publish(object_store, make_card(version), FILES)
    assert registry.delete(object_store, "signet", "v1") == 3
    assert registry.versions(object_store, "signet") == ["v2"]
    assert _files(object_store, "v1") == []
    assert registry.read_card(object_store, "signet", "v2").version == "v2"
    with pytest.raises(NotFound, match="has no version 'v1'"):
        registry.delete(object_store, "signet", "v1")


def test_a_version_that_aliases_name_is_not_deleted_until_they_are_moved(object_store: ObjectStore) -> None:
    for version in ("v1", "v2"):
        registry.publish(object_store, make_card(version), FILES)
    registry.promote(object_store, "signet", "v2", alias="canary")
    with pytest.raises(NotReady, match=r"v2 is not deleted, because canary, latest name it\. Move them first"):
        registry.delete(object_store, "signet", "v2")
    registry.promote(object_store, "signet", "v1", alias="canary")
    with pytest.raises(NotReady, match=r"latest names it\. Move it first: `signet models promote VERSION"):
        registry.delete(object_store, "signet", "v2")
    registry.promote(object_store, "signet", "v1", alias="latest")
    registry.delete(object_store, "signet", "v2")
    assert registry.versions(object_store, "signet") == ["v1"]


def test_an_alias_is_not_deleted_as_a_version(directory_store: DirectoryStore) -> None:
    registry.publish(directory_store, make_card(), FILES)
    with pytest.raises(InvalidInput, match=r"'latest' is an alias of model 'signet'\. Name the version: it is v1 now"):
        registry.delete(directory_store, "signet", "latest")
    for name in ("aliases", "..", "a/b"):
        with pytest.raises(InvalidInput):
            registry.delete(directory_store, "signet", name)
    assert registry.resolve(directory_store, "signet", "latest") == "v1"


class _Killed(DirectoryStore):
    """A store that is lost after some deletions, as if the process were killed."""

    deletions = 0

    def delete(self, key: str) -> None:
        if not self.deletions:
            raise Unavailable("the process was killed")
        self.deletions -= 1
        super().delete(key)


@pytest.mark.parametrize("deletions", [1, 2])
def test_a_deletion_that_was_cut_off_leaves_no_version_and_can_be_finished(tmp_path: Path, deletions: int) -> None:
    store = _Killed(tmp_path / "store")
    for version in ("v1", "v2"):
        registry.publish(store, make_card(version), FILES)
    store.deletions = deletions
    with pytest.raises(Unavailable):
        registry.delete(store, "signet", "v1")
    assert registry.versions(store, "signet") == ["v2"]
    with pytest.raises(NotFound):
        registry.read_card(store, "signet", "v1")
    assert len(_files(store, "v1")) == 3 - deletions
    store.deletions = 10
    registry.delete(store, "signet", "v1")
    assert _files(store, "v1") == []


class _MovedMeanwhile(DirectoryStore):
    """A store in which another process moves an alias while the card of a version is deleted."""

    def delete(self, key: str) -> None:
        alias = DirectoryStore(self.root)
        registry.promote(alias, "signet", "v1", alias="production")
        super().delete(key)


def test_a_version_to_which_an_alias_is_moved_during_its_deletion_is_restored(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    for version in ("v1", "v2"):
        registry.publish(store, make_card(version), FILES)
    with pytest.raises(NotReady, match="production names it"):
        registry.delete(_MovedMeanwhile(tmp_path / "store"), "signet", "v1")
    card = registry.read_card(store, "signet", "v1")
    assert {name: registry.read_file(store, card, name) for name in card.files} == FILES


@pytest.mark.parametrize("damage", [b"", b"{}"])
def test_a_version_with_a_damaged_card_can_be_deleted(directory_store: DirectoryStore, damage: bytes) -> None:
    directory_store.put(keys.model("signet", "v1", "model.json"), damage)
    assert registry.delete(directory_store, "signet", "v1") == 1
    assert registry.versions(directory_store, "signet") == []
