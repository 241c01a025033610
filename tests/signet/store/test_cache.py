"""The cache of a store: damaged copies are not used, and missing ones are fetched."""

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr

from services.local.seaweedfs import LocalStore
from signet.errors import DataLoss, NotFound
from signet.store import DirectoryStore, ObjectStore, StoreSettings, open_store
from signet.store.cache import Cache
from signet.store.s3 import S3Store
from tests.conftest import ROOT

DATA = os.urandom(100_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


class Source:
    """Counts its calls."""

    def __init__(self, data: bytes = DATA) -> None:
        self.data = data
        self.asked = 0

    def __call__(self) -> bytes:
        self.asked += 1
        return self.data


@pytest.fixture
def cached_store(s3_server: LocalStore, new_bucket: Callable[..., S3Store], tmp_path: Path) -> S3Store:
    """An S3 store with a cache, in a bucket of this test."""
    bucket = new_bucket().url.rpartition("/")[2]
    given = s3_server.environment
    settings = StoreSettings(
        store=f"{given['SIGNET_STORE'].rpartition('/')[0]}/{bucket}",
        s3_access_key=given["SIGNET_S3_ACCESS_KEY"],
        s3_secret_key=SecretStr(given["SIGNET_S3_SECRET_KEY"]),
        cache=tmp_path / "cache",
    )
    store = open_store(settings)
    assert isinstance(store, S3Store)
    return store


def test_an_object_is_mapped_as_it_was_stored(object_store: ObjectStore) -> None:
    object_store.put("k", DATA)
    assert bytes(object_store.get_mapped("k", SHA256)) == DATA
    object_store.put("empty", b"")
    assert bytes(object_store.get_mapped("empty", hashlib.sha256(b"").hexdigest())) == b""
    with pytest.raises(NotFound, match="nothing"):
        object_store.get_mapped("nothing", SHA256[::-1])


def test_an_object_with_another_sha256_is_data_loss(object_store: ObjectStore) -> None:
    for wrong in (DATA[:-1], b"", DATA[::-1]):
        object_store.put("k", wrong)
        with pytest.raises(DataLoss, match="k: is damaged"):
            object_store.get_mapped("k", SHA256)


def test_changes_of_a_memory_map_stay_in_the_process(object_store: ObjectStore) -> None:
    object_store.put("k", DATA)
    array = np.frombuffer(object_store.get_mapped("k", SHA256), np.uint8)
    array[:] = 0
    assert object_store.get("k") == DATA
    assert bytes(object_store.get_mapped("k", SHA256)) == DATA


def test_a_copy_stays_after_its_object_is_deleted(cached_store: S3Store) -> None:
    cached_store.put("k", DATA)
    cached_store.get_mapped("k", SHA256)
    cached_store.delete("k")
    assert bytes(cached_store.get_mapped("k", SHA256)) == DATA


@pytest.mark.parametrize("damage", [DATA[:-1], b"", DATA[:50_000] + b"?" + DATA[50_001:]])
def test_a_damaged_copy_is_fetched_again(cached_store: S3Store, tmp_path: Path, damage: bytes) -> None:
    cached_store.put("k", DATA)
    cached_store.get_mapped("k", SHA256)
    copy = tmp_path / "cache/objects" / SHA256
    copy.write_bytes(damage)
    assert bytes(cached_store.get_mapped("k", SHA256)) == DATA
    assert copy.read_bytes() == DATA


def test_a_copy_is_fetched_once(tmp_path: Path) -> None:
    source = Source()
    for _ in range(3):
        assert bytes(Cache(tmp_path).copy(SHA256, source, "k")) == DATA
    assert source.asked == 1


def test_an_object_that_is_larger_than_the_cache_is_copied_too(tmp_path: Path) -> None:
    fetched: list[bytes] = []

    def fetch() -> bytes:
        fetched.append(b"large")
        return b"large"

    for _ in range(2):
        copied = Cache(tmp_path, max_bytes=1).copy(hashlib.sha256(b"large").hexdigest(), fetch, "name")
        assert bytes(copied) == b"large"
    assert len(fetched) == 1


@pytest.mark.parametrize("cached", [True, False])
def test_a_fetched_object_with_another_sha256_is_data_loss(tmp_path: Path, cached: bool) -> None:
    cache = Cache(tmp_path if cached else None)
    with pytest.raises(DataLoss, match="name: is damaged"):
        cache.copy(hashlib.sha256(b"right").hexdigest(), lambda: b"wrong", "name")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_without_a_cache_directory_objects_are_fetched_each_time(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for cache in (Cache(None), Cache(tmp_path / "file")):
        source = Source()
        for _ in range(2):
            assert bytes(cache.copy(SHA256, source, "k")) == DATA
        assert source.asked == 2
        cache.put_note("n", "text")
        assert not cache.get_note("n")


def test_a_full_disk_is_no_error_and_leaves_no_file(tmp_path: Path) -> None:
    """The process may write only half of the object."""
    program = f"""
import hashlib, resource, signal
from pathlib import Path
from signet.store.cache import Cache
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
data = bytes(100_000)
cache = Cache(Path({str(tmp_path)!r}))
assert bytes(cache.copy(hashlib.sha256(data).hexdigest(), lambda: data, "k")) == data
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "objects").iterdir()) == []


def test_the_copies_with_the_oldest_use_are_deleted_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, max_bytes=250)
    data = {name: name.encode() * 100 for name in "abcd"}
    sha256 = {name: hashlib.sha256(data[name]).hexdigest() for name in data}

    def use(name: str) -> int:
        for path in (tmp_path / "objects").glob("*"):
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 10))
        source = Source(data[name])
        cache.copy(sha256[name], source, name)
        return source.asked

    assert [use(name) for name in "abac"] == [1, 1, 0, 1]
    assert {path.name for path in (tmp_path / "objects").iterdir()} == {sha256["a"], sha256["c"]}


def test_the_temporary_file_of_a_killed_process_is_never_read_and_is_deleted_later(tmp_path: Path) -> None:
    program = f"""
import hashlib, os, signal
from pathlib import Path
from signet.store.cache import Cache
replace = Path.replace
Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
data = bytes(100_000)
Cache(Path({str(tmp_path)!r})).copy(hashlib.sha256(data).hexdigest(), lambda: data, "k")
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = (tmp_path / "objects").iterdir()
    source = Source(bytes(100_000))
    Cache(tmp_path).copy(hashlib.sha256(source.data).hexdigest(), source, "k")
    assert source.asked == 1
    assert left.exists()
    os.utime(left, (0, 0))
    Cache(tmp_path).copy(SHA256, Source(), "k")
    assert not left.exists()


def test_notes_are_stored_by_name_and_replaced_as_a_whole(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert not cache.get_note("n")
    cache.put_note("n", "one")
    cache.put_note("n", "two")
    cache.put_note("m", "other")
    assert (Cache(tmp_path).get_note("n"), Cache(tmp_path).get_note("m")) == ("two", "other")


def test_the_notes_of_a_directory_store_are_not_among_its_objects(directory_store: DirectoryStore) -> None:
    directory_store.cache.put_note("n", "text")
    assert directory_store.cache.get_note("n") == "text"
    assert list(directory_store.list("")) == []


def test_the_cache_is_in_the_users_cache_directory_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SIGNET_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert StoreSettings().cache == tmp_path / ".cache/signet"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert StoreSettings().cache == tmp_path / "caches/signet"
    monkeypatch.setenv("SIGNET_CACHE", str(tmp_path / "mine"))
    assert StoreSettings().cache == tmp_path / "mine"
