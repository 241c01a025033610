"""Aliases move by compare-and-swap, record their history, and move back."""

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from signet import registry
from signet.errors import Conflict, DataLoss, InvalidInput, NotFound, NotReady
from signet.store import DirectoryStore, ObjectInfo, ObjectStore, keys
from tests.conftest import ROOT
from tests.signet.registry.models import FILES, make_card, stored_alias


def test_an_alias_moves_and_records_its_history(object_store: ObjectStore) -> None:
    for version in ("v1", "v2", "v3"):
        registry.publish(object_store, make_card(version), FILES)
    registry.move_alias(object_store, "signet", "latest", "v1")
    assert registry.resolve(object_store, "signet", "latest") == "v1"
    assert [move.version for move in stored_alias(object_store).history] == ["v1", "v2", "v3", "v1"]
    assert registry.versions(object_store, "signet") == ["v1", "v2", "v3"]


def test_moving_an_alias_to_a_missing_version_is_refused(object_store: ObjectStore) -> None:
    registry.publish(object_store, make_card(), FILES)
    with pytest.raises(NotFound, match="no version 'v9'"):
        registry.move_alias(object_store, "signet", "latest", "v9")
    assert registry.resolve(object_store, "signet", "latest") == "v1"


def test_no_move_is_lost_if_many_writers_move_an_alias_at_the_same_time(object_store: ObjectStore) -> None:
    versions = [f"v{n}" for n in range(5)]
    for version in versions:
        registry.publish(object_store, make_card(version), FILES, alias=f"own-{version}")
    gate = threading.Barrier(len(versions))

    def move(version: str) -> None:
        gate.wait()
        registry.move_alias(object_store, "signet", "production", version)

    with ThreadPoolExecutor(len(versions)) as pool:
        list(pool.map(move, versions))
    alias = stored_alias(object_store, "production")
    assert sorted(entry.version for entry in alias.history) == versions
    assert alias.history[-1].version == alias.version


@pytest.mark.parametrize("wanted", ["latest", "v1"])
def test_the_error_without_a_model_names_the_command_that_publishes_one(
    directory_store: DirectoryStore, wanted: str
) -> None:
    with pytest.raises(NotFound, match="`signet train` publishes one"):
        registry.resolve(directory_store, "signet", wanted)


@pytest.mark.parametrize("damage", [b"{", b"", b"x" * (5 << 20)])
def test_a_damaged_alias_does_not_stop_a_publication(object_store: ObjectStore, damage: bytes) -> None:
    object_store.put(keys.alias("signet", "latest"), damage)
    registry.publish(object_store, make_card(), FILES)
    assert registry.resolve(object_store, "signet", "latest") == "v1"
    assert [move.version for move in stored_alias(object_store).history] == ["v1"]


def _publish(store: ObjectStore, *versions: str) -> None:
    for version in versions:
        registry.publish(store, make_card(version), FILES)


def _names(store: ObjectStore, alias: str = "production") -> str:
    return registry.read_alias(store, "signet", alias).version


def test_a_move_is_recorded_with_its_time_its_reason_and_both_versions(object_store: ObjectStore) -> None:
    _publish(object_store, "v1", "v2")
    registry.promote(object_store, "signet", "v1", reason="the first one")
    moved = registry.promote(object_store, "signet", "latest", reason="better by 3 points")
    assert moved == registry.read_alias(object_store, "signet", "production")
    first, second = moved.history
    assert (first.previous, first.version, first.reason) == ("", "v1", "the first one")
    assert (second.previous, second.version, second.reason) == ("v1", "v2", "better by 3 points")
    assert datetime.fromisoformat(second.moved).tzinfo == UTC
    (published, *_) = registry.read_alias(object_store, "signet", "latest").history
    assert published.reason == "published by run r1"


def test_a_move_to_the_version_that_the_alias_names_already_changes_nothing(object_store: ObjectStore) -> None:
    _publish(object_store, "v1")
    before = registry.promote(object_store, "signet", "v1")
    assert registry.promote(object_store, "signet", "v1", reason="again") == before


def test_an_alias_that_does_not_name_the_expected_version_is_not_moved(object_store: ObjectStore) -> None:
    _publish(object_store, "v1", "v2", "v3")
    with pytest.raises(Conflict, match="'production' of model 'signet' names no version, and v1 was expected"):
        registry.promote(object_store, "signet", "v2", expected_from="v1")
    registry.promote(object_store, "signet", "v1", expected_from="")
    registry.promote(object_store, "signet", "v2", expected_from="v1")
    for expected in ("v1", ""):
        with pytest.raises(Conflict, match="Nothing was moved"):
            registry.promote(object_store, "signet", "v3", expected_from=expected)
    with pytest.raises(Conflict, match="names v2, and v3 was expected"):
        registry.rollback(object_store, "signet", expected_from="v3")
    assert _names(object_store) == "v2"


