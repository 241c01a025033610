"""File descriptors: how many connections a service can hold and still open files."""

import logging
import resource

_log = logging.getLogger(__name__)

# Descriptors for the store, worker processes, logs and metrics.
RESERVED_DESCRIPTORS = 256
# More than this no service needs. Some containers have a limit of a billion, and programs that close all descriptors
# then take minutes.
_MOST_DESCRIPTORS = 65_536


def raise_descriptor_limit() -> int:
    """Raise the soft limit of file descriptors to the hard one; the limit that holds then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError) as error:
            _log.warning("cannot raise the limit of open files from %d to %d: %s", soft, wanted, error)
            return soft
        return wanted
    return wanted if soft == resource.RLIM_INFINITY else soft


def max_connections(descriptors: int, most: int) -> int:
    """How many connections may be open with so many descriptors: at most `most`, and at least one."""
    return max(1, min(most, descriptors - RESERVED_DESCRIPTORS))
