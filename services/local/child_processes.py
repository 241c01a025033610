"""Child processes that do not outlive us: started in their own session, stopped in order, killed as a last resort."""

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

# Below Linux's range for outgoing connections (32768 and up), so that none takes a port before its server does.
_PORTS = range(20000, 32000)

_LOG_TAIL_LINES = 12
_POLL_SECONDS = 0.1

# Asks the kernel for a SIGTERM when the parent dies, even by SIGKILL, then becomes the command. Done in a process of
# its own since code between fork and exec is unsafe in a program with threads, and gRPC has threads.
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


def free_ports(count: int) -> list[int]:
    """Different ports of 127.0.0.1 on which nothing listens now.

    Raises:
        Unavailable: there are not so many.
    """
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise Unavailable(f"127.0.0.1: no {count} free ports between {_PORTS.start} and {_PORTS.stop}.")


class Child:
    """One child process that logs to a file.

    Args:
        name: what to call it in messages.
        command: absolute path of the program, and its arguments.
        environment: added to our own.
        log: the file that takes its output; appended to.
        pass_fds: file descriptors that it keeps open.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        pass_fds: Sequence[int] = (),
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
                # Ctrl-C reaches us only, and we stop the children in the right order.
                start_new_session=True,
                pass_fds=pass_fds,
            )

    @property
    def pid(self) -> int:
        """Its process id, which is also its process group."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def log_tail(self) -> str:
        """The last lines of what it said in this life."""
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            lines = file.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-_LOG_TAIL_LINES:])

    def failure(self, what: str) -> Unavailable:
        """An error that says what went wrong, with the log's tail."""
        ended = "" if self.running else f"; it ended with status {self._process.returncode}"
        return Unavailable(f"{self.name}: {what}{ended}. The end of {self.log}:\n{self.log_tail()}")

    def check(self) -> None:
        """Raise `Unavailable`, with its log's last lines, if it has ended."""
        if not self.running:
            raise self.failure("is gone")

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Return when `ready()` is true.

        Raises:
            Unavailable: it ended, or it was not ready within `seconds`; the message ends with its log's last lines.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.running:
                raise self.failure("did not start")
            if time.monotonic() > deadline:
                raise self.failure(f"not ready after {seconds:.0f} s")
            time.sleep(_POLL_SECONDS)

    def stop(self, patience: float) -> None:
        """SIGTERM, wait at most `patience` seconds, SIGKILL; then SIGKILL to what it left behind in its group."""
        if self.running:
            self._process.terminate()
            try:
                self._process.wait(patience)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # as it should be: nothing was left