def test_rollbacks_lead_further_back_and_not_to_and_fro(object_store: ObjectStore) -> None:
    _publish(object_store, "v1", "v2", "v3", "v4")
    for version in ("v1", "v2", "v3"):
        registry.promote(object_store, "signet", version)
    assert registry.rollback(object_store, "signet", reason="it answers slowly").version == "v2"
    assert registry.rollback(object_store, "signet").version == "v1"
    with pytest.raises(NotReady, match=r"named no version before v1\. .*signet models promote VERSION --alias produ"):
        registry.rollback(object_store, "signet")
    # A version that is promoted after a rollback is rolled back to the version that was served before it.
    registry.promote(object_store, "signet", "v4")
    assert registry.rollback(object_store, "signet").version == "v1"
    history = registry.read_alias(object_store, "signet", "production").history
    assert [move.version for move in history] == ["v1", "v2", "v3", "v2", "v1", "v4", "v1"]
    assert [move.rollback for move in history] == [False, False, False, True, True, False, True]
    assert history[3].reason == "it answers slowly"


def test_a_rollback_to_a_deleted_version_is_refused(object_store: ObjectStore) -> None:
    _publish(object_store, "v1", "v2")
    for version in ("v1", "v2"):
        registry.promote(object_store, "signet", version)
    registry.delete(object_store, "signet", "v1")
    with pytest.raises(NotReady, match=r"named v1 before, and this version was deleted\. Move it to another version"):
        registry.rollback(object_store, "signet")
    assert _names(object_store) == "v2"


def test_a_rollback_of_a_missing_or_a_damaged_alias_is_refused(directory_store: DirectoryStore) -> None:
    _publish(directory_store, "v1")
    with pytest.raises(NotFound, match="has no alias 'production'"):
        registry.rollback(directory_store, "signet")
    directory_store.put(keys.alias("signet", "production"), b"{")
    with pytest.raises(DataLoss, match="not an alias"):
        registry.rollback(directory_store, "signet")


OLD_ALIAS = """{"version": "v3", "history": [
    {"version": "v1", "moved": "2026-01-01T00:00:00+00:00"}, {"version": "v2", "moved": "2026-01-02T00:00:00+00:00"},
    {"version": "v3", "moved": "2026-01-03T00:00:00+00:00"}]}"""


def test_the_history_of_an_older_version_of_signet_is_read_continued_and_rolled_back(
    directory_store: DirectoryStore,
) -> None:
    _publish(directory_store, "v1", "v2", "v3", "v4")
    directory_store.put(keys.alias("signet", "production"), OLD_ALIAS.encode())
    old = registry.read_alias(directory_store, "signet", "production")
    assert [(move.previous, move.version) for move in old.history] == [("", "v1"), ("v1", "v2"), ("v2", "v3")]
    assert {move.reason for move in old.history} == {""}
    registry.promote(directory_store, "signet", "v4", reason="new")
    assert [registry.rollback(directory_store, "signet").version for _ in range(3)] == ["v3", "v2", "v1"]
    moves = registry.read_alias(directory_store, "signet", "production").history
    assert moves[0].moved == "2026-01-01T00:00:00+00:00"
    # An older version of Signet reads what this one writes: both fields that it needs are there.
    stored = json.loads(directory_store.get(keys.alias("signet", "production")))
    assert all({"version", "moved"} <= set(move) for move in stored["history"])


def test_an_alias_keeps_its_newest_moves(directory_store: DirectoryStore) -> None:
    _publish(directory_store, "v1", "v2")
    for number in range(registry.MAX_HISTORY + 5):
        registry.promote(directory_store, "signet", f"v{1 + number % 2}", reason="x" * registry.MAX_REASON_CHARACTERS)
    alias = registry.read_alias(directory_store, "signet", "production")
    assert (len(alias.history), alias.older_moves) == (registry.MAX_HISTORY, 5)
    assert alias.version_before == "v2"


