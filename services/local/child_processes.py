"""Child processes that end with their parent: each in its own session, stopped in order, killed as a last resort."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from signet.errors import Unavailable

# Ports below Linux's range for outgoing connections (32768 and up), so that no connection takes a server's port.
_PORTS = range(20000, 32000)

_LOG_TAIL_LINES = 12
_POLL_SECONDS = 0.1

# Requests a SIGTERM from the kernel for when the parent dies, even by SIGKILL, and then executes the command. A
# separate process does this, because code between fork and exec is unsafe in a program with threads, and gRPC has
# threads.
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


def free_ports(count: int) -> list[int]:
    """Find distinct free ports of 127.0.0.1.

    Raises:
        Unavailable: there are not enough free ports.
    """
    ports: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        ports.append(port)
        if len(ports) == count:
            return ports
    raise Unavailable(f"127.0.0.1: no {count} free ports between {_PORTS.start} and {_PORTS.stop}.")


class Child:
    """One child process that logs to a file.

    Args:
        name: name of the process in messages.
        command: absolute path of the program, and its arguments.
        environment: variables added to the environment of this process.
        log: the file to which its output is appended.
        pass_fds: file descriptors that the child keeps open.
    """

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path, pass_fds: Sequence[int] = ()
    ) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._log_start = output.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C reaches only this process, which stops the children in the correct order.
                start_new_session=True,
                pass_fds=pass_fds,
                umask=0o077,  # only the owner reads its files and connects to its sockets
            )

    @property
    def pid(self) -> int:
        """The process id, which is also the process group."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is running."""
        return self._process.poll() is None

    def log_tail(self) -> str:
        """The last lines of the log since this process was started."""
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            lines = file.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-_LOG_TAIL_LINES:])

    def failure(self, what: str) -> Unavailable:
        """An error that says what went wrong and ends with the last lines of the log."""
        ended = "" if self.running else f"; its exit status is {self._process.returncode}"
        return Unavailable(f"{self.name}: {what}{ended}. The end of {self.log}:\n{self.log_tail()}")

    def check(self) -> None:
        """Raise `Unavailable`, with the last lines of the log, if the process has ended."""
        if not self.running:
            raise self.failure("has ended")

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until `ready()` is true.

        Raises:
            Unavailable: the process ended or was not ready within `seconds`; the message ends with the last lines of
                the log.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.running:
                raise self.failure("did not start")
            if time.monotonic() > deadline:
                raise self.failure(f"not ready after {seconds:.0f} s")
            time.sleep(_POLL_SECONDS)

    def stop(self, seconds: float) -> None:
        """Send SIGTERM, wait at most `seconds`, send SIGKILL; then send SIGKILL to the rest of its process group."""
        if self.running:
            self._process.terminate()
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # the group has no other process
