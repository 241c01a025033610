"""The attacked system: real services as child processes on 127.0.0.1, on a directory store in one folder."""

import resource
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bench.hostile.corpus import GLOSSES, make_wlasl, moving_clip, store_clips, train_tiny_model
from services.local.stack import LocalService
from signet.errors import SignetError
from signet.landmarks import dump
from signet.rpc.client import Client, signet_errors
from signet.store import DirectoryStore
from signet.v1 import extractor_pb2

WORKERS = 2
# The usual limit of a process on Linux. Containers often have a higher one.
DESCRIPTORS = 1024
# The evaluator looks for a new version so often.
REFRESH_SECONDS = 0.5
_EXTRACT_SECONDS = 120


@dataclass(frozen=True)
class Target:
    """What an attacker knows: addresses, the folder of the store, and one good clip."""

    addresses: dict[str, str]
    metrics_ports: dict[str, int]
    folder: Path
    video: bytes
    landmarks: bytes

    @property
    def store(self) -> DirectoryStore:
        """The store of the services."""
        return DirectoryStore(self.folder / "store")


class AttackedSystem:
    """Services and their store, as a context manager. The model is published before the first start of the evaluator.

    Args:
        folder: an empty folder.
        wlasl: the directory of WLASL; None takes synthetic landmarks, and a video without a person.
        settings: further SIGNET_* settings of the services.
        publish: publishes the model.
        token: a token for calls of the extractor, if its settings name a file of tokens.
    """

    def __init__(
        self,
        folder: Path,
        wlasl: Path | None,
        settings: Mapping[str, str] | None = None,
        publish: Callable[[DirectoryStore], None] = train_tiny_model,
        token: str = "",
    ) -> None:
        self.folder = folder
        self.store = DirectoryStore(folder / "store")
        self.services: dict[str, LocalService] = {}
        self._wlasl = wlasl
        self._more_settings = dict(settings or {})
        self._publish = publish
        self._metadata = [("authorization", f"Bearer {token}")] if token else []
        self._landmarks = b""
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        (self.folder / "store").mkdir()
        self._clips = make_wlasl(self.folder / "wlasl", self._wlasl)
        store_clips(self.store)
        self._publish(self.store)
        if self._wlasl is None:
            self._landmarks = dump(moving_clip("good", GLOSSES[0], "val", 1))
        else:
            self.start(["extractor"])  # it makes the landmarks of the good clip
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(list(self.services))

    def start(self, names: Sequence[str]) -> None:
        """Start those of these services that do not run, and wait until they serve."""
        missing = [name for name in names if not (name in self.services and self.services[name].pid)]
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(DESCRIPTORS, hard), hard))
        try:
            for name in missing:
                log = self.folder / "logs" / f"{name}.log"
                if name not in self.services:  # a service that was stopped keeps its ports
                    self.services[name] = LocalService(name, self._settings(name), log)
                self.services[name].start()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for name in missing:
            self.services[name].wait_ready()
        if "extractor" in missing:
            self._load_workers()

    def stop(self, names: Sequence[str]) -> None:
        """Stop those of these services that run."""
        for name in names:
            if name in self.services:
                self.services[name].stop()

    @property
    def pids(self) -> dict[str, int]:
        """The process ids of the services that run."""
        return {name: service.pid for name, service in self.services.items() if service.pid}

    def log(self, name: str) -> bytes:
        """The log of a service, of all its starts."""
        path = self.folder / "logs" / f"{name}.log"
        return path.read_bytes() if path.exists() else b""

    def target(self) -> Target:
        """What an attacker knows now."""
        return Target(
            {name: service.address for name, service in self.services.items()},
            {name: service.metrics_port for name, service in self.services.items()},
            self.folder,
            self._clips[0].read_bytes(),
            self._landmarks,
        )

    def _settings(self, name: str) -> dict[str, str]:
        settings = {
            "SIGNET_STORE": self.store.url,
            "SIGNET_CACHE": str(self.folder / "cache"),
            "SIGNET_WORKERS": str(WORKERS),
            "SIGNET_WLASL": str(self.folder / "wlasl"),
            "SIGNET_REFRESH_SECONDS": str(REFRESH_SECONDS),
        }
        if name == "evaluator" and "extractor" in self.services:
            settings["SIGNET_EXTRACTOR"] = self.services["extractor"].address
        return settings | self._more_settings

    def _load_workers(self) -> None:
        """Let each worker extract a clip: it loads MediaPipe with the first one. Keep the landmarks of one."""
        request = extractor_pb2.ExtractClipRequest(video=self._clips[0].read_bytes(), clip_id="good")
        with Client(extractor=self.services["extractor"].address) as client:
            extract = client.extractor.ExtractClip.future
            calls = [extract(request, timeout=_EXTRACT_SECONDS, metadata=self._metadata) for _ in range(WORKERS)]
            try:
                with signet_errors():
                    answers = [call.result() for call in calls]
            except SignetError as error:
                raise SystemExit(f"the extractor refuses a good clip before any attack: {error}") from error
        self._landmarks = self._landmarks or answers[0].landmarks
