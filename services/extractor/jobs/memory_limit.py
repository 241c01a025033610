"""How many workers fit into the memory limit of the container that this process runs in."""

import logging
from pathlib import Path

_log = logging.getLogger(__name__)

# Where the kernel shows the limit of a container: cgroup v2, and v1. A container sees its own limit there.
LIMIT_FILES = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))

# The most that a worker uses, and what is left for the service. Real clips need half of it.
WORKER_BYTES = 1024**3
SERVICE_BYTES = 1024**3


def workers_that_fit(cores: int, files: tuple[Path, ...] = LIMIT_FILES) -> int:
    """The number of workers for so many cores: one for each, and no more than fit into the memory; at least one."""
    limit = _memory_limit(files)
    if limit is None:
        return cores
    count = max(1, min(cores, (limit - SERVICE_BYTES) // WORKER_BYTES))
    if count < cores:
        _log.info(
            "%d workers for %d cores: more do not fit into the memory limit of %.1f GiB. Raise the limit "
            "(SIGNET_EXTRACTOR_MEMORY in compose), or set SIGNET_WORKERS.",
            count,
            cores,
            limit / 1024**3,
        )
    return count


def _memory_limit(files: tuple[Path, ...]) -> int | None:
    """The limit in bytes; None if there is none, or none can be read. Version 2 writes "max" if there is none."""
    for file in files:
        try:
            text = file.read_text().strip()
        except OSError:
            continue
        return int(text) if text.isdecimal() else None
    return None
