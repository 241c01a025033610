"""The command line `signet` for all services. A service is imported only when one of its commands is called."""

import importlib
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from services import token_cli
from signet import __version__
from signet.errors import SignetError
from signet.terminal.command import join_help_lines, run_command
from signet.terminal.output import open_console, print_line

app = typer.Typer(
    name="signet",
    help="Sign-language video in, served predictions out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

# All arguments, including --help, are passed to the service's own command.
_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

# Commands with their service and summary. They are listed here so that `signet --help` imports no service.
COMMANDS = {
    "predict": ("standalone", "Say which sign a clip shows."),
    "live": ("standalone", "Show signs in the terminal as they are made: camera or video."),
    "transcribe": ("standalone", "Find every sign of a video: subtitles, ELAN files, JSON."),
    "enroll": ("standalone", "Add a sign to a model from a few examples."),
    "forget": ("standalone", "Take an enrolled sign away from a model."),
    "extract": ("extractor", "Turn video clips into landmark tensors."),
    "fetch": ("extractor", "Download the clips of WLASL that still exist."),
    "import": ("extractor", "Turn landmarks that others made into landmark tensors."),
    "export": ("extractor", "Write landmark tensors as .pose or parquet files."),
    "train": ("trainer", "Train a model on extracted clips, and publish it."),
    "runs": ("trainer", "List the trainings in the store."),
    "analyze": ("trainer", "Show a training run on one page, or compare several."),
    "features": ("trainer", "Show a clip as the model sees it: skeleton, motion, features."),
    "evaluate": ("evaluator", "Measure a published model on a split, and write a report."),
    "models": ("evaluator", "List, compare, promote, roll back, copy and delete published models."),
    "reports": ("evaluator", "List the reports, or show one."),
    "serving": ("evaluator", "Show which versions an evaluator serves, and why others are refused."),
}


@contextmanager
def _explain_missing_packages(command: str, extra: str) -> Iterator[None]:
    """Turn a failed import into an error that says what to install."""
    try:
        yield
    except ImportError as error:
        library, _, failure = str(error).partition(":")
        advice = f"{error}. Install the packages of this command: pip install 'signet[{extra}]'"
        if "cannot open shared object file" in failure:
            advice = f"the system library {library} is missing. On Debian: apt-get install libgl1 libglib2.0-0"
        raise SignetError(f"signet {command}: {advice}") from error


# The module of a command, where it is not `services.<service>.cli`.
_MODULES: dict[str, str] = {
    "fetch": "services.extractor.fetching.cli",
    "import": "services.extractor.importing.cli",
    "export": "services.extractor.exporting.cli",
    "models": "services.evaluator.models.cli",
    "enroll": "services.standalone.enrolment.cli",
    "forget": "services.standalone.enrolment.cli",
    "serving": "services.evaluator.serving_cli",
}


def command_module(command: str) -> str:
    """The name of the module whose `app` has a command."""
    service, _ = COMMANDS[command]
    return _MODULES.get(command, f"services.{service}.cli")


# The titles of groups of commands in --help, where they are not the name of the service.
_PANELS = {"standalone": "Start here: no server, no store, no training"}


def _mount(command: str, service: str, summary: str) -> None:
    panel = _PANELS.get(service, service.capitalize())

    @app.command(command, help=summary, context_settings=_PASS_ON, rich_help_panel=panel)
    def _call(context: typer.Context) -> None:
        with _explain_missing_packages(command, service):
            module = importlib.import_module(command_module(command))
            join_help_lines(module.app)
            status = module.app([command, *context.args], prog_name="signet", standalone_mode=False)
        raise typer.Exit(status if isinstance(status, int) else 0)


for _command, (_service, _summary) in COMMANDS.items():
    _mount(_command, _service, _summary)


app.add_typer(token_cli.app, name="token", rich_help_panel="Whole system")


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        print_line(open_console(), f"signet {__version__}")
        raise typer.Exit


@app.command(rich_help_panel="Whole system")
def demo() -> None:
    """Extract, train, evaluate and serve on real clips: WLASL=<dir>."""
    with _explain_missing_packages("demo", "local"):
        module = importlib.import_module("services.local.demo")
    raise typer.Exit(module.main())


@app.command(rich_help_panel="Whole system")
def up(
    clips: Annotated[Path, typer.Option(help="Folder of videos, as for `signet extract`", envvar="WLASL")] = Path(
        "data/wlasl"
    ),
    data: Annotated[Path, typer.Option(help="Directory for the store and the logs")] = Path("data/local"),
) -> None:
    """Run store and services on this machine until Ctrl-C."""
    with _explain_missing_packages("up", "local"):
        module = importlib.import_module("services.local.stack")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = open_console()
    print_line(console, "starting ...")
    with module.LocalStack(data, clips) as stack:
        print_line(console, f"{'store':<10} {stack.store.url}")
        for name, service in stack.services.items():
            print_line(console, f"{name:<10} {service.address}   {service.metrics_url}")
        print_line(console, f"logs in {stack.logs}; to use this from another terminal:")
        secret = f"$(cat '{stack.store.secret_path}')"
        for name, value in (stack.environment | {"SIGNET_S3_SECRET_KEY": secret}).items():
            print_line(console, f"  export {name}={value}")
        print_line(console, "Ctrl-C stops everything")
        try:
            stack.watch()
        except KeyboardInterrupt:
            print_line(console, "stopping ...")


def main() -> None:
    """Run the command line."""
    sys.exit(run_command(partial(app, standalone_mode=False)))


if __name__ == "__main__":
    main()
