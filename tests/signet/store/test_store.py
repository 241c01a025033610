"""The interface of a store, tested with a directory and with a real S3 server."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from services.local.seaweedfs import LocalStore
from signet.errors import AlreadyExists, Conflict, InvalidInput, InvalidSetting, NotFound, SignetError, Unavailable
from signet.store import DirectoryStore, ObjectStore, StoreSettings, open_store
from signet.store.__main__ import wait_for_store
from signet.store.s3 import S3Store

WRITERS = 8


def test_an_object_is_read_as_it_was_put(object_store: ObjectStore) -> None:
    data = os.urandom(300_000)
    object_store.put("a/b/c.bin", data)
    assert object_store.get("a/b/c.bin") == data
    info = object_store.stat("a/b/c.bin")
    assert info is not None
    assert (info.key, info.size) == ("a/b/c.bin", len(data))


def test_a_large_object_is_read_as_it_was_put(object_store: ObjectStore) -> None:
    data = os.urandom(11 << 20)
    object_store.put("large", data)
    assert object_store.get("large") == data


@pytest.mark.parametrize("write", ["put", "create"])
def test_a_writer_that_dies_before_it_has_sent_the_data_leaves_no_object(
    new_bucket: Callable[..., S3Store], write: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = new_bucket()
    data = os.urandom(60_000)

    def send_only_headers(method: str, url: str, headers: dict[str, str], **_: object) -> None:
        parts = urlsplit(url)
        lines = [
            f"{method} {parts.path}?{parts.query} HTTP/1.1",
            f"Host: {parts.netloc}",
            f"Content-Length: {len(data)}",
        ]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        with socket.create_connection((parts.hostname or "", parts.port or 0)) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode())
            time.sleep(0.2)
        raise Unavailable("the writer died")

    monkeypatch.setattr(store._http, "request", send_only_headers)
    with pytest.raises(Unavailable):
        getattr(store, write)("k", data)
    monkeypatch.undo()
    time.sleep(0.5)
    assert store.stat("k") is None
    store.create("k", data)
    assert store.get("k") == data


def test_an_empty_object_exists(object_store: ObjectStore) -> None:
    object_store.put("empty", b"")
    assert object_store.get("empty") == b""
    assert object_store.stat("empty") is not None


def test_the_first_bytes_of_an_object_are_read(object_store: ObjectStore) -> None:
    object_store.put("k", b"0123456789")
    assert object_store.get_head("k", 4) == b"0123"
    assert object_store.get_head("k", 100) == b"0123456789"


def test_a_created_an_opened_and_a_listed_object_have_the_same_etag(object_store: ObjectStore) -> None:
    created = object_store.create("k", b"0123456789")
    assert object_store.get_head_versioned("k", 4) == (b"0123", created)
    assert [info.etag for info in object_store.list("k")] == [created]
    replaced = object_store.replace("k", b"9876543210", created)
    assert object_store.get_head_versioned("k", 4) == (b"9876", replaced)
    assert replaced != created


def test_putting_again_replaces_and_changes_the_etag(object_store: ObjectStore) -> None:
    object_store.put("k", b"one")
    first = object_store.stat("k")
    object_store.put("k", b"two")
    second = object_store.stat("k")
    assert object_store.get("k") == b"two"
    assert first is not None
    assert second is not None
    assert first.etag != second.etag


@pytest.mark.parametrize("read", ["get", "get_versioned"])
def test_a_missing_object_is_not_found_and_its_key_is_named(object_store: ObjectStore, read: str) -> None:
    with pytest.raises(NotFound, match="nobody/put/this"):
        getattr(object_store, read)("nobody/put/this")
    with pytest.raises(NotFound):
        object_store.get_head("nobody/put/this", 10)
    assert object_store.stat("nobody/put/this") is None


def test_a_created_object_is_immutable(object_store: ObjectStore) -> None:
    object_store.create("k", b"first")
    with pytest.raises(AlreadyExists, match="immutable"):
        object_store.create("k", b"second")
    assert object_store.get("k") == b"first"


def test_replace_needs_the_etag_that_was_read(object_store: ObjectStore) -> None:
    object_store.create("k", b"one")
    data, etag = object_store.get_versioned("k")
    assert data == b"one"
    object_store.replace("k", b"two", etag)
    with pytest.raises(Conflict, match="Read it again"):
        object_store.replace("k", b"three", etag)
    assert object_store.get("k") == b"two"


def test_replacing_a_missing_object_is_a_conflict(object_store: ObjectStore) -> None:
    with pytest.raises(Conflict):
        object_store.replace("nothing", b"x", "0" * 32)
    assert object_store.stat("nothing") is None


def test_a_listing_holds_every_key_of_the_prefix_in_order(object_store: ObjectStore) -> None:
    keys = ["x/1", "x/10", "x/2/deep", "xy/1", "y"]
    for key in reversed(keys):
        object_store.put(key, b"data")
    assert [info.key for info in object_store.list("x/")] == ["x/1", "x/10", "x/2/deep"]
    assert [info.key for info in object_store.list("x")] == keys[:4]
    assert [info.key for info in object_store.list("nothing/")] == []
    assert all(info.size == 4 for info in object_store.list("x/"))


def test_a_listing_goes_on_past_a_thousand_keys(object_store: ObjectStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: object_store.put(f"many/{n:04}", b""), range(1050)))
    assert [info.key for info in object_store.list("many/")] == [f"many/{n:04}" for n in range(1050)]


def test_a_listing_has_the_same_etags_as_stat(object_store: ObjectStore) -> None:
    object_store.put("k", b"data")
    info = object_store.stat("k")
    assert info is not None
    assert [found.etag for found in object_store.list("k")] == [info.etag]


def test_deleting_twice_is_no_error(object_store: ObjectStore) -> None:
    object_store.put("k", b"data")
    object_store.delete("k")
    object_store.delete("k")
    assert object_store.stat("k") is None


def _race(writers: Iterable[Callable[[], None]], lost: type[SignetError]) -> int:
    """Start all writers at the same time; the number of writers that succeeded. Errors other than `lost` are raised."""
    tasks = list(writers)
    gate = threading.Barrier(len(tasks))

    def run(write: Callable[[], None]) -> bool:
        gate.wait()
        try:
            write()
        except lost:
            return False
        return True

    with ThreadPoolExecutor(len(tasks)) as pool:
        return sum(pool.map(run, tasks))


@pytest.mark.parametrize("attempt", range(2))
def test_of_many_creators_one_wins(object_store: ObjectStore, attempt: int) -> None:
    key = f"race/{attempt}"
    won = _race([lambda n=n: object_store.create(key, f"writer {n}".encode()) for n in range(WRITERS)], AlreadyExists)  # type: ignore[misc]
    assert won == 1
    assert object_store.get(key).startswith(b"writer ")


@pytest.mark.parametrize("attempt", range(2))
def test_of_many_replacers_one_wins(object_store: ObjectStore, attempt: int) -> None:
    key = f"race/{attempt}"
    object_store.create(key, b"start")
    _, etag = object_store.get_versioned(key)
    won = _race([lambda n=n: object_store.replace(key, f"writer {n}".encode(), etag) for n in range(WRITERS)], Conflict)  # type: ignore[misc]
    assert won == 1
    assert object_store.get(key).startswith(b"writer ")


def test_a_wrong_secret_is_refused_and_the_settings_to_check_are_named(new_bucket: Callable[..., S3Store]) -> None:
    new_bucket()
    with pytest.raises(Unavailable, match="SIGNET_S3_SECRET_KEY"):
        new_bucket("not-the-secret")


def test_a_store_that_does_not_answer_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        S3Store("127.0.0.1:1", "bucket", "user", "secret", secure=False)


def test_the_error_for_an_unusable_store_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="names no store"):
        open_store(StoreSettings(store="ftp://host/bucket"))
    with pytest.raises(InvalidSetting, match="names no store"):
        open_store(StoreSettings(store="http://host:1/bucket/and/more"))
    with pytest.raises(InvalidSetting, match="bucket name"):
        open_store(StoreSettings(store="http://host:1/b", s3_access_key="a", s3_secret_key=SecretStr("s")))
    with pytest.raises(InvalidSetting, match="SIGNET_S3_ACCESS_KEY"):
        open_store(StoreSettings(store="http://host:1/bucket"))
    assert isinstance(open_store(StoreSettings(store=f"file:{tmp_path}/new")), DirectoryStore)


def test_settings_open_an_s3_store(s3_server: LocalStore) -> None:
    given = s3_server.environment
    settings = StoreSettings(
        store=given["SIGNET_STORE"],
        s3_access_key=given["SIGNET_S3_ACCESS_KEY"],
        s3_secret_key=SecretStr(given["SIGNET_S3_SECRET_KEY"]),
    )
    assert isinstance(open_store(settings), S3Store)
    assert given["SIGNET_S3_SECRET_KEY"] not in repr(settings)


def test_the_secret_may_be_in_a_file(s3_server: LocalStore, tmp_path: Path) -> None:
    given = s3_server.environment
    file = tmp_path / "secret-key"
    settings = StoreSettings(
        store=given["SIGNET_STORE"], s3_access_key=given["SIGNET_S3_ACCESS_KEY"], s3_secret_key_file=file
    )
    with pytest.raises(InvalidSetting, match=r"SIGNET_S3_SECRET_KEY_FILE=.*secret-key: cannot be read"):
        open_store(settings)
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        file.write_bytes(f"{given['SIGNET_S3_SECRET_KEY']}\r\n".encode(encoding))
        assert settings.secret() == given["SIGNET_S3_SECRET_KEY"]
        assert isinstance(open_store(settings), S3Store)
    file.write_bytes(bytes(range(128, 256)))
    with pytest.raises(InvalidSetting, match="it is no text"):
        open_store(settings)


def test_preparing_a_store_makes_its_bucket_and_leaves_no_object(s3_server: LocalStore) -> None:
    environment = s3_server.environment | {"SIGNET_STORE": s3_server.url.rpartition("/")[0] + "/fresh-bucket"}
    command = [sys.executable, "-m", "signet.store"]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1].endswith("/fresh-bucket is ready")
    settings = {key.removeprefix("SIGNET_").lower(): value for key, value in environment.items()}
    assert list(open_store(StoreSettings.model_validate(settings)).list("")) == []


def test_preparing_a_missing_store_logs_what_it_waits_for_and_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = StoreSettings(store="http://127.0.0.1:9/bucket", s3_access_key="a", s3_secret_key=SecretStr("s"))
    with caplog.at_level("INFO"), pytest.raises(Unavailable, match="cannot be reached"):
        wait_for_store(settings, seconds=2.5)
    assert [record.message.startswith("waiting: ") for record in caplog.records if record.name == "signet.store"] == [
        True
    ], "once, not at every attempt"


@pytest.mark.parametrize("key", ["../outside", "a/../../outside", "/etc/outside"])
def test_no_key_leads_out_of_the_directory(directory_store: DirectoryStore, tmp_path: Path, key: str) -> None:
    for call in (
        lambda: directory_store.put(key, b"x"),
        lambda: directory_store.create(key, b"x"),
        lambda: directory_store.get(key),
        lambda: directory_store.stat(key),
        lambda: directory_store.delete(key),
    ):
        with pytest.raises(InvalidInput, match="leads out of the store"):
            call()
    assert not (tmp_path / "outside").exists()


def test_a_symlink_does_not_lead_out_of_the_directory_either(directory_store: DirectoryStore, tmp_path: Path) -> None:
    (directory_store.root / "link").symlink_to(tmp_path)
    with pytest.raises(InvalidInput):
        directory_store.put("link/outside", b"x")


def test_a_write_leaves_no_temporary_file(directory_store: DirectoryStore) -> None:
    directory_store.put("a/k", b"1")
    directory_store.create("a/l", b"1")
    with pytest.raises(AlreadyExists):
        directory_store.create("a/l", b"2")
    assert sorted(path.name for path in (directory_store.root / "a").iterdir()) == ["k", "l"]


def test_a_directory_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(Unavailable):
        DirectoryStore(tmp_path / "file" / "store")


def test_the_local_server_loses_no_object_if_it_is_killed(tmp_path: Path) -> None:
    server = LocalStore(tmp_path)
    data = {f"k/{n}": os.urandom(20_000) for n in range(30)}
    server.start()
    try:
        store = server.open()
        for key, value in data.items():
            store.put(key, value)
        os.kill(server.pid, signal.SIGKILL)
        server.stop()
        server.start()
        store = server.open()
        assert {info.key: store.get(info.key) for info in store.list("k/")} == data
    finally:
        server.stop()
    assert (tmp_path / "secret").stat().st_mode & 0o077 == 0
