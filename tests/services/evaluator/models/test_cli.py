"""`signet models`: what people see, and what a program reads."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from services.evaluator.reports.evaluate import evaluate
from signet import registry
from signet.datasets.snapshot import Dataset
from signet.store import DirectoryStore, keys
from tests.conftest import RunSignet
from tests.model_keys import make_key
from tests.services.evaluator.conftest import GLOSSES, make_graph, place_of

if TYPE_CHECKING:
    from tests.services.evaluator.conftest import World


@pytest.fixture
def versions(world: "World", snapshot: Dataset) -> list[str]:
    """Three published versions, the oldest first. The second one is worse, the third has another penalty."""
    places = [place_of(index, len(GLOSSES)) for index in range(len(GLOSSES))]
    return [
        world.publish(snapshot).version,
        world.publish(snapshot, make_graph([places[1], places[0], *places[2:]])).version,
        world.publish(snapshot, blank_penalty=2.5, config={"lr": 0.01}).version,
    ]


def _ok(run_signet: RunSignet, *arguments: str) -> str:
    status, output, error = run_signet(["models", *arguments])
    assert status == 0, error
    return output


def _fails(run_signet: RunSignet, *arguments: str) -> str:
    status, output, error = run_signet(["models", *arguments])
    assert status == 1, output
    return error


def test_models_are_listed_with_and_without_the_word_list(versions: list[str], run_signet: RunSignet) -> None:
    listed = _ok(run_signet, "list")
    assert [line.split()[0] for line in listed.splitlines()] == ["version", *versions[::-1]]
    assert "80 % (49–94, n=10)" in listed
    assert _ok(run_signet) == listed
    read = json.loads(_ok(run_signet, "list", "--json"))
    assert read == json.loads(_ok(run_signet, "--json"))
    assert read["model"] == "signet"
    assert [version["version"] for version in read["versions"]] == versions[::-1]
    assert read["versions"][0]["aliases"] == ["latest"]
    assert read["versions"][0]["val"]["low"] == pytest.approx(0.49, abs=0.01)


def test_a_model_that_is_missing_is_named_with_those_that_there_are(versions: list[str], run_signet: RunSignet) -> None:
    error = _fails(run_signet, "list", "--model-name", "other")
    assert "no model 'other' is published" in error
    assert "Models in this store: signet." in error


def test_options_before_the_command_are_refused(versions: list[str], run_signet: RunSignet) -> None:
    error = _fails(run_signet, "--model-name", "other", "delete", versions[0])
    assert "write the options after the command: `signet models delete ...`" in error


def test_a_version_is_shown_with_its_files_reports_and_moves(
    world: "World", versions: list[str], run_signet: RunSignet
) -> None:
    first, second, _ = versions
    report, _ = evaluate(world.store, "signet", first)
    _ok(run_signet, "promote", first, "--reason", "the first one")
    _ok(run_signet, "promote", second)
    shown = _ok(run_signet, "show", first)
    for words in (
        first, "none names this version", "2026-01-01 00:00", "6: book, chair", "model.onnx (", "bytes, sha256",
        report.report_id, "86 % (60–96, n=14)", "the first one", "moves of production",
    ):  # fmt: skip
        assert words in shown
    assert "no report yet: `signet evaluate --model-version" in _ok(run_signet, "show", second)
    assert "moves of latest" in _ok(run_signet, "show")
    read = json.loads(_ok(run_signet, "show", "production", "--json"))
    assert read["card"]["version"] == second
    moves = read["aliases"]["production"]["history"]
    assert [(move["from"], move["version"], move["reason"]) for move in moves] == [
        ("", first, "the first one"), (first, second, ""),
    ]  # fmt: skip


def test_versions_are_compared_by_their_cards_and_by_their_reports(
    world: "World", versions: list[str], run_signet: RunSignet
) -> None:
    first, second, third = versions
    assert "have no split on which both" in _ok(run_signet, "compare", first, second)
    for version in (first, second):
        evaluate(world.store, "signet", version)
    shown = _ok(run_signet, "compare", first, second)
    assert "B - A, points" in shown
    assert "-28.6" in shown
    read = json.loads(_ok(run_signet, "compare", first, second, "--json"))
    (pair,) = read["figures"]
    assert (pair["split"], pair["clips"], pair["first_correct"], pair["second_correct"]) == ("val", 14, 12, 8)
    assert (len(pair["only_first"]), pair["only_second"], pair["p"]) == (4, [], 0.125)
    read = json.loads(_ok(run_signet, "compare", first, "latest", "--json"))
    assert (read["second"], read["figures"]) == (third, [])
    differences = {each["field"]: (each["first"], each["second"]) for each in read["differences"]}
    assert differences["blank_penalty"] == (1.5, 2.5)
    assert differences["config.lr"] == (None, 0.01)
    assert "are the same version" in _fails(run_signet, "compare", third, "latest")


def test_an_alias_is_promoted_and_rolled_back(world: "World", versions: list[str], run_signet: RunSignet) -> None:
    first, second, third = versions
    assert _ok(run_signet, "promote", first) == f"production is {first} now; it is new\n"
    assert _ok(run_signet, "promote", first) == f"production names {first} already\n"
    assert f"production is {second} now; it was {first} before" in _ok(run_signet, "promote", second)
    assert "Nothing was moved" in _fails(run_signet, "promote", third, "--expected-from", first)
    assert "Nothing was moved" in _fails(run_signet, "promote", third, "--expected-from", "")
    assert f"production is {third} now" in _ok(run_signet, "promote", "latest", "--expected-from", second)
    read = json.loads(_ok(run_signet, "rollback", "--reason", "it is slow", "--json"))
    assert (read["alias"], read["version"], read["history"][-1]["reason"]) == ("production", second, "it is slow")
    assert f"production is {first} now" in _ok(run_signet, "rollback", "production")
    assert "named no version before" in _fails(run_signet, "rollback")
    assert registry.aliases(world.store, "signet") == {"latest": third, "production": first}


def test_an_alias_is_deleted_and_shown_in_the_history_of_its_version(
    world: "World", versions: list[str], run_signet: RunSignet
) -> None:
    first = versions[0]
    assert "has no alias 'production'" in _fails(run_signet, "delete-alias", "production")
    _ok(run_signet, "promote", first)
    assert "Nothing was moved" in _fails(run_signet, "delete-alias", "production", "--expected-from", versions[1])
    deleted = _ok(run_signet, "delete-alias", "production", "--reason", "no longer served")
    assert f"deleted the alias production; it was {first} before" in deleted
    assert f"`signet models promote {first} --alias production` makes it again" in deleted
    assert registry.aliases(world.store, "signet") == {"latest": versions[2]}
    shown = _ok(run_signet, "show", first)
    assert "none names this version" in shown
    assert "deleted: no longer served" in shown
    assert "was deleted at" in _fails(run_signet, "show", "production")
    read = json.loads(_ok(run_signet, "delete-alias", "latest", "--json"))
    assert (read["alias"], read["version"], read["deleted"]) == ("latest", versions[2], True)
    assert "the next publication makes it again" in _ok(run_signet, "promote", first, "--alias", "latest") + _ok(
        run_signet, "delete-alias", "latest"
    )


def test_versions_are_deleted(world: "World", versions: list[str], run_signet: RunSignet) -> None:
    first, second, third = versions
    assert "latest names it" in _fails(run_signet, "delete", third)
    deleted = _ok(run_signet, "delete", first, second)
    assert deleted.splitlines() == [f"deleted signet {version} (2 objects)" for version in (first, second)]
    assert registry.versions(world.store, "signet") == [third]


def test_a_version_is_exported_and_imported(
    world: "World", versions: list[str], run_signet: RunSignet, tmp_path: Path
) -> None:
    latest = versions[-1]
    path = tmp_path / f"signet-{latest}.tar"
    assert f"saved signet {latest} to {path.name}" in _ok(run_signet, "export", "latest")
    assert "exists already" in _fails(run_signet, "export", latest)
    again = tmp_path / "again.tar"
    _ok(run_signet, "export", latest, "--output", str(again))
    assert path.read_bytes() == again.read_bytes()
    assert "cannot be written" in _fails(run_signet, "export", latest, "--output", str(tmp_path / "none" / "a.tar"))
    other = DirectoryStore(tmp_path / "other")
    assert _ok(run_signet, "import", str(path), "--store", other.url) == f"imported signet {latest}\n"
    assert "has it already" in _ok(run_signet, "import", str(path), "--store", other.url)
    assert registry.read_card(other, "signet", latest) == registry.read_card(world.store, "signet", latest)
    (tmp_path / "page.tar").write_text("<!DOCTYPE html>")
    assert "page.tar: is not an archive of a model" in _fails(run_signet, "import", "page.tar")
    assert "none.tar: cannot be read" in _fails(run_signet, "import", "none.tar")
    assert [file.name for file in tmp_path.glob(".signet*")] == []


def test_a_damaged_version_is_listed_as_damaged_and_can_be_deleted(
    world: "World", versions: list[str], run_signet: RunSignet
) -> None:
    world.store.put(keys.model("signet", versions[0], "model.json"), b"{}")
    assert "its card is damaged" in _ok(run_signet, "list").splitlines()[-1]
    assert json.loads(_ok(run_signet, "list", "--json"))["versions"][-1]["damaged"]
    assert "not a model card" in _fails(run_signet, "show", versions[0])
    _ok(run_signet, "delete", versions[0])


def test_versions_are_signed_and_verified(
    versions: list[str], run_signet: RunSignet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = make_key(tmp_path, "publisher")
    assert "SIGNET_MODEL_SIGNING_KEY is not set" in _fails(run_signet, "sign", versions[0])
    assert "SIGNET_MODEL_TRUSTED_KEYS is not set" in _fails(run_signet, "verify", versions[0])
    monkeypatch.setenv("SIGNET_MODEL_SIGNING_KEY", str(private))
    assert _ok(run_signet, "sign", versions[0], "latest").splitlines() == [
        f"signed signet {versions[0]}",
        f"signed signet {versions[2]}",
    ]
    monkeypatch.setenv("SIGNET_MODEL_TRUSTED_KEYS", str(public))
    assert "is signed by a trusted key; 1 files are right" in _ok(run_signet, "verify", versions[0])
    assert "is not signed" in _fails(run_signet, "verify", versions[1])
    assert "is not signed" in _fails(run_signet, "promote", versions[1])
    listed = {line.split()[0]: line for line in _ok(run_signet, "list").splitlines()}
    assert ["no signature of a trusted key" in listed[version] for version in versions] == [False, True, False]
    read = json.loads(_ok(run_signet, "list", "--json"))["versions"]
    assert [(version["damaged"], version["untrusted"]) for version in read] == [
        (False, False),
        (True, True),
        (False, False),
    ]
