"""Which model is used: that of the package, with the signs of the user, or that of a store."""

from pathlib import Path

import pytest

from services.standalone.models import ModelChoice, delete_old_versions, find_enrolment_store, load_chosen_model
from services.standalone.settings import open_own_signs
from signet import pretrained, registry
from signet.errors import DataLoss, InvalidSetting, NotFound, Unavailable
from signet.pretrained import ASL100
from signet.store import DirectoryStore
from tests.signet.pretrained.versions import publish_copy, publish_version


@pytest.fixture
def own(tmp_path: Path) -> DirectoryStore:
    """The store with the user's own signs."""
    store = open_own_signs()
    assert store is not None
    assert store.root == tmp_path / "own signs"
    return store


def test_nothing_set_up_uses_the_package_and_writes_nothing(own: DirectoryStore) -> None:
    chosen = load_chosen_model(ModelChoice())
    assert (chosen.model.name, chosen.note) == (f"{ASL100}/{pretrained.read_bundled_card().version}", "")
    assert not own.root.exists()


def test_the_version_with_the_users_signs_is_used(own: DirectoryStore) -> None:
    publish_copy(own, "mine")
    for choice in (ModelChoice(), ModelChoice(name=ASL100), ModelChoice(name=ASL100, version="latest")):
        chosen = load_chosen_model(choice)
        assert (chosen.model.name, chosen.note) == ("asl100/mine", "")
    bundled = pretrained.read_bundled_card().version
    assert load_chosen_model(ModelChoice(name=ASL100, version=bundled)).model.card.version == bundled
    with pytest.raises(NotFound):
        load_chosen_model(ModelChoice(name=ASL100, version="1999"))


def test_signs_on_another_model_than_that_of_the_package_are_used_with_a_note(own: DirectoryStore) -> None:
    publish_copy(own, "mine", run_id="older")
    chosen = load_chosen_model(ModelChoice())
    assert chosen.model.name == "asl100/mine"
    assert "were enrolled with another version of Signet" in chosen.note


def test_damaged_signs_are_an_error_that_names_the_directory(own: DirectoryStore) -> None:
    publish_copy(own, "mine", damaged=True)
    with pytest.raises(DataLoss, match=r"Your signs are kept in .*own signs\. To go back .* delete this directory"):
        load_chosen_model(ModelChoice())


def test_a_store_without_a_model_uses_the_bundled_one_with_the_signs_of_this_store(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    (tmp_path / "store").mkdir()
    chosen = load_chosen_model(ModelChoice(store.url))
    assert (chosen.model.card.name, "The model that comes with Signet is used" in chosen.note) == (ASL100, True)
    publish_copy(store, "theirs")
    assert load_chosen_model(ModelChoice(store.url)).model.name == "asl100/theirs"


def test_where_a_new_version_is_published(own: DirectoryStore, tmp_path: Path) -> None:
    store, name = find_enrolment_store(ModelChoice())
    assert (store.url, name) == (own.url, ASL100)
    (tmp_path / "store").mkdir()
    url = (tmp_path / "store").as_uri()
    store, name = find_enrolment_store(ModelChoice(url))
    assert (store.url, name) == (url, ASL100)
    card = publish_version(DirectoryStore(tmp_path / "store"), "v", ())
    assert card.name == ASL100
    assert find_enrolment_store(ModelChoice(url, "mine"))[1] == "mine"
    with pytest.raises(NotFound):
        find_enrolment_store(ModelChoice((tmp_path / "none").as_uri()))


def test_only_the_newest_versions_of_own_signs_are_kept(own: DirectoryStore) -> None:
    for number in range(7):
        publish_version(own, f"v{number}", ("my sign",))
    registry.promote(own, ASL100, "v0", "mine")
    delete_old_versions(ModelChoice(own.url), own)
    assert len(registry.versions(own, ASL100)) == 7
    delete_old_versions(ModelChoice(), own)
    assert sorted(registry.versions(own, ASL100)) == ["v0", "v2", "v3", "v4", "v5", "v6"]


def test_a_user_without_a_home_directory_is_told_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError

    monkeypatch.delenv("SIGNET_OWN_SIGNS")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert load_chosen_model(ModelChoice()).model.card.name == ASL100
    with pytest.raises(InvalidSetting, match="Set SIGNET_OWN_SIGNS"):
        find_enrolment_store(ModelChoice())


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "own signs").write_text("")
    with pytest.raises(Unavailable, match="own%20signs"):
        find_enrolment_store(ModelChoice())
