"""The command line `signet` for all services. A service is imported only when one of its commands is called."""

import importlib
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from signet import __version__
from signet.errors import SignetError

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
    "extract": ("extractor", "Turn video clips into landmark tensors."),
    "import": ("extractor", "Turn landmarks that others made into landmark tensors."),
    "train": ("trainer", "Train a model on extracted clips, and publish it."),
    "runs": ("trainer", "List the trainings in the store."),
    "analyze": ("trainer", "Show a training run on one page, or compare several."),
    "features": ("trainer", "Show a clip as the model sees it: skeleton, motion, features."),
    "evaluate": ("evaluator", "Measure a published model on a split, and write a report."),
    "predict": ("evaluator", "Say which sign a clip shows."),
    "models": ("evaluator", "List the published models."),
    "reports": ("evaluator", "List the reports, or show one."),
}


def _mount(command: str, service: str, summary: str) -> None:
    @app.command(command, help=summary, context_settings=_PASS_ON, rich_help_panel=service.capitalize())
    def _call(context: typer.Context) -> None:
        try:
            module = importlib.import_module(f"services.{service}.cli")
            status = module.app([command, *context.args], prog_name="signet", standalone_mode=False)
        except ImportError as error:
            raise SignetError(_missing(command, service, error)) from error
        raise typer.Exit(status if isinstance(status, int) else 0)


for _command, (_service, _summary) in COMMANDS.items():
    _mount(_command, _service, _summary)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(f"signet {__version__}")
        raise typer.Exit


@app.command(rich_help_panel="Whole system")
def demo() -> None:
    """Extract, train, evaluate and serve on real clips: WLASL=<dir>."""
    try:
        module = importlib.import_module("services.local.demo")
    except ImportError as error:
        raise SignetError(_missing("demo", "local", error)) from error
    raise typer.Exit(module.main())


@app.command(rich_help_panel="Whole system")
def up(
    clips: Annotated[Path, typer.Option(help="Directory with WLASL_v0.3.json and clips/", envvar="WLASL")] = Path(
        "data/wlasl"
    ),
    data: Annotated[Path, typer.Option(help="Directory for the store and the logs")] = Path("data/local"),
) -> None:
    """Run store and services on this machine until Ctrl-C."""
    try:
        module = importlib.import_module("services.local.stack")
    except ImportError as error:
        raise SignetError(_missing("up", "local", error)) from error
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    typer.echo("starting ...")
    with module.LocalStack(data, clips) as stack:
        typer.echo(f"{'store':<10} {stack.store.url}")
        for name, service in stack.services.items():
            typer.echo(f"{name:<10} {service.address}   {service.metrics_url}")
        typer.echo(f"logs in {stack.logs}; to use this from another terminal:")
        secret = f"$(cat '{stack.store.secret_path}')"
        for name, value in (stack.environment | {"SIGNET_S3_SECRET_KEY": secret}).items():
            typer.echo(f"  export {name}={value}")
        typer.echo("Ctrl-C stops everything")
        try:
            stack.watch()
        except KeyboardInterrupt:
            typer.echo("stopping ...")


def _missing(command: str, extra: str, error: ImportError) -> str:
    """The message for a command whose packages are not installed."""
    if "cannot open shared object file" in str(error):
        library = str(error).partition(":")[0]
        return (
            f"signet {command}: the system library {library} is missing. On Debian: apt-get install libgl1 libglib2.0-0"
        )
    return f"signet {command}: {error}. Install what it needs: pip install 'signet[{extra}]'"


def main() -> None:
    """Run the command line. A SignetError becomes one line and exit status 1."""
    try:
        app()
    except SignetError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
