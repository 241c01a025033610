"""The documentation is checked against the code: every command, option, make target, path and link in it exists."""

import ast
import importlib
import re
import shlex
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from services.cli import COMMANDS, command_module
from services.cli import app as root_app
from services.evaluator.settings import EvaluatorSettings
from services.extractor.settings import ExtractorSettings
from services.trainer.settings import TrainerSettings
from tests.conftest import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
# These two pages also name options of older versions, which are removed.
HISTORY = {"experiments.md", "CHANGELOG.md"}
# Options of other programs that the pages quote.
FOREIGN = {
    "--address", "--force-reinstall", "--head",
    "--build-arg", "--cached", "--detach", "--entrypoint", "--exclude-source-info", "--follow", "--for",
    "--from-file", "--from-literal",
    "--hard", "--ignore-not-found", "--network", "--no-cache", "--no-deps", "--no-start", "--nproc-per-node",
    "--output",
    "--prefix", "--rm", "--secret", "--tail", "--timeout",
    "--user", "--volumes", "--watch",
}  # fmt: skip

# A command as a page writes it: indented by four spaces, or between backticks.
_COMMAND = re.compile(r"^    ((?:signet|make|python -m) [^\n]*)$|`((?:signet|make|python -m) [^`\n]+)`", re.MULTILINE)
_OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z-]+)")


@cache
def _command(name: str) -> Any:
    """A `signet` command as Typer parses it."""
    if name in COMMANDS:
        group: Any = typer.main.get_command(importlib.import_module(command_module(name)).app)
    else:
        group = typer.main.get_command(root_app)
    command = group.commands.get(name)
    assert command is not None, f"`signet {name}` does not exist"
    return command


def _options(name: str, words: Sequence[str] = ()) -> set[str]:
    """The options of a command; of its subcommand, if it has any and the first of these words names one."""
    command = _command(name)
    subcommands: dict[str, Any] = getattr(command, "commands", {})
    if subcommands and words and re.fullmatch("[a-z]+", words[0]):
        assert words[0] in subcommands, f"`signet {name} {words[0]}` does not exist"
        command = subcommands[words[0]]
    return {"--help"} | {
        option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
    }


@cache
def _known_options() -> frozenset[str]:
    """The options of all commands, services and benchmarks, and of the other programs that we quote."""
    known = FOREIGN | {"--help", "--version"}
    for name in (*COMMANDS, "up", "demo", "token"):
        known |= _options(name)
        for subcommand in getattr(_command(name), "commands", {}):
            known |= _options(name, [subcommand])
    for settings in (ExtractorSettings, TrainerSettings, EvaluatorSettings):
        known |= {"--" + field.replace("_", "-") for field in settings.model_fields}
    for program in ROOT.glob("bench/**/*.py"):
        known |= set(re.findall(r'"(--[a-z-]+)"', program.read_text()))
    return frozenset(known)


def _commands(page: Path) -> list[str]:
    """The commands of a page, without comments and continuation marks."""
    text = page.read_text()
    found = [first or second for first, second in _COMMAND.findall(text)]
    return [command.split("  #")[0].split(" # ")[0].strip() for command in found]


