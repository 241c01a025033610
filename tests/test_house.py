"""The tree as a whole: generated code is current, the contracts hold, and the checks that everyone runs are green."""

import importlib
import importlib.util
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import services
import signet
from tests.conftest import ROOT

BIN = Path(sys.executable).parent


def _run(*command: str) -> None:
    """Run one of the environment's own tools; its output is the failure's message."""
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}\n{done.stderr}"


def test_generated_stubs_are_those_of_the_contract(tmp_path: Path) -> None:
    protos = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "proto").rglob("*.proto"))
    out = [f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", f"--grpc_python_out={tmp_path}"]
    _run("python", "-m", "grpc_tools.protoc", "-Iproto", *out, *protos)
    fresh = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*_pb2*")}
    kept = {path.relative_to(ROOT): path.read_text() for path in (ROOT / "signet/v1").glob("*_pb2*.py*")}
    assert fresh.keys() == kept.keys(), "run `make proto`"
    assert [str(path) for path, text in fresh.items() if kept[path] != text] == [], "run `make proto`"


def test_the_contract_is_linted() -> None:
    _run("buf", "lint")


def test_import_contracts_hold() -> None:
    _run("lint-imports", "--no-cache")


def test_the_code_is_linted() -> None:
    _run("ruff", "check", ".")


def test_the_code_is_formatted() -> None:
    _run("ruff", "format", "--check", ".")


def test_the_types_are_strict_and_right() -> None:
    _run("mypy")


def _packages() -> list[str]:
    return [
        module.name
        for root in (signet, services)
        for module in pkgutil.walk_packages(root.__path__, f"{root.__name__}.")
        if module.ispkg and module.name != "signet.v1"
    ]


@pytest.mark.parametrize("name", _packages())
def test_a_package_says_what_it_offers_and_offers_what_it_says(name: str) -> None:
    package = importlib.import_module(name)
    assert package.__doc__, f"{name} has no docstring"
    offered = {
        attribute
        for attribute, value in vars(package).items()
        if not attribute.startswith("_") and getattr(value, "__module__", name).startswith(("signet", "services"))
    }
    offered -= {module.name for module in pkgutil.iter_modules(package.__path__)}
    declared = getattr(package, "__all__", [])
    assert sorted(declared, key=_constants_first) == list(declared), f"{name}.__all__ is not in order"
    assert all(hasattr(package, attribute) for attribute in declared)
    assert offered <= set(declared), f"{name}.__all__ lacks {sorted(offered - set(declared))}"


def _constants_first(name: str) -> tuple[int, str]:
    """The order of ruff's RUF022: constants, classes, the rest."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


@pytest.mark.parametrize("module", ["signet", "signet.rpc.client", "signet.landmarks", "services.cli"])
def test_a_client_loads_neither_torch_nor_mediapipe(module: str) -> None:
    heavy = "{'torch', 'mediapipe', 'cv2', 'onnxruntime', 'jinja2'}"
    program = f"import sys, {module}; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == ""


def test_everything_installed_is_locked() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "freeze", "--exclude-editable"], capture_output=True, text=True, check=True
    )
    # A wheel may be another build of the same version (torch 2.13.0+cpu).
    installed = {line.split("+")[0].lower() for line in done.stdout.splitlines() if "==" in line}
    locked = {line.strip().lower() for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line}
    assert locked <= installed, "run `make` again, or bring requirements.lock up to date"
    # Where pip takes torch from PyPI it is the CUDA build, which brings these.
    cuda = ("nvidia-", "cuda-", "triton")
    assert [line for line in sorted(installed - locked) if not line.startswith(cuda)] == [], "not in requirements.lock"
