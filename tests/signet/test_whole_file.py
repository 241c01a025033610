"""Files are written completely or not at all."""

import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from signet.whole_file import OWNER_ONLY, remove_unfinished_files, unfinished_file, write_whole_file

# Writes 100,000 bytes again and again, until it is killed.
WRITER = """
import itertools, sys
from pathlib import Path
from signet.whole_file import write_whole_file
print("ready", flush=True)
for number in itertools.count():
    write_whole_file(Path(sys.argv[1]), bytes([number % 256]) * 100_000)
"""
FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from signet.whole_file import write_whole_file
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    write_whole_file(Path(sys.argv[1]), bytes(100_000))
except OSError as error:
    print(error.strerror)
"""


def test_a_file_is_replaced_as_a_whole_and_keeps_the_usual_mode(tmp_path: Path) -> None:
    path, usual = tmp_path / "a.bin", tmp_path / "usual"
    usual.touch()
    assert write_whole_file(path, b"one") == 3
    assert write_whole_file(path, iter([b"t", b"", b"wo"])) == 3
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)
    write_whole_file(path, b"mine", OWNER_ONLY)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.bin", "usual"]


def test_an_error_on_the_way_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_whole_file(path, b"old")

    def parts() -> Iterator[bytes]:
        yield b"new"
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        write_whole_file(path, parts())
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == "File too large\n"
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("a.bin", b"old")]
    with pytest.raises(FileNotFoundError):
        write_whole_file(tmp_path / "none" / "a.bin", b"new")


def test_a_file_is_whole_if_its_writer_is_killed_and_the_rest_is_removed_later(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    for round_ in range(4):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.02 * round_)
            process.kill()
        if path.exists():
            data = path.read_bytes()
            assert data == data[:1] * 100_000
    with unfinished_file(path) as (_, running):
        for left in tmp_path.glob(".signet-*"):
            if left != running:
                os.utime(left, (0, 0))
        remove_unfinished_files(tmp_path.iterdir(), 60)
        assert set(tmp_path.iterdir()) <= {path, running}
        assert running.exists()
    assert not running.exists()
