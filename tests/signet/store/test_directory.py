"""The directory store and writers that share its files."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from signet.errors import Conflict, InvalidInput, NotFound
from signet.store import DirectoryStore
from signet.store import directory as directory_module

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


def test_a_replacement_waits_for_one_that_has_compared_the_etag_but_not_yet_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first writer stops between the comparison and the write, so the outcome does not depend on timing."""
    first, second = DirectoryStore(tmp_path), DirectoryStore(tmp_path)
    first.put("k", b"start")
    etag = first.get_versioned("k")[1]
    real_etag = directory_module._etag
    compared, may_write = threading.Event(), threading.Event()

    def etag_with_a_stop(status: os.stat_result) -> str:
        found = real_etag(status)
        if not compared.is_set():
            compared.set()
            may_write.wait(MAX_SECONDS)
        return found

    monkeypatch.setattr(directory_module, "_etag", etag_with_a_stop)
    with ThreadPoolExecutor(2) as pool:
        replaced = pool.submit(first.replace, "k", b"first", etag)
        assert compared.wait(MAX_SECONDS)
        refused = pool.submit(second.replace, "k", b"second", etag)
        wait([refused], timeout=0.5)  # without a lock, the second replacement ends here
        may_write.set()
        assert replaced.exception() is None
        assert isinstance(refused.exception(), Conflict)
    assert first.get("k") == b"first"


def test_a_file_is_on_the_disk_before_it_has_its_name(
    directory_store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a loss of power could leave an object with its name and without its content."""
    contents: list[tuple[bytes, bool]] = []
    real_fsync = os.fsync

    def note_content(handle: int) -> None:
        written = os.pread(handle, 100, 0)
        contents.append((written, any(directory_store.get(info.key) == written for info in directory_store.list(""))))
        real_fsync(handle)

    monkeypatch.setattr("signet.store.directory.os.fsync", note_content)
    directory_store.create("created", b"created")
    directory_store.put("k", b"put")
    directory_store.replace("k", b"replaced", directory_store.get_versioned("k")[1])
    assert contents == [(b"created", False), (b"put", False), (b"replaced", False)]


def test_a_file_has_the_exact_time_of_its_write_which_its_etag_needs(
    directory_store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file system's own clock may be coarse, and it reuses the numbers of deleted files."""
    monkeypatch.setattr("signet.store.directory.time.time_ns", lambda: 1_700_000_000_123_456_789)
    directory_store.put("k", b"data")
    assert (directory_store.root / "k").stat().st_mtime_ns == 1_700_000_000_123_456_789


def test_links_that_lead_out_of_the_store_or_in_a_circle_are_not_listed(directory_store: DirectoryStore) -> None:
    directory_store.put("runs/r/config.json", b"{}")
    folder = directory_store.root / "runs/r"
    (folder / "away").symlink_to("/etc/hostname")
    (folder / "circle").symlink_to("circle")
    (folder / "nothing").symlink_to("missing")
    (folder / "inside").symlink_to("config.json")
    os.mkfifo(folder / "pipe")
    assert [info.key for info in directory_store.list("runs/")] == ["runs/r/config.json", "runs/r/inside"]
    with pytest.raises(InvalidInput, match="leads in a circle"):
        directory_store.get("runs/r/circle")
    with pytest.raises(NotFound):
        directory_store.get("runs/r/pipe")
    with pytest.raises(NotFound):
        directory_store.get_head("runs/r/pipe", 10)


def test_a_full_disk_leaves_the_old_object_and_no_other_file(tmp_path: Path) -> None:
    """The process may write only half of the object, as on a full disk. This is how a checkpoint is written, too."""
    program = f"""
import resource, signal
from pathlib import Path
from signet.errors import Unavailable
from signet.store import DirectoryStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
store = DirectoryStore(Path({str(tmp_path)!r}))
etag = store.create("runs/state", b"old")
for write in (
    lambda data: store.put("runs/state", data),
    lambda data: store.replace("runs/state", data, etag),
    lambda data: store.create("runs/new", data),
):
    try:
        write(bytes(100_000))
    except Unavailable as error:
        assert "the space on its disk" in str(error) and "\\n" not in str(error), error
    else:
        raise SystemExit("a full disk was not noticed")
assert store.get("runs/state") == b"old"
store.put("runs/state", b"new")
"""
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["state"]
    assert DirectoryStore(tmp_path).get("runs/state") == b"new"
