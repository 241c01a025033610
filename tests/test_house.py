"""The tree as a whole: generated code is current, the contracts hold, and the checks that everyone runs are green."""

import ast
import importlib
import importlib.util
import os
import pkgutil
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import services
import signet
from docs.make_api import PAGE, Page, read_contract
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


def test_the_contract_breaks_no_client_of_the_last_release() -> None:
    """The contract of the release is a file, so that the check needs neither tags nor history."""
    release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"## {release}" in (ROOT / "CHANGELOG.md").read_text()
    _run("buf", "breaking", "--against", f"proto/{release}.binpb")


def test_a_change_that_breaks_clients_is_found(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    path = tmp_path / "proto/signet/v1/evaluator.proto"
    path.write_text(path.read_text().replace("uint32 top_k = 3;", "string top_k = 3;"))
    (against,) = (ROOT / "proto").glob("*.binpb")
    command = [str(BIN / "buf"), "breaking", "--against", str(against)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert 'Field "3" with name "top_k" on message "RecognizeRequest" changed type' in done.stdout


def test_the_page_of_the_api_is_that_of_the_contract() -> None:
    assert PAGE.read_text() == Page(read_contract()).text(), "run `make proto`"


def test_import_contracts_hold() -> None:
    _run("lint-imports", "--no-cache")


def test_the_code_is_linted() -> None:
    _run("ruff", "check", ".")


def test_the_code_is_formatted() -> None:
    _run("ruff", "format", "--check", ".")


def test_the_types_are_strict_and_right() -> None:
    _run("mypy")


# Source files that people write: no tests, and nothing that a tool generates.
SOURCES = [
    path
    for folder in ("signet", "services", "bench", "deploy", "docs")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "_pb2" not in path.name
]
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_MODULES = 400, 60, 16
# What a clone may have at most: see CONTRIBUTING.md. The trainer is the largest service.
MAX_PYTHON_LINES, MAX_TRAINER_LINES = 74_000, 12_500
# The training loop is read from top to bottom.
MAX_LOOP_LINES, MAX_LOOP_IMPORTS = 250, 12


def _lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_no_file_is_too_long() -> None:
    assert [str(path) for path in SOURCES if _lines(path) > MAX_FILE_LINES] == []


def test_no_function_is_too_long() -> None:
    """The descriptions of dashboards in deploy/grafana are tables, and may be longer."""
    long = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in SOURCES
        if ROOT / "deploy/grafana" not in path.parents
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > MAX_FUNCTION_LINES
    ]
    assert long == []


def test_no_folder_has_too_many_modules() -> None:
    folders = Counter(path.parent for path in SOURCES if path.name != "__init__.py")
    assert [str(folder) for folder, count in folders.items() if count > MAX_MODULES] == []


def test_no_class_name_is_declared_twice() -> None:
    declared: dict[str, set[str]] = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                declared.setdefault(node.name, set()).add(str(path.relative_to(ROOT)))
    assert {name: places for name, places in declared.items() if len(places) > 1} == {}


def test_the_code_stays_small() -> None:
    python = {path: _lines(path) for path in SOURCES}
    assert sum(python.values()) <= MAX_PYTHON_LINES
    trainer = ROOT / "services/trainer"
    assert sum(lines for path, lines in python.items() if trainer in path.parents) <= MAX_TRAINER_LINES


def test_the_training_loop_is_short_and_imports_little() -> None:
    loop = ROOT / "services/trainer/training/loop.py"
    assert _lines(loop) <= MAX_LOOP_LINES
    own = [
        node
        for node in ast.parse(loop.read_text()).body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("signet", "services"))
    ]
    assert len(own) <= MAX_LOOP_IMPORTS


# The one package that writes to the terminal.
PRINTS = ROOT / "signet/terminal"


def _direct_output(tree: ast.AST) -> Iterator[str]:
    """What a module prints without `signet.terminal`: it could parse data as markup, or fail on a character."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (name for name in names if name.partition(".")[0] in {"rich", "click"})
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if (
                called == "print"
                or called.startswith(("typer.echo", "typer.secho", "typer.style", "sys.stdout.", "sys.stderr."))
                or called.endswith((".print", "StreamHandler"))
                # PyAV's `seek` takes a stream of a video.
                or (any(word.arg == "stream" for word in node.keywords) and not called.endswith(".seek"))
            ):
                yield f"{called} in line {node.lineno}"


def test_only_one_package_prints() -> None:
    found = {
        str(path.relative_to(ROOT)): direct
        for path in SOURCES
        if PRINTS not in path.parents and (direct := list(_direct_output(ast.parse(path.read_text()))))
    }
    assert found == {}, "use signet.terminal.output: names are never markup there, and control characters are escaped"


# Tests of a scenario that involves several modules; all others have the name of the module that they test.
SCENARIOS = {
    "services/evaluator/reports/test_run_report.py",
    "services/evaluator/test_cancelled_calls.py",
    "services/evaluator/test_process.py",
    "services/evaluator/test_stream_faults.py",
    "services/evaluator/versions/test_bundled_model.py",
    "services/standalone/test_commands.py",
    "services/evaluator/test_reloads.py",
    "services/evaluator/test_kills.py",
    "services/evaluator/test_store_faults.py",
    "services/extractor/importing/test_fuzz.py",
    "services/extractor/jobs/test_interruption.py",
    "services/extractor/test_restart.py",
    "services/extractor/tracking/pipeline/test_fidelity.py",
    "services/extractor/video/test_bombs.py",
    "services/test_secured_processes.py",
    "services/trainer/features/test_phonology_values.py",
    "services/trainer/model/test_sign_model_branches.py",
    "services/trainer/runs/test_interruption.py",
    "services/trainer/training/test_accuracy.py",
    "signet/landmarks/test_golden.py",
    "signet/store/test_store.py",
}


def test_the_path_of_a_test_mirrors_the_path_of_its_module() -> None:
    mirrored = {"services", "signet", "bench"}
    lost = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        place = path.relative_to(ROOT / "tests")
        module = ROOT / place.parent / place.name.removeprefix("test_")
        if place.parts[0] in mirrored and not module.is_file() and place.as_posix() not in SCENARIOS:
            lost.append(place.as_posix())
    assert lost == []


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


@pytest.mark.parametrize("module", ["signet", "signet.client", "signet.rpc.client", "signet.landmarks", "services.cli"])
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
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    # `pip freeze` leaves setuptools out.
    locked = {line.split()[0].lower() for line in lines if "==" in line and not line.startswith("setuptools==")}
    assert locked <= installed, "run `make` again, or bring requirements.lock up to date"
    # Where pip takes torch from PyPI it is the CUDA build, which brings these.
    cuda = ("nvidia-", "cuda-", "triton")
    assert [line for line in sorted(installed - locked) if not line.startswith(cuda)] == [], "not in requirements.lock"
