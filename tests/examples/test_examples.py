"""Each example is run as a reader would run it, at a real evaluator."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from services.evaluator.__main__ import evaluator
from signet import landmarks
from signet.security.permissions import Permission
from signet.security.tokens import TokenLimits, create_token
from tests.certificates import Authority
from tests.conftest import ROOT
from tests.examples.chromium import Chromium
from tests.servers import listening
from tests.services.evaluator.conftest import GLOSSES, World, everyday_clips, make_clip, place_of

BIN = Path(sys.executable).parent
# What npm says if there is no registry, or no way to it.
_NO_REGISTRY = re.compile(r"ENOTFOUND|EAI_AGAIN|ECONN|ETIMEDOUT|ENETUNREACH|E403|E50\d|network")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A store with a model of six glosses."""
    made = World(tmp_path_factory.mktemp("world"))
    made.publish(made.snapshot(everyday_clips()))
    return made


@pytest.fixture(scope="module")
def address(world: World) -> Iterator[str]:
    """An evaluator that serves this model."""
    with listening(lambda: evaluator(world.settings())) as address:
        yield address


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a clip of `drink`, one without a sign, and a web page with the name of a clip."""
    folder = tmp_path_factory.mktemp("clips")
    drink = make_clip("new", "", place_of(GLOSSES.index("drink"), len(GLOSSES)), frames=40)
    (folder / "drink.safetensors").write_bytes(landmarks.dump(drink))
    (folder / "still.safetensors").write_bytes(landmarks.dump(make_clip("still", "", None)))
    (folder / "page.safetensors").write_bytes(b"<html>")
    return folder


def _run(*command: str | Path, status: int = 0, added: Mapping[str, str] | None = None) -> str:
    """What a command prints, to both of its outputs. `added` is added to its environment."""
    environment = {**os.environ, **(added or {}), "PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [str(word) for word in command], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def _install(example: str, folder: Path) -> Path:
    """A copy of an example with its npm packages. The contract is next to it, as in the repository."""
    if not shutil.which("npm"):
        pytest.skip("there is no Node here: apt-get install nodejs npm")
    shutil.copytree(ROOT / "proto", folder / "proto")
    place = shutil.copytree(
        ROOT / "examples" / example,
        folder / "examples" / example,
        ignore=shutil.ignore_patterns("node_modules", "gen", "dist", "package-lock.json"),
    )
    command = ["npm", "install", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=20000"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=240, check=False)
    if done.returncode and _NO_REGISTRY.search(done.stderr):
        pytest.skip(f"npm reaches no registry here: {done.stderr.strip().splitlines()[0]}")
    assert done.returncode == 0, done.stderr
    return place


def test_python(address: str, clips: Path) -> None:
    paths = [clips / f"{name}.safetensors" for name in ("drink", "still", "page")]
    drink, still, page = _run(sys.executable, ROOT / "examples/python/sync.py", address, *paths, status=1).splitlines()
    assert re.fullmatch(rf"{paths[0]}: drink [01]\.\d{{3}}", drink)
    assert still == f"{paths[1]}: nothing signed: no hand found"
    assert re.fullmatch(rf"{paths[2]}: refused \(request [\w-]{{36}}\): .*not a landmark tensor.*", page)
    printed = _run(sys.executable, ROOT / "examples/python/async.py", address, *paths).splitlines()
    assert f"{paths[0]}: drink" in printed
    assert f"{paths[1]}: no hand found" in printed
    assert len(printed) == 3


def test_python_stream(address: str, tmp_path: Path) -> None:
    paths = []
    for gloss in ("drink", "go"):
        paths.append(tmp_path / f"{gloss}.safetensors")
        clip = make_clip(gloss, "", place_of(GLOSSES.index(gloss), len(GLOSSES)), frames=45)
        paths[-1].write_bytes(landmarks.dump(clip))
    printed = _run(sys.executable, ROOT / "examples/python/stream.py", address, *paths).splitlines()
    signs = [line for line in printed if not line.startswith("...")]
    assert [re.sub(r"[\d.]+", "N", line) for line in signs] == ["N to N s: drink N", "N to N s: go N"]


def test_buf_curl(address: str, clips: Path) -> None:
    script = ROOT / "examples/curl/recognise.sh"
    answer = json.loads(_run("sh", script, address, clips / "drink.safetensors"))
    best, *others = answer["predictions"]
    assert best["gloss"] == "drink"
    assert len(others) == 2
    refused = _run("sh", script, address, clips / "page.safetensors", status=24)  # buf's status for INVALID_ARGUMENT
    assert "not a landmark tensor" in refused


def test_node(address: str, clips: Path, tmp_path: Path) -> None:
    program = _install("node", tmp_path) / "recognise.mjs"
    assert re.match(r"drink [01]\.\d{3}\n", _run("node", program, address, clips / "drink.safetensors"))
    assert _run("node", program, address, clips / "still.safetensors").strip() == (
        "nothing signed: NOTHING_SIGNED_NO_HAND_FOUND"
    )
    refused = _run("node", program, address, clips / "page.safetensors", status=1)
    assert re.match(r"refused \(INVALID_ARGUMENT, request [\w-]{36}\): landmarks: not a landmark tensor", refused)


def test_node_and_python_with_tls_and_a_token(clips: Path, tmp_path: Path, world: World) -> None:
    authority = Authority(tmp_path, "authority")
    pair = authority.issue("server")
    tokens = tmp_path / "tokens.json"
    token = create_token(tokens, "example", TokenLimits(Permission.READ))
    settings = world.settings(tls_certificate=pair.certificate, tls_key=pair.key, tokens_file=tokens)
    secrets = {"SIGNET_CLIENT_CA": str(authority.ca), "SIGNET_CLIENT_TOKEN": token}
    without_token = {"SIGNET_CLIENT_CA": str(authority.ca)}
    drink = clips / "drink.safetensors"
    with listening(lambda: evaluator(settings)) as address:
        assert ": drink " in _run(sys.executable, ROOT / "examples/python/sync.py", address, drink, added=secrets)
        program = _install("node", tmp_path) / "recognise.mjs"
        assert "drink " in _run("node", program, address, drink, added=secrets)
        refused = _run("node", program, address, drink, status=1, added=without_token)
        assert "refused (UNAUTHENTICATED, request " in refused  # after a warning of Node about names in certificates


def test_browser(address: str, clips: Path, tmp_path: Path) -> None:
    if not shutil.which("chromium"):
        pytest.skip("there is no Chromium here: apt-get install chromium")
    place = _install("browser", tmp_path)
    subprocess.run(["npm", "run", "build"], cwd=place, capture_output=True, text=True, timeout=120, check=True)
    command = ["node", str(place / "gateway.mjs"), address, "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as gateway:
        assert gateway.stdout is not None
        url = gateway.stdout.readline().strip()
        try:
            with Chromium(tmp_path / "profile") as browser:
                page = browser.open(url)
                page.choose_file("#clip", clips / "drink.safetensors")
                assert re.match(r"drink [01]\.\d{3}\n", page.wait_for_text("#message", "done", "#answer"))
                page.choose_file("#clip", clips / "still.safetensors")
                page.wait_for_text("#message", "nothing signed: NO_HAND_FOUND")
                page.choose_file("#clip", clips / "page.safetensors")
                refused = page.wait_for_text("#message", "refused (")
                assert re.match(r"refused \(request [\w-]{36}\): landmarks: not a landmark tensor", refused)
        finally:
            gateway.terminate()
