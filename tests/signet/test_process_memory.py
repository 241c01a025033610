"""The memory of this process, and the arenas of glibc."""

import os
import subprocess
import sys

import pytest

from signet.process_memory import ProcessMemory, limit_arenas

COUNT_ARENAS = """
import ctypes, sys, threading
from signet.process_memory import limit_arenas

if sys.argv[1] == "limited":
    limit_arenas()
glibc, gate = ctypes.CDLL(None), threading.Barrier(8)
glibc.malloc.restype = ctypes.c_void_p

def allocate():
    gate.wait()
    for _ in range(100):
        glibc.malloc(1000)
    gate.wait()

threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
glibc.fdopen.restype = ctypes.c_void_p
glibc.malloc_info(0, ctypes.c_void_p(glibc.fdopen(1, b"w")))
glibc.fflush(None)
"""


@pytest.mark.skipif(sys.platform != "linux" or "glibc" not in str(os.confstr("CS_GNU_LIBC_VERSION")), reason="no glibc")
@pytest.mark.parametrize(("limit", "most"), [("limited", 2), ("usual", 64)])
def test_threads_share_few_arenas(limit: str, most: int) -> None:
    done = subprocess.run([sys.executable, "-c", COUNT_ARENAS, limit], capture_output=True, text=True, check=True)
    arenas = done.stdout.count("<heap nr=")
    assert 1 <= arenas <= most
    assert limit == "limited" or arenas > 2, "without the limit, there are more"


def test_the_memory_of_this_process_is_measured_and_trimmed() -> None:
    memory = ProcessMemory()
    assert memory.measure() > 1 << 20
    memory.trim()
    limit_arenas()
