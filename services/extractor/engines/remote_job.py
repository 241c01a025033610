"""What a process of a Ray cluster does: it runs one job at a time in a worker process of its own.

The worker process has the limits of a worker of this machine: memory, time, a clean environment. So a clip that kills
or blocks its worker has the same outcome on a cluster, and the process of Ray never decodes a video.
"""

import atexit
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.extractor.jobs.workers import WorkerPool
from services.extractor.tracking.trackers import TrackingQuality, fingerprint
from signet.errors import ClipError, SignetError

# The pool of this process, with its limit of time.
_pools: dict[float, WorkerPool] = {}


@dataclass(frozen=True)
class RemoteJob:
    """A job for another machine.

    Attributes:
        function: runs in the worker process, with the path of the file as its first argument.
        name: the name of the file.
        data: its bytes.
        arguments: the other arguments of the function.
        clip_timeout: seconds after which the clip is given up.
        extractors: the versions of the extractor on the machine that asks.
        parts: the bytes of a large file, after `data`: references to objects of the cluster.
    """

    function: Callable[..., Any]
    name: str
    data: bytes
    arguments: tuple[Any, ...]
    clip_timeout: float
    extractors: tuple[str, ...]
    parts: tuple[Any, ...] = ()


@dataclass(frozen=True)
class RemoteFault:
    """Why a job has no result. Exceptions are not sent: another version of Python may not read them."""

    message: str
    reason: str = ""  # of a clip that cannot be used; "" if no job can succeed on this machine


def extractor_versions() -> tuple[str, ...]:
    """The versions of the extractor on this machine. Machines with other versions make other landmarks."""
    return tuple(fingerprint(quality) for quality in TrackingQuality)


def run_remote_job(job: RemoteJob, fetch: Callable[[Any], bytes] = bytes) -> Any:
    """Run a job, and return its result or a `RemoteFault`.

    Args:
        job: the job.
        fetch: returns the bytes that a reference in `parts` stands for.
    """
    try:
        versions = extractor_versions()
        if versions != job.extractors:
            return RemoteFault(
                f"a node of the Ray cluster has another extractor ({', '.join(versions)}) than this machine "
                f"({', '.join(job.extractors)}). Install the same version of Signet on all nodes."
            )
        with tempfile.TemporaryDirectory(prefix="signet-clip-") as folder:
            path = Path(folder) / job.name
            with path.open("wb") as file:
                file.write(job.data)
                for part in job.parts:
                    file.write(fetch(part))
            ((_, outcome),) = _pool(job.clip_timeout).each(job.function, [(None, (path, *job.arguments))])
    except SignetError as error:
        return RemoteFault(str(error))
    except OSError as error:
        return RemoteFault(f"a node of the Ray cluster cannot keep a clip ({error}).")
    return RemoteFault(str(outcome), outcome.reason) if isinstance(outcome, ClipError) else outcome


def _pool(clip_timeout: float) -> WorkerPool:
    if clip_timeout not in _pools:
        _pools[clip_timeout] = WorkerPool(1, clip_timeout)
        atexit.register(_pools[clip_timeout].close)
    return _pools[clip_timeout]
