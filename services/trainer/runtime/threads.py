"""How many CPU threads torch computes with. Importing this module does not import torch."""

import os

# The operations of a small model take microseconds. A second thread gains a tenth on idle cores; on busy cores each
# thread waits for the time slice of the other, and training becomes many times slower.
DEFAULT_THREADS = 1
# oneDNN caches one compiled program for each tensor shape, 1,024 by default. Each batch has its own lengths, so a
# program is hardly used again, and 1,024 of them take half of the memory of a training of 100 glosses.
_CACHED_PROGRAMS = 32

THREADS_HELP = "CPU threads to compute with. 0 takes one for each core, which helps only models far larger than ours"


def use_threads(threads: int) -> None:
    """Let torch compute with this many CPU threads, and limit oneDNN's cache.

    Call it before the first computation. 0 takes one thread for each core.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(_CACHED_PROGRAMS))
    import torch

    torch.set_num_threads(threads or os.cpu_count() or 1)
