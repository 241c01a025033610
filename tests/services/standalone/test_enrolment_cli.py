"""`signet enroll` and `signet forget`: in a store, and through a running evaluator."""

import json
from pathlib import Path

import pytest

from services.evaluator.__main__ import evaluator
from signet import landmarks, registry
from signet.registry import ModelCard
from signet.store import keys
from tests.conftest import RunSignet
from tests.servers import listening
from tests.services.evaluator.conftest import World, everyday_clips, make_clip
from tests.services.evaluator.enrolment.conftest import NEW_PLACE, publish_open_model


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A store with a model to which signs can be added; SIGNET_STORE names it."""
    made = World(tmp_path / "store")
    publish_open_model(made, made.snapshot(everyday_clips()))
    monkeypatch.setenv("SIGNET_STORE", made.store.url)
    return made


@pytest.fixture
def card(world: World) -> ModelCard:
    return registry.read_card(world.store, "signet", registry.resolve(world.store, "signet", "latest"))


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Three examples as landmark files."""
    paths = [tmp_path / f"mine{number}.safetensors" for number in range(3)]
    for number, path in enumerate(paths):
        path.write_bytes(landmarks.dump(make_clip(path.stem, "", NEW_PLACE + 0.02 * (number - 1), frames=60)))
    return list(map(str, paths))


def test_a_sign_is_enrolled_from_files_and_forgotten(
    world: World, card: ModelCard, files: list[str], run_signet: RunSignet
) -> None:
    status, output, error = run_signet(["enroll", "my sign", *files])
    assert status == 0, error
    version = registry.resolve(world.store, "signet", "latest")
    assert f"my sign enrolled: signet {version}, alias latest; 7 signs" in output
    assert "trained signs: 86 % recognised (60 to 96 %, n = 14), before 86 %" in output
    assert f"made from {card.version}" in output
    status, shown, error = run_signet(["models", "show"])
    assert status == 0, error
    assert f"1: my sign; made from {card.version}; of 14 clips of" in " ".join(shown.split())
    status, output, error = run_signet(["forget", "my sign", "--json"])
    assert status == 0, error
    result = json.loads(output)
    assert (result["parent_version"], result["vocabulary_size"]) == (version, 6)


def test_examples_may_be_clips_of_the_store(world: World, card: ModelCard, run_signet: RunSignet) -> None:
    for number in range(3):
        clip = make_clip(f"c{number}", "", NEW_PLACE + 0.02 * (number - 1), frames=60)
        world.store.put(keys.clip("mine", f"c{number}"), landmarks.dump(clip))
    status, output, error = run_signet(["enroll", "my sign", "c0", "c1", "c2", "--corpus", "mine"])
    assert status == 0, error
    assert "my sign enrolled" in output
    status, _, error = run_signet(["enroll", "yours", "c9", "--corpus", "mine"])
    assert status == 1
    assert "c9" in error


def test_what_cannot_be_used_is_named(card: ModelCard, files: list[str], tmp_path: Path, run_signet: RunSignet) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"<html>")
    for arguments, words in (
        (["my sign", str(tmp_path / "no.safetensors")], "no.safetensors: cannot be read"),
        (["my sign", *files, str(broken)], "broken.safetensors"),
        (["book", *files], "knows 'book' already"),
        (["my sign", *files, "--server", "127.0.0.1:1", "--corpus", "mine"], "leave out --store and --corpus"),
    ):
        status, _, error = run_signet(["enroll", *arguments])
        assert status == 1
        assert words in error


def test_a_running_evaluator_does_the_work(
    world: World, files: list[str], run_signet: RunSignet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SIGNET_STORE")
    with listening(lambda: evaluator(world.settings(registry_writes=True))) as address:
        status, output, error = run_signet(["enroll", "my sign", *files, "--server", address])
        assert status == 0, error
        assert "my sign enrolled" in output
        status, output, error = run_signet(["forget", "my sign", "--server", address])
        assert status == 0, error
        assert "my sign forgotten" in output
        status, _, error = run_signet(["forget", "my sign", "--server", address])
        assert (status, "knows no sign" in error) == (1, True)
