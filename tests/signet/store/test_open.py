"""Which store a URL names; that ~ is the home directory; that only a command that writes makes a store."""

import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from services.local.seaweedfs import LocalStore
from signet.errors import InvalidSetting, NotFound, Unavailable
from signet.store import DirectoryStore, StoreSettings, open_store
from tests.signet.store.conftest import RunSignet

not_as_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")


def directory(url: str) -> Path:
    store = open_store(StoreSettings(store=url))
    assert isinstance(store, DirectoryStore)
    return store.root


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:~/x", "home/x"),
        ("file:~", "home"),
        ("file://~/x", "home/x"),
        ("file:x", "here/x"),
        ("file:./x/../y", "here/x/../y"),
        (" file:x\r\n", "here/x"),
        ("FILE:x", "here/x"),
        ("file:a b", "here/a b"),
        ("file:a%20b", "here/a b"),
        ("file:a#b?c", "here/a#b?c"),
        ("file:x~y/~", "here/x~y/~"),
        ("file:{root}/x", "x"),
        ("file://{root}/x", "x"),
        ("file://localhost{root}/x", "x"),
    ],
)
def test_a_file_url_names_a_directory_and_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, path: str
) -> None:
    for folder in ("home", "here"):
        (tmp_path / folder).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    assert directory(url.format(root=tmp_path)) == tmp_path / path
    assert list((tmp_path / "home").iterdir()) == list((tmp_path / "here").iterdir()) == []


def test_the_home_directory_of_a_user_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pwd  # noqa: PLC0415

    user = pwd.getpwuid(os.geteuid())
    monkeypatch.chdir(tmp_path)
    assert directory(f"file:~{user.pw_name}/signet-none/x") == Path(user.pw_dir) / "signet-none/x"
    with pytest.raises(InvalidSetting, match=r"~no-such-user-here has no home directory"):
        directory("file:~no-such-user-here/x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("file:", "names no directory"),
        (
            "file://data/store",
            "names the host 'data'.*Write file:data/store for a relative path, or file:///data/store",
        ),
        ("file:a\0b", "names no directory"),
        ("data/store", r"For the directory data/store this is file:data/store\."),
        ("~/x", r"this is file:~/x\."),
        ("s3://bucket", r"https://s3\.<region>\.amazonaws\.com/bucket"),
        ("http://host:1", "names no store"),
        ("http://host:1/bucket?x=1", "names no store"),
        ("http://host:port/bucket", "names no store"),
        ("http://[::1/bucket", "names no store"),
        ("http://me:verysecret@host/bucket", r"//\*\*\*@host.*SIGNET_S3_ACCESS_KEY"),
    ],
)
def test_a_url_that_names_no_store_is_refused_with_what_to_write(url: str, words: str) -> None:
    with pytest.raises(InvalidSetting, match=words) as error:
        open_store(StoreSettings(store=url, s3_access_key="user", s3_secret_key=SecretStr("s")))
    assert "verysecret" not in str(error.value)


def test_the_first_write_makes_the_directory(tmp_path: Path) -> None:
    store = open_store(StoreSettings(store=f"file:{tmp_path}/a/b"), writable=True)
    assert list(store.list("")) == []
    assert store.stat("k") is None
    with pytest.raises(NotFound):
        store.get("k")
    store.delete("k")
    assert list(tmp_path.iterdir()) == []
    store.create("k", b"data")
    assert (tmp_path / "a/b/k").read_bytes() == b"data"


def test_a_store_that_must_exist_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"none: there is no store here\..*`signet extract`"):
        open_store(StoreSettings(store=f"file:{tmp_path}/none"), must_exist=True)
    (tmp_path / "notes.txt").write_text("a folder with other things")
    with pytest.raises(NotFound, match="there is no store here"):
        open_store(StoreSettings(store=f"file:{tmp_path}"), must_exist=True)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    (tmp_path / "empty").mkdir()
    assert list(open_store(StoreSettings(store=f"file:{tmp_path}/empty"), must_exist=True).list("")) == []


@pytest.mark.parametrize("place", ["file", "file/store"])
def test_a_file_in_the_place_of_the_directory_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(Unavailable, match=r"cannot be used as a store \(.*file is a file\)"):
        directory(f"file:{tmp_path}/{place}")


def test_links_in_a_circle_are_no_store(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(Unavailable, match="cannot be used as a store"):
        directory(f"file:{tmp_path}/a")


@pytest.mark.parametrize(
    "command",
    ["runs", "models", "reports", "reports x", "analyze latest", "analyze --keep x", "features c", "evaluate", "train"],
)
def test_a_command_that_needs_a_store_makes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_signet: RunSignet, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (line,) = run_signet(*command.split(), "--store", "file:tpyo/store").splitlines()
    assert line.startswith(f"error: file://{tmp_path}/tpyo/store: there is no store here. Check --store")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["extract", "import none"])
def test_a_command_that_fails_before_it_writes_makes_no_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_signet: RunSignet, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "none" in run_signet(*command.split(), "--store", "file:store", "--wlasl", "none")
    assert list(tmp_path.iterdir()) == []


def test_a_bucket_that_must_exist_is_not_made(
    s3_server: LocalStore, run_signet: RunSignet, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    url = f"{s3_server.url}-tpyo"
    for _ in range(2):
        message = run_signet("models", "--store", url)
        assert message.startswith(f"error: {url}: there is no store here: ")
        assert "has no bucket 'signet-tpyo'" in message


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a file system where even root can make no file")
def test_a_store_on_a_file_system_that_takes_no_files_is_named() -> None:
    with pytest.raises(Unavailable, match=r"file:///proc/signet/store: cannot (be written to|write)"):
        open_store(StoreSettings(store="file:/proc/signet/store"), writable=True).put("k", b"data")


@not_as_root
def test_a_directory_without_rights_is_named_and_does_not_look_empty(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    store.put("runs/k", b"data")
    (tmp_path / "store/runs").chmod(0o000)
    try:
        for call in (lambda: list(store.list("")), lambda: store.get("runs/k"), lambda: store.stat("runs/k")):
            with pytest.raises(Unavailable, match="Permission denied"):
                call()
    finally:
        (tmp_path / "store/runs").chmod(0o700)
    (tmp_path / "store").chmod(0o500)
    try:
        settings = StoreSettings(store=f"file:{tmp_path}/store")
        assert open_store(settings, must_exist=True).get("runs/k") == b"data"
        with pytest.raises(Unavailable, match="cannot be written to: this user has no right to it"):
            open_store(settings, writable=True)
    finally:
        (tmp_path / "store").chmod(0o700)
