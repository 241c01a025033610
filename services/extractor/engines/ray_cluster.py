"""Runs the jobs of an extraction on a Ray cluster. This process alone reads the clips and stores the results.

Each clip is a task that gets the bytes of the file, so nodes need neither the files nor the store. The parts of a large
file are objects of the cluster, which the tasks of all its pieces and segments share. Ray repeats a task
whose node or process was lost. The result comes back here and is stored by a conditional write, so no clip is lost and
none is stored twice, also if a task has run twice.
"""

import os
import socket
import time
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any, Self, TypeVar

from services.extractor.engines.remote_job import RemoteFault, RemoteJob, extractor_versions, run_remote_job
from services.extractor.video.decode import read_file
from services.extractor.video.file_bytes import FileBytes, FileState
from services.extractor.video.limits import MAX_VIDEO_BYTES, how_to_cut, refuse_size
from signet.errors import ClipError, InvalidInput, NotReady, Unavailable

DEFAULT_ADDRESS = "auto"

# A task is repeated so often after the loss of its node or process. No clip causes this: it is worked on in a further
# process, whose end is noticed.
_RETRIES = 8
_CONNECT_SECONDS = 5.0
# A larger file is sent in parts of this size.
_PART_BYTES = 32 * 1024**2
# How often the number of cores is asked for: nodes come and go.
_LOOK_SECONDS = 2.0

Job = TypeVar("Job")
Result = TypeVar("Result")


class RayWorkers:
    """The cores of a Ray cluster, as a context manager.

    Args:
        address: host:port of the cluster's head node; "auto" for the cluster that this machine belongs to.
        clip_timeout: seconds after which a clip is given up.

    Raises:
        NotReady: Ray is not installed.
        Unavailable: there is no such cluster.
        InvalidInput: the address has another form.
    """

    def __init__(self, address: str, clip_timeout: float) -> None:
        self._clip_timeout = clip_timeout
        self._ray = _connect(address)
        self._extractors = extractor_versions()
        self._task = self._ray.remote(num_cpus=1, max_retries=_RETRIES, retry_exceptions=False)(_run_task)
        self._cores = 0
        self._looked = 0.0
        # The last large file that was sent: its path, its state, and its parts.
        self._sent: tuple[Path, FileState, tuple[Any, ...]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()

    def each(
        self,
        function: Callable[..., Result],
        jobs: Iterable[tuple[Job, tuple[Any, ...]]],
        stopped: Callable[[], bool] = lambda: False,
    ) -> Generator[tuple[Job, Result | ClipError], None, None]:
        """Run `function(path, *arguments)` for each (job, (path, *arguments)), as many at a time as there are cores.

        Yields each job with its result, in order of completion. Once `stopped()` is true, no further job is started,
        and running jobs are awaited. Closing the iterator abandons running jobs.

        Raises:
            Unavailable: the cluster is lost, or loses its nodes again and again.
            NotReady: a node has no Signet, or another version of it.
        """
        waiting = iter(jobs)
        running: dict[Any, Job] = {}
        try:
            while True:
                while len(running) < self._count_cores() and not stopped():
                    following = next(waiting, None)
                    if following is None:
                        break
                    job, (path, *arguments) = following
                    try:
                        running[self._submit(function, path, tuple(arguments))] = job
                    except ClipError as error:
                        yield job, error
                if not running:
                    return
                # Short waits, so that signal handlers can run.
                done, _ = self._ray.wait(list(running), timeout=0.2)
                for reference in done:
                    yield running.pop(reference), self._result(reference)
        finally:
            for reference in running:
                self._ray.cancel(reference, force=True)

    def _submit(self, function: Callable[..., Any], path: Path, arguments: tuple[Any, ...]) -> Any:
        """Send a clip to the cluster. Raises `ClipError` if its file cannot be read."""
        parts = self._send_parts(path)
        data = b"" if parts else read_file(path)
        return self._task.remote(
            RemoteJob(function, path.name, data, arguments, self._clip_timeout, self._extractors, parts)
        )

    def _send_parts(self, path: Path) -> tuple[Any, ...]:
        """Give a large file to the cluster. The parts are freed when no task needs them, and another file was sent."""
        file = FileBytes(path)
        if len(file) > MAX_VIDEO_BYTES:
            refuse_size(path.name, f"{len(file)} bytes", f"{MAX_VIDEO_BYTES} bytes", how_to_cut(path.name))
        if len(file) <= _PART_BYTES:
            return ()
        if self._sent is None or self._sent[:2] != (path, file.state):
            starts = range(0, len(file), _PART_BYTES)
            self._sent = path, file.state, tuple(self._ray.put(file[start : start + _PART_BYTES]) for start in starts)
        return self._sent[2]

    def _count_cores(self) -> int:
        if time.monotonic() - self._looked > _LOOK_SECONDS:
            self._cores = int(self._ray.cluster_resources().get("CPU", 0))
            self._looked = time.monotonic()
        # Without a core now, a task waits for a node.
        return max(1, self._cores)

    def _result(self, reference: Any) -> Any:
        exceptions = self._ray.exceptions
        try:
            outcome = self._ray.get(reference)
        except exceptions.RayTaskError as error:
            raise NotReady(
                f"a task fails on the Ray cluster ({_shorten(error)}). Install the same version of Signet, with "
                "signet[extractor,ray], on all nodes."
            ) from error
        except exceptions.RayError as error:
            raise Unavailable(
                f"the Ray cluster loses its nodes or processes: a task failed {_RETRIES + 1} times "
                f"({_shorten(error)}). Check the memory of the nodes, and run the same command again: stored clips "
                "are not extracted twice."
            ) from error
        if not isinstance(outcome, RemoteFault):
            return outcome
        if outcome.reason:
            return ClipError(outcome.reason, outcome.message)
        raise NotReady(outcome.message)


def _run_task(job: RemoteJob) -> Any:
    """Run a job on a node."""
    import ray  # noqa: PLC0415  (the module is not sent to the nodes)

    return run_remote_job(job, ray.get)


def _connect(address: str) -> Any:
    """Join the cluster. Returns the module ray."""
    # Ray reports the use of clusters over the network otherwise.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray  # noqa: PLC0415  (an extra, and a second of loading)
    except ImportError as error:
        raise NotReady(
            f"Ray is not installed ({error}). Install it on all nodes: pip install 'signet[extractor,ray]'. Without "
            "--engine ray, this machine extracts alone."
        ) from error
    if address != DEFAULT_ADDRESS:
        _check_address(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", configure_logging=False)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, AssertionError) as error:
        raise Unavailable(
            f"--ray-address {address}: no Ray cluster can be used ({_shorten(error)}). Start one with `ray start "
            "--head` on this machine and `ray start --address HOST:PORT` on the others, and name the address of the "
            "head node."
        ) from error
    return ray


def _check_address(address: str) -> None:
    """Check that something listens: Ray itself tries for a minute.

    Raises:
        InvalidInput: the address has another form.
        Unavailable: nothing listens.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) >= 1 << 16 or "/" in host:
        raise InvalidInput(f"--ray-address {address}: write host:port of the head node, for example 10.0.0.1:6379.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except OSError as error:
        raise Unavailable(
            f"--ray-address {address}: nothing answers there ({error}). Start Ray on that machine with `ray start "
            "--head --port PORT`, or correct the address."
        ) from error


def _shorten(error: BaseException) -> str:
    """An error in one line. Ray's errors may end with a traceback, whose last line says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if len(lines) > 3 else " ".join(lines)
