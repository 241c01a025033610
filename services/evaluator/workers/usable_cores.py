"""How many cores this process may use."""

import math
import os
from pathlib import Path

# Where the kernel shows the limit of a container, in cgroup v2: "200000 100000" for two cores, "max 100000" for none.
_LIMIT_FILE = Path("/sys/fs/cgroup/cpu.max")


def count_usable_cores(limit_file: Path = _LIMIT_FILE) -> int:
    """The cores of this machine that this process may use: at least one, and no more than its container may."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = map(int, limit_file.read_text().split())
    except (OSError, ValueError):  # there is no limit
        return cores
    return max(1, min(cores, math.ceil(quota / max(1, period))))
