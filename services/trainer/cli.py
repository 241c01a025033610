"""The trainer's commands: `signet train`, `signet runs`, and from `inspection/cli.py` `signet analyze` and `features`.

torch takes two seconds to load, so a command imports the modules that compute only when it runs.
"""

import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.trainer.config.flags import config_from_flags, given_flags, panel, with_config_flags
from services.trainer.config.train_config import TrainConfig
from services.trainer.inspection import cli as inspection
from services.trainer.runs.listing import LATEST, find_latest_unfinished_run, list_runs
from services.trainer.runs.progress import load_progress, resume_hint
from services.trainer.runtime.threads import DEFAULT_THREADS, THREADS_HELP, use_threads
from signet import registry
from signet.errors import InvalidSetting
from signet.store import ObjectStore, keys
from signet.store.options import StoreOption, open_store_option
from signet.terminal.logs import set_up_logging
from signet.terminal.output import (
    BarColumn,
    Console,
    MofNCompleteColumn,
    Progress,
    TableColumn,
    TimeRemainingColumn,
    open_console,
    print_line,
    print_table,
    progress_bar,
)

if TYPE_CHECKING:
    from services.trainer.runs.events import MemberEpoch, RunStarted

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.command()(inspection.analyze)
app.command()(inspection.features)

# The conventional exit status of a command that Ctrl-C ended.
_INTERRUPTED = 130

# In a table of this width no id is cut. A narrower terminal wraps the lines.
_TABLE_WIDTH = 100

_RUN_PANEL = panel("device")


@app.command()
@with_config_flags
def train(
    context: typer.Context,
    resume_run: Annotated[
        str | None,
        typer.Option(
            "--resume",
            metavar="RUN",
            rich_help_panel=_RUN_PANEL,
            help="Continue an interrupted run from its last saved state. Give its id, or `latest`. Of the other flags "
            "only --device, --jobs and --max-gpu-temperature can change",
        ),
    ] = None,
    threads: Annotated[int, typer.Option(help=THREADS_HELP, min=0, rich_help_panel=_RUN_PANEL)] = DEFAULT_THREADS,
    plot: Annotated[
        Path | None, typer.Option(help="Also write the training curves to this SVG file", rich_help_panel=_RUN_PANEL)
    ] = None,
    store: StoreOption = "",
    **_flags: Any,
) -> None:
    """Train a BiLSTM-CTC model on extracted clips, and publish it.

    The command takes a snapshot of the corpus, trains, and publishes the weights, the ONNX graph and model.json as a
    new version. The alias `latest` moves to this version. The first Ctrl-C ends the run after the current epoch and
    publishes the model. The second one ends it at once and publishes nothing; --resume continues the run. --pretrain
    trains only the encoder, without labels, and publishes nothing; --start-from uses its weights.
    """
    from services.trainer.training import distributed
    from services.trainer.training.follower import follow

    set_up_logging("WARNING", "%(message)s")
    use_threads(threads)
    flags = given_flags(context)
    config = None if resume_run else config_from_flags(flags)
    if plot is not None and config is not None and config.pretrain:
        raise InvalidSetting("--plot: --pretrain draws no curves. Its losses are in history.jsonl. Leave out --plot.")
    opened = open_store_option(store, must_exist=True, writable=True)
    registry.check_can_sign(opened)
    with distributed.process_group() as ranks:
        if not ranks.leads:
            follow(ranks, opened)
            return
        run_id = find_latest_unfinished_run(opened) if resume_run == LATEST else resume_run
        _train_on_terminal(opened, config or run_id or "", flags, plot)


def _train_on_terminal(
    store: ObjectStore, config_or_run: TrainConfig | str, changes: dict[str, Any], plot: Path | None
) -> None:
    """Train a new run, or resume the run with this id under some changes, and show its progress."""
    from services.trainer.runs import messages
    from services.trainer.runs.events import RunCallbacks
    from services.trainer.runs.run import new_run_id, resume, run

    console = open_console()
    run_id = new_run_id() if isinstance(config_or_run, TrainConfig) else config_or_run
    print_line(console, f"run         {run_id}")

    stop = threading.Event()
    with _progress_bar(console) as bar:
        display = _RunDisplay(console, bar)
        callbacks = RunCallbacks(on_start=display.on_start, on_epoch=display.on_epoch, should_stop=stop.is_set)
        previous = signal.signal(signal.SIGINT, lambda *_: _stop_once(stop))
        try:
            if isinstance(config_or_run, TrainConfig):
                result = run(store, config_or_run, run_id, callbacks)
            else:
                result = resume(store, run_id, callbacks, changes)
        except KeyboardInterrupt:
            hint = resume_hint(run_id, load_progress(store, run_id))
            print_line(console, f"interrupted: nothing was published. {hint}")
            raise typer.Exit(_INTERRUPTED) from None
        finally:
            signal.signal(signal.SIGINT, previous)
    for line in messages.end_messages(result, run_id):
        print_line(console, line)
    if result.pretrained:
        return
    curves = keys.run(run_id, "curves.svg")
    print_line(console, f"curves      {curves}")
    if plot is not None:
        plot.write_bytes(store.get(curves))


class _RunDisplay:
    """Prints the messages of a run, and moves its progress bar."""

    def __init__(self, console: Console, bar: Progress) -> None:
        self._console = console
        self._bar = bar

    def on_start(self, event: "RunStarted") -> None:
        """Print what the run found, and start the progress bar."""
        from services.trainer.runs import messages

        for line in messages.start_messages(event):
            print_line(self._console, line)
        self._started = event
        total = event.num_epochs * event.members
        self._task = self._bar.add_task("training", total=total, completed=event.epochs_before)

    def on_epoch(self, event: "MemberEpoch") -> None:
        """Print the figures of an epoch."""
        from services.trainer.runs import messages

        print_line(self._console, messages.epoch_message(event, self._started))
        self._bar.advance(self._task)


@app.command()
def runs(store: StoreOption = "") -> None:
    """List the training runs in the store, newest first."""
    columns = [
        TableColumn("run", whole=True),
        TableColumn("state"),
        TableColumn("members"),
        TableColumn("epochs", "right"),
        TableColumn("val accuracy", "right"),
        TableColumn("model version", whole=True),
    ]
    rows = []
    interrupted = False
    for run in list_runs(open_store_option(store, must_exist=True), {}):
        ended = run.state in {"succeeded", "stopped"}
        interrupted |= run.state == "interrupted"
        accuracy = f"{100 * run.val_accuracy:.1f} %" if ended and run.val_clips else ""
        members = "" if run.members == 1 else f"{run.members_done}/{run.members}"
        rows.append([run.run_id, run.state, members, str(run.epochs or ""), accuracy, run.model_version])
    console = open_console(min_width=_TABLE_WIDTH)
    print_table(console, columns, rows)
    if interrupted:
        print_line(console, "`signet train --resume RUN` continues an interrupted run.")


def _stop_once(stop: threading.Event) -> None:
    """Set `stop`; the second call raises KeyboardInterrupt."""
    if stop.is_set():
        raise KeyboardInterrupt
    stop.set()


def _progress_bar(console: Console) -> Progress:
    """A progress bar on a terminal; elsewhere the line of each epoch shows the progress."""
    return progress_bar(console, "{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
