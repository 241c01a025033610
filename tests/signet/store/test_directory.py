"""The directory store and writers that share its files."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from signet.errors import Conflict
from signet.store import DirectoryStore

ROUNDS = 150
MAX_SECONDS = 30.0


def test_one_of_two_replacements_at_the_same_moment_is_refused(tmp_path: Path) -> None:
    """Each round is a race. Without a lock, both writers find the old etag in some rounds, and one write is lost."""
    stores = [DirectoryStore(tmp_path), DirectoryStore(tmp_path)]
    stores[0].put("k", b"start")
    gate = threading.Barrier(len(stores))

    def replaces(store: DirectoryStore, etag: str) -> bool:
        gate.wait()
        try:
            store.replace("k", b"written", etag)
        except Conflict:
            return False
        return True

    started = time.monotonic()
    with ThreadPoolExecutor(len(stores)) as pool:
        for number in range(ROUNDS):
            etag = stores[0].get_versioned("k")[1]
            assert sum(pool.map(replaces, stores, [etag, etag])) == 1, f"round {number}"
            if time.monotonic() - started > MAX_SECONDS:
                break


def test_a_file_has_the_exact_time_of_its_write_which_its_etag_needs(
    directory_store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file system's own clock may be coarse, and it reuses the numbers of deleted files."""
    monkeypatch.setattr("signet.store.directory.time.time_ns", lambda: 1_700_000_000_123_456_789)
    directory_store.put("k", b"data")
    assert (directory_store.root / "k").stat().st_mtime_ns == 1_700_000_000_123_456_789