def test_an_alias_with_the_name_of_a_version_is_refused(directory_store: DirectoryStore) -> None:
    _publish(directory_store, "v1", "v2")
    with pytest.raises(InvalidInput, match="'v1' is a version of model 'signet'"):
        registry.promote(directory_store, "signet", "v2", alias="v1")
    with pytest.raises(InvalidInput, match="the aliases are stored under this name"):
        registry.promote(directory_store, "signet", "v2", alias="aliases")
    with pytest.raises(InvalidInput, match="the aliases are stored under this name"):
        registry.resolve(directory_store, "signet", "aliases")


@pytest.mark.parametrize(
    ("reason", "message"),
    [("x" * 501, "has 501 characters; at most 500"), ("a\nb", r"character 2 is U\+000A"), ("\u202e", r"U\+202E")],
)
def test_a_reason_that_is_too_long_or_hides_text_is_refused(
    directory_store: DirectoryStore, reason: str, message: str
) -> None:
    _publish(directory_store, "v1")
    with pytest.raises(InvalidInput, match=message):
        registry.promote(directory_store, "signet", "v1", reason=reason)
    with pytest.raises(InvalidInput, match=message):
        registry.rollback(directory_store, "signet", alias="latest", reason=reason)


@pytest.mark.parametrize("writers", [4])
def test_one_of_several_writers_wins_each_step_and_the_history_is_linear(
    object_store: ObjectStore, writers: int
) -> None:
    versions = [f"v{number}" for number in range(writers)]
    _publish(object_store, *versions, "start")
    registry.promote(object_store, "signet", "start")
    gate = threading.Barrier(writers, timeout=60)

    def write(own: str) -> list[str]:
        """Move the alias in each step from the version that all writers have read. Returns what was won."""
        won = []
        for _ in range(8):
            gate.wait()
            seen = _names(object_store)
            target = "start" if seen == own else own
            gate.wait()
            try:
                registry.promote(object_store, "signet", target, reason=own, expected_from=seen)
                won.append(target)
            except Conflict:
                continue
        return won

    with ThreadPoolExecutor(writers) as pool:
        won = list(pool.map(write, versions))
    alias = registry.read_alias(object_store, "signet", "production")
    moves = alias.history[1:]
    assert len(moves) == 8, "exactly one writer wins each step"
    for version, targets in zip(versions, won, strict=True):
        assert [move.version for move in moves if move.reason == version] == targets
    assert [move.previous for move in moves] == ["start", *(move.version for move in moves[:-1])]
    assert alias.version == moves[-1].version


def test_of_two_rollbacks_at_the_same_time_one_takes_effect(object_store: ObjectStore) -> None:
    """Two people who roll back the same bad version must not undo two moves."""
    _publish(object_store, "v1", "v2", "v3")
    for version in ("v1", "v2", "v3"):
        registry.promote(object_store, "signet", version)
    gate = threading.Barrier(2, timeout=60)

    def roll_back(_: int) -> bool:
        gate.wait()
        try:
            return bool(registry.rollback(object_store, "signet", expected_from="v3"))
        except Conflict:
            return False

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(roll_back, range(2))) == [False, True]
    assert _names(object_store) == "v2"


WRITER = """
import sys
from pathlib import Path
from signet import registry
from signet.errors import Conflict
from signet.store import DirectoryStore
root, own = sys.argv[1:]
store, won = DirectoryStore(Path(root)), 0
while won < 10:
    seen = registry.read_alias(store, "signet", "production").version
    try:
        registry.promote(store, "signet", own if seen != own else "start", reason=own, expected_from=seen)
        won += 1
    except Conflict:
        continue
"""


def test_the_moves_of_several_processes_make_one_linear_history(directory_store: DirectoryStore) -> None:
    _publish(directory_store, "v1", "v2", "start")
    registry.promote(directory_store, "signet", "start")
    command = [sys.executable, "-c", WRITER, str(directory_store.root)]
    processes = [subprocess.Popen([*command, own], cwd=ROOT) for own in ("v1", "v2")]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    moves = registry.read_alias(directory_store, "signet", "production").history
    assert sorted(move.reason for move in moves[1:]) == ["v1"] * 10 + ["v2"] * 10
    assert [move.previous for move in moves] == ["", *(move.version for move in moves[:-1])]


class _DeletedAfterTheMove(DirectoryStore):
    """A store whose version `v2` is deleted by another process just after an alias was moved to it."""

    def stat(self, key: str) -> ObjectInfo | None:
        if key == keys.model("signet", "v2", "model.json"):
            self.delete(key)
        return super().stat(key)