def _signet_words(command: str) -> list[str] | None:
    """The words after `signet`; None for other programs and for `signet --help`."""
    words = shlex.split(command.replace("...", "").replace("…", ""), comments=True)
    return words[1:] if words[0] == "signet" and len(words) > 1 and not words[1].startswith("-") else None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_signet_command_of_a_page_exists_with_its_options(page: Path) -> None:
    if page.name in HISTORY:
        pytest.skip("quotes commands of older versions")
    for command in _commands(page):
        words = _signet_words(command)
        if words is None:
            continue
        unknown = {word.split("=")[0] for word in words[1:] if word.startswith("--")} - _options(words[0], words[1:])
        assert not unknown, f"{page.name}: `{command}` has unknown options {sorted(unknown)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_and_module_of_a_page_exists(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    for command in _commands(page):
        words = shlex.split(command, comments=True)
        if words[0] == "make":
            named = [word for word in words[1:] if "=" not in word and re.fullmatch("[a-z-]+", word)]
            assert set(named) <= targets, f"{page.name}: `{command}`"
        elif words[0] == "python" and not words[2].startswith("grpc"):
            path = ROOT / words[2].replace(".", "/")
            assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), f"{page.name}: `{command}`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_that_a_page_names_exists(page: Path) -> None:
    if page.name in HISTORY:
        pytest.skip("quotes options of older versions")
    unknown = set(_OPTION.findall(page.read_text())) - _known_options()
    assert not unknown, f"{page.name}: {sorted(unknown)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_and_link_of_a_page_exists(page: Path) -> None:
    text = page.read_text()
    links = [target.split("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    missing = [target for target in links if target and not (page.parent / target).exists()]
    assert not missing, f"{page.name}: broken links {missing}"
    if page.name in HISTORY:
        return
    paths = re.findall(r"`((?:services|signet|tests|bench|deploy|docs|proto)/[\w./-]*)`", text)
    own = "deploy/k8s/overlays/own/"  # a reader's own overlay
    missing = [path for path in paths if not (ROOT / path).exists() and not path.startswith(own)]
    assert not missing, f"{page.name}: missing paths {missing}"


def test_every_file_that_the_architecture_page_names_exists() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    files = set(re.findall(r"`((?:\w+/)*\w+\.py)`", text))
    tree = [path.relative_to(ROOT).as_posix() for path in ROOT.glob("[st]*/**/*.py")]
    missing = [name for name in files if not any(path == name or path.endswith("/" + name) for path in tree)]
    assert not missing


def test_the_reference_pages_stay_short() -> None:
    words = {page.name: len(page.read_text().split()) for page in PAGES}
    assert words["recognition.md"] <= 3000
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def _sentences(source: Path) -> Iterator[str]:
    """The text constants of a Python file, docstrings among them. In an f-string, `X` stands for each value."""
    tree = ast.parse(source.read_text())
    parts: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts |= {id(part) for part in ast.walk(node)}
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.value


def _recommending_texts() -> Iterator[tuple[str, str]]:
    """The path and the text of everything outside the pages that can recommend a command."""
    for folder in ("bench", "deploy", "docs", "services", "signet", "tests"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "_pb2" not in path.name and path != Path(__file__):
                yield from ((str(path.relative_to(ROOT)), text) for text in _sentences(path))
    for pattern in ("proto/**/*.proto", "services/**/*.html", "deploy/**/*.yaml", "deploy/**/*.yml", "*.yml", ".env.*"):
        yield from ((str(path.relative_to(ROOT)), path.read_text()) for path in sorted(ROOT.glob(pattern)))


# `signet` and a word, where a message or a docstring recommends a command. Paths and module names are not meant.
_RECOMMENDED = re.compile(r"(?<![\w/.'-])signet ([a-z][\w-]*)((?: [^\s`'\"();,]+)*)")


def test_every_command_that_a_message_recommends_exists_with_its_options() -> None:
    found = set()
    for place, text in _recommending_texts():
        for name, rest in _RECOMMENDED.findall(text):
            options = _options(name, rest.split())  # fails if there is no such command
            found.add(name)
            unknown = {word.split("=")[0].rstrip(".:") for word in rest.split() if word.startswith("--")} - options
            assert not unknown, f"{place}: `signet {name}{rest}` has unknown options {sorted(unknown)}"
    assert {"extract", "train", "runs", "evaluate", "up"} <= found


def test_every_option_and_make_target_that_a_message_recommends_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    for place, text in _recommending_texts():
        if not place.startswith(("services/", "signet/", "bench/")) or " " not in text:
            continue
        if "{" in text or "://" in text:  # a style sheet
            continue
        unknown = set(_OPTION.findall(text)) - _known_options() - {"--at"}  # a variable of a style sheet
        assert not unknown, f"{place}: {text!r} names unknown options {sorted(unknown)}"
        named = set(re.findall(r"`make ([a-z-]+)", text))
        assert named <= targets, f"{place}: {text!r}"


def test_a_recommendation_of_a_missing_command_is_found() -> None:
    (name, _) = _RECOMMENDED.findall("No clips. `signet harvest` downloads more.")[0]
    with pytest.raises(AssertionError, match="`signet harvest` does not exist"):
        _options(name)
    assert _RECOMMENDED.findall("signet evaluate --run X") == [("evaluate", " --run X")]
