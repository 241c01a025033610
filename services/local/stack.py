"""Runs the whole system on one machine without containers: a store and the three services as child processes."""

import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from services.local.child_processes import Child, free_ports
from services.local.seaweedfs import LocalStore
from signet.errors import InvalidInput, NotReady
from signet.home_paths import expand_home
from signet.rpc.client import Client
from signet.rpc.health import is_serving

SERVICES = ("extractor", "trainer", "evaluator")

_HOST = "127.0.0.1"
# The stack is for one machine, and its services call one another without TLS and tokens. Settings of the shell for
# servers elsewhere must not reach them.
_PLAIN = [
    *(f"SIGNET_TLS_{name}" for name in ("CERTIFICATE", "KEY", "CLIENT_CA")),
    *(f"SIGNET_CLIENT_{name}" for name in ("TLS", "CA", "CERTIFICATE", "KEY", "TOKEN", "TOKEN_FILE")),
    "SIGNET_TOKENS_FILE",
]

# Time for a service to start. Importing torch or MediaPipe takes seconds, and longer on a busy machine.
_START_SECONDS = 120.0
# Time for a service to stop. It drains for 8 s before it cancels running calls.
_STOP_SECONDS = 20.0
_WATCH_SECONDS = 1.0
_HEALTH_SECONDS = 2.0


class LocalService:
    """One of the three services as a child process on 127.0.0.1, started with the entry point of its container.

    Args:
        name: "extractor", "trainer" or "evaluator".
        environment: its SIGNET_* settings without the ports.
        log: the file for its log.
    """

    def __init__(self, name: str, environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.port, self.metrics_port = free_ports(2)
        self._environment = environment
        self._log = log
        self._child: Child | None = None

    @property
    def address(self) -> str:
        """host:port of the gRPC server."""
        return f"{_HOST}:{self.port}"

    @property
    def metrics_url(self) -> str:
        """URL of its Prometheus metrics."""
        return f"http://{_HOST}:{self.metrics_port}/metrics"

    @property
    def pid(self) -> int:
        """The process id; 0 if the service was not started."""
        return self._child.pid if self._child else 0

    def start(self) -> None:
        """Start the process without waiting until it is ready."""
        ports = {"SIGNET_HOST": _HOST, "SIGNET_PORT": str(self.port), "SIGNET_METRICS_PORT": str(self.metrics_port)}
        command = [sys.executable, "-m", f"services.{self.name}"]
        self._child = Child(self.name, command, {**self._environment, **ports}, self._log)

    def wait_ready(self) -> None:
        """Wait until the health service answers SERVING.

        Raises:
            Unavailable: the service does not start; the message ends with the last lines of its log.
        """
        if self._child is None:
            raise NotReady(f"{self.name} was not started.")
        self._child.wait_until(lambda: is_serving(self.address, _HEALTH_SECONDS), _START_SECONDS)

    def check(self) -> None:
        """Raise `Unavailable` if the process has ended unexpectedly. See `Child.check`."""
        if self._child is not None:
            self._child.check()

    def stop(self) -> None:
        """Let the service drain, then end it. Does nothing if it was not started."""
        if self._child is not None:
            self._child.stop(_STOP_SECONDS)
            self._child = None


class LocalStack:
    """Store and services together, as a context manager that starts and stops them.

    Args:
        folder: directory for the data of the store and for logs/<name>.log of each process.
        clips: the folder of videos, which the extractor reads when it is asked to.
        settings: further SIGNET_* settings of the services.
    """

    def __init__(self, folder: Path, clips: Path, settings: Mapping[str, str] | None = None) -> None:
        try:
            folder, clips = expand_home(folder), expand_home(clips)
        except ValueError as error:
            raise InvalidInput(f"{error}: --data {folder}, --clips {clips}.") from error
        self.store = LocalStore(folder / "store")
        self.logs = folder.absolute() / "logs"
        self._clips = clips.absolute()
        self._settings = dict(settings or {})
        self._cleanup = ExitStack()
        self.services: dict[str, LocalService] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the store and then the services, and wait until all of them serve.

        Raises:
            NotReady: another stack uses the directory, or SeaweedFS is not installed.
            Unavailable: one of them does not start; all others are stopped again.
        """
        with ExitStack() as started:
            started.enter_context(self.store)
            for name in SERVICES:
                self.services[name] = LocalService(name, self._service_settings(name), self.logs / f"{name}.log")
                started.callback(self.services[name].stop)
                self.services[name].start()
            for service in self.services.values():
                service.wait_ready()
            self._cleanup = started.pop_all()

    def stop(self) -> None:
        """Let the services drain, then stop them and the store."""
        self._cleanup.close()

    def watch(self) -> None:
        """Block as long as all processes run.

        Raises:
            Unavailable: a process has ended; the message ends with the last lines of its log.
        """
        while True:
            self.store.check()
            for service in self.services.values():
                service.check()
            time.sleep(_WATCH_SECONDS)

    @property
    def pids(self) -> dict[str, int]:
        """The process ids by name."""
        return {"store": self.store.pid} | {name: service.pid for name, service in self.services.items()}

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables with which a command line uses this stack."""
        return self.store.environment | {"SIGNET_EVALUATOR": self.services["evaluator"].address}

    def client(self) -> Client:
        """A client of all three services."""
        return Client(**{name: service.address for name, service in self.services.items()})

    def _service_settings(self, name: str) -> dict[str, str]:
        inputs = dict.fromkeys(_PLAIN, "")
        if name == "extractor":
            inputs["SIGNET_WLASL"] = str(self._clips)
        if name == "evaluator":
            inputs["SIGNET_EXTRACTOR"] = self.services["extractor"].address
        return self.store.environment | inputs | self._settings
