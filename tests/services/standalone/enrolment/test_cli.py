"""`signet enroll` and `signet forget`: in a store, and through a running evaluator."""

import json
from pathlib import Path

import pytest

from services.evaluator.__main__ import evaluator
from signet import landmarks, registry
from signet.pretrained import read_bundled_card
from signet.registry import ModelCard
from signet.store import keys
from tests.conftest import RunSignet
from tests.servers import listening
from tests.services.evaluator.conftest import World, everyday_clips, make_clip
from tests.services.evaluator.enrolment.conftest import NEW_PLACE, publish_open_model
from tests.services.standalone.videos import play_backwards


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


@pytest.fixture
def backwards(wlasl: Path, tmp_path: Path) -> list[Path]:
    """Six videos of the sign "accident", played backwards: a sign that the bundled model does not know."""
    paths = []
    for clip_id in ("00623", "00624", "00628", "00629", "00631", "00626"):
        paths.append(tmp_path / f"{clip_id} backwards.mp4")
        play_backwards(wlasl / f"clips/{clip_id}.mp4", paths[-1])
    return paths


@pytest.mark.clips
def test_with_nothing_set_up_a_sign_is_enrolled_from_videos_recognised_and_forgotten(
    backwards: list[Path], run_signet: RunSignet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("SIGNET_STORE")
    *examples, asked = map(str, backwards)
    status, output, error = run_signet(["enroll", "my sign", *examples])
    assert (status, error) == (0, "")
    assert output.startswith("my sign enrolled: asl100 ")
    assert output.endswith("signet predict CLIP now knows it; signet forget 'my sign' takes it away again\n")
    assert "; 101 signs\n" in output
    status, output, error = run_signet(["predict", asked])
    assert (status, error) == (0, "")
    assert output.splitlines()[1].split()[:3] == ["1", "my", "sign"]
    assert run_signet(["forget", "my sign"])[0] == 0
    status, output, error = run_signet(["predict", asked, "--top-k", "100"])
    assert (status, "my sign" in output) == (0, False)
    assert read_bundled_card().version in output


def test_a_name_that_cannot_be_used_is_refused_before_the_examples_are_read(
    run_signet: RunSignet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SIGNET_STORE")
    for gloss, words in (("Mother", "knows 'mother' already"), ("   ", "is empty"), ("a\x1b[2J", "U+001B")):
        status, _, error = run_signet(["enroll", gloss, "missing.mp4"])
        assert (status, words in error, len(error.splitlines())) == (1, True, 1)
    status, _, error = run_signet(["forget", "my sign"])
    assert (status, "knows no sign 'my sign'. Signs that were enrolled: none." in error) == (1, True)


def test_the_command_line_comes_before_the_variables_for_store_and_server(
    world: World, files: list[str], run_signet: RunSignet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNET_STORE", world.store.url)
    monkeypatch.setenv("SIGNET_EVALUATOR", "127.0.0.1:1")
    assert run_signet(["enroll", "my sign", *files])[0] == 0
    status, _, error = run_signet(["forget", "my sign", "--server", "127.0.0.1:1"])
    assert (status, "127.0.0.1:1" in error) == (1, True)
    monkeypatch.delenv("SIGNET_STORE")
    status, _, error = run_signet(["forget", "my sign"])
    assert (status, "127.0.0.1:1" in error) == (1, True)