@pytest.mark.parametrize("before", ["v1", ""])
def test_a_move_to_a_version_that_is_deleted_at_the_same_moment_is_undone(tmp_path: Path, before: str) -> None:
    store = DirectoryStore(tmp_path / "store")
    _publish(store, "v1", "v2")
    if before:
        registry.promote(store, "signet", before)
    aliases = registry.aliases(store, "signet")
    with pytest.raises(NotFound, match="v2 was deleted meanwhile"):
        registry.move_alias(_DeletedAfterTheMove(tmp_path / "store"), "signet", "production", "v2")
    assert registry.aliases(store, "signet") == aliases


def test_a_deleted_alias_keeps_its_history_and_is_made_again_by_a_move(object_store: ObjectStore) -> None:
    _publish(object_store, "v1", "v2", "v3")
    for version in ("v1", "v2"):
        registry.promote(object_store, "signet", version)
    deleted = registry.delete_alias(object_store, "signet", "production", "the customer left", expected_from="v2")
    assert (deleted.named_version, deleted.version) == ("", "v2")
    assert "production" not in registry.aliases(object_store, "signet")
    assert registry.read_aliases(object_store, "signet", include_deleted=True)["production"] == deleted
    for use in (registry.read_alias, registry.resolve, registry.rollback, registry.delete_alias):
        with pytest.raises(NotFound, match=r"was deleted at .* \('the customer left'\)\. It named v2\. `signet models"):
            use(object_store, "signet", "production")
    with pytest.raises(Conflict, match="names no version, and v2 was expected"):
        registry.promote(object_store, "signet", "v3", expected_from="v2")

    moved = registry.promote(object_store, "signet", "v3", reason="again", expected_from="")
    assert [(move.previous, move.version, move.deleted) for move in moved.history] == [
        ("", "v1", False), ("v1", "v2", False), ("v2", "v2", True), ("", "v3", False),
    ]  # fmt: skip
    assert registry.rollback(object_store, "signet").version == "v2", "the version before the deletion"
    assert registry.rollback(object_store, "signet").version == "v1"


def test_a_version_that_only_deleted_aliases_named_can_be_deleted(object_store: ObjectStore) -> None:
    _publish(object_store, "v1")
    with pytest.raises(NotReady, match="or `signet models delete-alias latest`"):
        registry.delete(object_store, "signet", "v1")
    registry.delete_alias(object_store, "signet", "latest")
    registry.delete(object_store, "signet", "v1")
    assert registry.versions(object_store, "signet") == []
    _publish(object_store, "v2")
    assert [move.version for move in registry.read_alias(object_store, "signet", "latest").history] == [
        "v1",
        "v1",
        "v2",
    ]


def test_an_alias_that_does_not_exist_or_names_another_version_is_not_deleted(object_store: ObjectStore) -> None:
    _publish(object_store, "v1")
    with pytest.raises(NotFound, match="has no alias 'production'"):
        registry.delete_alias(object_store, "signet", "production")
    with pytest.raises(Conflict, match="names v1, and v2 was expected"):
        registry.delete_alias(object_store, "signet", "latest", expected_from="v2")
    with pytest.raises(InvalidInput, match="the reason"):
        registry.delete_alias(object_store, "signet", "latest", "x" * 501)
    assert _names(object_store, "latest") == "v1"


class _MovedMeanwhile(DirectoryStore):
    """A store in which another writer moves the alias before each conditional write."""

    def replace(self, key: str, data: bytes, etag: str) -> str:
        registry.promote(DirectoryStore(self.root), "signet", "v2")
        return super().replace(key, data, etag)


def test_an_alias_that_another_writer_moves_meanwhile_is_not_deleted(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    _publish(store, "v1", "v2")
    registry.promote(store, "signet", "v1")
    with pytest.raises(Conflict, match="was moved by another writer meanwhile, so it was not deleted"):
        registry.delete_alias(_MovedMeanwhile(tmp_path / "store"), "signet", "production")
    assert _names(store) == "v2"


def test_an_older_version_of_signet_reads_a_deleted_alias_as_one_that_names_its_last_version(
    directory_store: DirectoryStore,
) -> None:
    """It has no field `deleted`, and refuses an alias whose version is not a name."""
    _publish(directory_store, "v1")
    registry.delete_alias(directory_store, "signet", "latest")
    stored = json.loads(directory_store.get(keys.alias("signet", "latest")))
    assert (stored["version"], [move["version"] for move in stored["history"]]) == ("v1", ["v1", "v1"])
