"""The local stack starts and stops all processes, and leaves none behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from services.local.child_processes import Child, free_ports
from services.local.seaweedfs import LocalStore
from services.local.stack import LocalService, LocalStack
from signet.errors import InvalidInput, NotReady, Unavailable
from tests.conftest import alive

STORE_PROGRAM = """
import sys, time
from pathlib import Path
from services.local.seaweedfs import LocalStore
with LocalStore(Path(sys.argv[1])) as store:
    print(store.pid, flush=True)
    time.sleep(600)
"""

GONE_SECONDS = 20


def _wait_gone(pid: int) -> None:
    deadline = time.monotonic() + GONE_SECONDS
    while psutil.pid_exists(pid) and alive([psutil.Process(pid)]):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.05)


def _listening(pid: int) -> set[str]:
    """The addresses on which a process listens. gRPC writes 127.0.0.1 as IPv6 does, ::ffff:127.0.0.1."""
    return {
        connection.laddr.ip.removeprefix("::ffff:")
        for connection in psutil.Process(pid).net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }


def test_free_ports_are_different_and_free() -> None:
    ports = free_ports(50)
    assert len(set(ports)) == 50


def test_the_store_listens_on_this_machine_only(s3_server: LocalStore) -> None:
    assert _listening(s3_server.pid) == {"127.0.0.1"}


def test_the_secret_is_not_on_the_command_line(s3_server: LocalStore) -> None:
    command = " ".join(psutil.Process(s3_server.pid).cmdline())
    assert s3_server.environment["SIGNET_S3_SECRET_KEY"] not in command


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_store_ends_when_its_parent_is_terminated_or_killed(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STORE_PROGRAM, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        store = int(parent.stdout.readline())
        assert psutil.pid_exists(store)
        parent.send_signal(number)
        parent.wait(GONE_SECONDS)
    _wait_gone(store)
    with LocalStore(tmp_path) as again:
        again.open().put("k", b"v")


def test_one_directory_serves_one_store_at_a_time(s3_server: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.local.seaweedfs._LOCK_SECONDS", 0.3)
    with pytest.raises(NotReady, match="in use by another Signet"):
        LocalStore(s3_server.folder).start()
    s3_server.open().put("still/there", b"")


def test_a_failed_start_of_the_store_shows_the_end_of_its_log(tmp_path: Path) -> None:
    (tmp_path / "seaweedfs").mkdir()
    (tmp_path / "seaweedfs/filerldb2").write_text("a file where the filer's directory should be")
    store = LocalStore(tmp_path)
    with pytest.raises(Unavailable, match=r"store: .*The end of .*store\.log"):
        store.start()
    assert store.pid == 0


def test_a_failed_start_of_a_service_shows_the_end_of_its_log(tmp_path: Path) -> None:
    service = LocalService("evaluator", {"SIGNET_STORE": "ftp://nowhere"}, tmp_path / "evaluator.log")
    service.start()
    try:
        with pytest.raises(Unavailable, match=r"(?s)evaluator: did not start; its exit status is 1.*ftp://nowhere"):
            service.wait_ready()
    finally:
        service.stop()


def test_a_child_that_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    program = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "child = subprocess.Popen([sys.executable, '-c', 'import signal, time; "
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)']); "
        "print(child.pid, flush=True); time.sleep(600)"
    )
    child = Child("stubborn", [sys.executable, "-c", program], {}, tmp_path / "log")
    child.wait_until(lambda: bool(child.log_tail()), 20)
    grandchild = int(child.log_tail())
    child.stop(0.3)
    assert not child.running
    _wait_gone(grandchild)


def test_the_stack_starts_and_stops_all_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Settings of the shell for servers elsewhere do not reach the services.
    for name in ("SIGNET_TLS_CERTIFICATE", "SIGNET_TOKENS_FILE", "SIGNET_CLIENT_CA", "SIGNET_CLIENT_TOKEN_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "missing"))
    with LocalStack(tmp_path, tmp_path / "no-clips") as stack:
        pids = stack.pids
        assert set(pids) == {"store", "extractor", "trainer", "evaluator"}
        everything = [child for pid in pids.values() for child in psutil.Process(pid).children(recursive=True)]
        for name in ("extractor", "trainer", "evaluator"):
            assert _listening(pids[name]) == {"127.0.0.1"}, name
        os.kill(pids["trainer"], signal.SIGKILL)
        with pytest.raises(Unavailable, match=r"trainer: has ended; its exit status is -9"):
            stack.watch()
    for pid in [*pids.values(), *(child.pid for child in everything)]:
        _wait_gone(pid)


def test_a_tilde_is_the_home_directory_and_no_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No shell expands the ~ of --data=~/x."""
    monkeypatch.setenv("HOME", str(tmp_path))
    stack = LocalStack(Path("~/data"), Path("~/clips"))
    assert stack.logs == tmp_path / "data/logs"
    assert stack.store.folder == tmp_path / "data/store"
    with pytest.raises(InvalidInput, match="~no-such-user-here has no home directory"):
        LocalStack(Path("~no-such-user-here/x"), tmp_path)
