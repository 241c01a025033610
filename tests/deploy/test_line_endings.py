"""Every text file has LF, also in a clone on Windows: containers and shells read the files of the working tree."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

# The settings of Git for Windows, and the stricter one of some editors.
WINDOWS = ("core.autocrlf=true", "core.eol=crlf")


def _git(*command: str) -> str:
    done = subprocess.run(["git", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"git {' '.join(command)}:\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def windows_clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This tree, committed and cloned as Git for Windows does it."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder = tmp_path_factory.mktemp("windows")
    origin, clone = folder / "origin.git", folder / "clone"
    _git("init", "--quiet", "--bare", str(origin))
    place = ("--git-dir", str(origin), "--work-tree", str(ROOT), "-c", "core.bare=false", "-c", "core.autocrlf=false")
    _git(*place, "add", "--all", str(ROOT))
    author = ("-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
    _git(*place, *author, "commit", "--quiet", "--message", "the tree")
    settings = [word for setting in WINDOWS for word in ("-c", setting)]
    _git("clone", "--quiet", *settings, str(origin), str(clone))
    return clone


def test_a_windows_clone_has_the_bytes_of_the_tree(windows_clone: Path) -> None:
    names = _git("-C", str(windows_clone), "ls-files", "-z").rstrip("\0").split("\0")
    assert "deploy/make-credentials" in names
    changed = [name for name in names if (windows_clone / name).read_bytes() != (ROOT / name).read_bytes()]
    assert changed == []


def test_every_script_of_a_windows_clone_is_read_by_its_shell(windows_clone: Path) -> None:
    scripts = [
        path
        for path in sorted(windows_clone.rglob("*"))
        if ".git" not in path.parts and path.is_file() and path.read_bytes()[:2] == b"#!"
    ]
    assert {"make-credentials", "debian-packages", "get-prometheus", "run"} <= {path.name for path in scripts}
    for script in scripts:
        shell = script.read_text().partition("\n")[0].split("/")[-1].split()[-1]
        done = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{script}: {done.stderr}"
        assert b"\r" not in script.read_bytes(), script


def test_no_file_of_the_tree_has_crlf(windows_clone: Path) -> None:
    """`i/` is the kind of line ends in the repository; binary files are `-text`, and empty ones `none`."""
    kinds = {line.split()[0] for line in _git("-C", str(windows_clone), "ls-files", "--eol").splitlines()}
    assert kinds <= {"i/lf", "i/-text", "i/none"}


def test_every_path_of_the_tree_can_be_cloned_on_windows(windows_clone: Path) -> None:
    names = _git("-C", str(windows_clone), "ls-files", "-z").rstrip("\0").split("\0")
    folded = [name.casefold() for name in names]
    assert len(set(folded)) == len(names), "two paths differ in case alone"
    reserved = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}
    for name in folded:
        assert not set(name) & set('<>:"|?*\\'), name
        parts = name.split("/")
        assert not any(part.partition(".")[0] in reserved or part.endswith((".", " ")) for part in parts), name
        assert len(name) < 180, f"{name}: Windows allows 260 characters with the directory of the clone"
