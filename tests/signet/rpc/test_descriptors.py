"""The limit of open files, in processes of their own."""

import subprocess
import sys

import pytest

from signet.rpc.descriptors import RESERVED_DESCRIPTORS, max_connections


@pytest.mark.parametrize(("soft", "hard", "expected"), [(256, 900, 900), (900, 900, 900)])
def test_the_soft_limit_becomes_the_hard_one(soft: int, hard: int, expected: int) -> None:
    program = (
        "import resource\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))\n"
        "from signet.rpc.descriptors import raise_descriptor_limit\n"
        "print(raise_descriptor_limit(), *resource.getrlimit(resource.RLIMIT_NOFILE))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == [str(expected), str(expected), str(hard)]


def test_connections_leave_descriptors_for_the_store() -> None:
    assert max_connections(1024, 4000) == 1024 - RESERVED_DESCRIPTORS
    assert max_connections(65_536, 4000) == 4000
    assert max_connections(100, 4000) == 1
