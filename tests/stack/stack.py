"""The composed stack as a test meets it: compose commands, what its containers say, its store, its Prometheus."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

from pydantic import SecretStr

from signet import landmarks, registry
from signet.client import LandmarkFrame, SignetClient
from signet.errors import NotFound, SignetError
from signet.pretrained import ASL100
from signet.rpc.client import Client, signet_errors
from signet.store import ObjectStore, StoreSettings, keys, open_store
from signet.v1 import evaluator_pb2 as pb
from tests.conftest import ROOT

FILES = (
    "docker-compose.yml",
    "deploy/compose.cpu.yaml",
    "deploy/compose.seaweedfs.yaml",
    "tests/stack/compose.yaml",
)
SERVICES = ("extractor", "trainer", "evaluator")
# All that stay; two more prepare and end.
CONTAINERS = (*SERVICES, "minio", "prometheus")


def docker(*arguments: str, timeout: float = 120) -> str:
    """What a docker command prints; its errors are the failure's message."""
    done = subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, timeout=timeout, check=False, cwd=ROOT
    )
    assert done.returncode == 0, f"docker {' '.join(arguments)}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def wait_for(what: Callable[[], bool], seconds: float, name: str, explain: Callable[[], str] = lambda: "") -> None:
    """Return when `what()` is true."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {name}\n{explain()}"
        time.sleep(0.2)


@dataclass(frozen=True)
class Ports:
    """Where the host reaches the stack."""

    recognizer: int
    store: int
    console: int
    prometheus: int


class Stack:
    """One compose project.

    Args:
        project: its name.
        environment: what compose interpolates.
        ports: where it publishes.
    """

    def __init__(self, project: str, environment: Mapping[str, str], ports: Ports) -> None:
        self.project = project
        self.ports = ports
        self._environment = {**os.environ, **environment}

    def sibling(self, project: str) -> "Stack":
        """Another project with the same environment."""
        return Stack(project, self._environment, self.ports)

    def compose(self, *arguments: str, files: tuple[str, ...] = FILES, timeout: float = 300) -> str:
        """What a compose command prints; its errors are the failure's message."""
        flags = [flag for file in files for flag in ("-f", file)]
        done = subprocess.run(
            ["docker", "compose", "-p", self.project, *flags, *arguments],
            env=self._environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, f"docker compose {' '.join(arguments)}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def up(self) -> float:
        """Everything up and healthy; seconds that took."""
        started = time.monotonic()
        self.compose("up", "--detach", "--wait", "--no-build", "--quiet-pull")
        return time.monotonic() - started

    def down(self, *flags: str) -> float:
        """Everything gone; seconds that took."""
        started = time.monotonic()
        self.compose("down", *flags)
        return time.monotonic() - started

    def kill(self, service: str) -> None:
        """SIGKILL."""
        self.compose("kill", "--signal", "SIGKILL", service)

    def log(self, service: str) -> str:
        """All that a container's lives said so far."""
        return self.compose("logs", "--no-log-prefix", "--no-color", service)

    def states(self) -> dict[str, dict[str, Any]]:
        """What the engine knows of each container: `docker inspect` by service."""
        ids = self.compose("ps", "--all", "--quiet").split()
        found = json.loads(docker("inspect", *ids)) if ids else []
        return {one["Config"]["Labels"]["com.docker.compose.service"]: one for one in found}

    def exec(self, service: str, *command: str, timeout: float = 120) -> str:
        """What a command inside a container prints."""
        return self.compose("exec", "--no-TTY", service, *command, timeout=timeout)

    def store(self) -> ObjectStore:
        """The stack's store, from the host."""
        return open_store(
            StoreSettings(
                store=f"http://127.0.0.1:{self.ports.store}/signet",
                s3_access_key="signet",
                s3_secret_key=SecretStr(self.exec("minio", "cat", "/credentials/secret-key").strip()),
            )
        )

    def recognise(self, video: bytes, timeout: float = 60) -> pb.RecognizeResponse:
        """Which sign is this?"""
        with Client(evaluator=f"127.0.0.1:{self.ports.recognizer}") as client, signet_errors():
            response: pb.RecognizeResponse = client.recognizer.Recognize(
                pb.RecognizeRequest(video=video), timeout=timeout
            )
        return response

    def stream(self, clips: Iterable[bytes]) -> None:
        """Send the landmarks of clips, one clip after the other, as a live stream."""

        def frames() -> Iterator[LandmarkFrame]:
            begin = 0.0
            for clip in map(landmarks.load, clips):
                for seconds, joints in zip(clip.timestamps.tolist(), clip.landmarks, strict=True):
                    yield LandmarkFrame(begin + seconds, joints)
                begin += clip.length.seconds + 0.1

        with SignetClient(f"127.0.0.1:{self.ports.recognizer}") as client:
            for _ in client.recognise_stream(frames()):
                pass

    def serves(self, video: bytes) -> bool:
        """Whether the Recognizer answers now, with a model of the store."""
        try:
            answer = self.recognise(video)
            return bool(answer.predictions) and answer.model_name != ASL100
        except SignetError:
            return False

    def query(self, expression: str) -> list[dict[str, Any]]:
        """An instant query's result."""
        address = f"http://127.0.0.1:{self.ports.prometheus}/api/v1/query?{urlencode({'query': expression})}"
        with urlopen(address, timeout=30) as answer:
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return result

    def explain(self) -> str:
        """What to read when something does not happen: the end of every log."""
        return "\n".join(f"--- {name}\n" + "\n".join(self.log(name).splitlines()[-15:]) for name in SERVICES)


def stored_clips(store: ObjectStore) -> dict[str, str]:
    """Key and etag of every landmark tensor that is stored."""
    return {info.key: info.etag for info in store.list(keys.clips("wlasl"))}


def published(store: ObjectStore) -> str:
    """The version that `latest` names, or ""."""
    try:
        return registry.resolve(store, "signet", registry.LATEST)
    except NotFound:
        return ""


def small_corpus(wlasl: Path, folder: Path) -> Path:
    """A WLASL directory of the few real clips that take the least time, with one broken file; its `val` clips apart.

    Three glosses with four training clips and one val clip each, the smallest files that do.
    """
    entries, clips = json.loads((wlasl / "WLASL_v0.3.json").read_text()), wlasl / "clips"

    def smallest(entry: dict[str, Any], split: str, count: int) -> list[dict[str, Any]]:
        there = [
            one for one in entry["instances"] if one["split"] == split and (clips / f"{one['video_id']}.mp4").exists()
        ]
        there.sort(key=lambda one: ((clips / f"{one['video_id']}.mp4").stat().st_size, one["video_id"]))
        return there[:count] if len(there) >= count else []

    found = []
    for entry in entries:
        train, val = smallest(entry, "train", 4), smallest(entry, "val", 1)
        if train and val:
            size = sum((clips / f"{one['video_id']}.mp4").stat().st_size for one in train + val)
            found.append((size, {"gloss": entry["gloss"], "instances": train + val}))
    chosen = [entry for _, entry in sorted(found, key=lambda one: (one[0], one[1]["gloss"]))[:3]]
    (folder / "clips").mkdir(parents=True)
    for entry in chosen:
        for one in entry["instances"]:
            shutil.copyfile(clips / f"{one['video_id']}.mp4", folder / f"clips/{one['video_id']}.mp4")
    html = {**chosen[0]["instances"][0], "video_id": "not-a-video"}
    (folder / "clips/not-a-video.mp4").write_text("<!DOCTYPE html><html><body>404 Not Found</body></html>")
    chosen[0]["instances"].append(html)
    (folder / "WLASL_v0.3.json").write_text(json.dumps(chosen))
    # Containers run as a user of their own.
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def pip_wheels() -> Path | None:
    """A local directory in which this machine's pip looks for wheels, with torch's CPU build in it; None elsewhere."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        if name.endswith("find-links"):
            for place in value.strip("'\"").split():
                if list(Path(place).glob("torch-*+cpu-*.whl")):
                    return Path(place)
    return None
