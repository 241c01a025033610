"""The trainer's commands for people: `signet train` and `signet runs`; `analysis_cli` has those that look at both."""

import logging
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from services.trainer.config.flags import config_of, configured, given, panel
from services.trainer.config.train_config import TrainConfig
from services.trainer.inspection import cli as analysis_cli
from services.trainer.runs import messages
from services.trainer.runs.events import MemberEpoch, RunCallbacks, RunStarted
from services.trainer.runs.listing import find_latest_unfinished_run, list_runs
from services.trainer.runs.progress import load_progress, resume_hint
from services.trainer.runs.run import new_run_id, resume, run
from services.trainer.runtime.threads import DEFAULT_THREADS, THREADS_HELP, use_threads
from services.trainer.training import distributed
from services.trainer.training.follower import follow
from signet.errors import InvalidSetting
from signet.store import ObjectStore, keys
from signet.store.options import StoreOption, open_store_option

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.command()(analysis_cli.analyze)
app.command()(analysis_cli.features)

# Conventional exit status of a command ended by Ctrl-C.
_INTERRUPTED = 130

# Instead of a run's id: the newest one without a result.
LATEST = "latest"


_RUN_PANEL = panel("device")


@app.command()
@configured
def train(
    context: typer.Context,
    resume_run: Annotated[
        str | None,
        typer.Option(
            "--resume",
            metavar="RUN",
            rich_help_panel=_RUN_PANEL,
            help="Go on with a run that was interrupted, from the last state that it kept: its id, or `latest`. Only "
            "where it is trained can be told anew",
        ),
    ] = None,
    threads: Annotated[int, typer.Option(help=THREADS_HELP, min=0, rich_help_panel=_RUN_PANEL)] = DEFAULT_THREADS,
    plot: Annotated[
        Path | None, typer.Option(help="Also write the training curves here, as SVG", rich_help_panel=_RUN_PANEL)
    ] = None,
    store: StoreOption = "",
    **_flags: Any,
) -> None:
    """Train a BiLSTM-CTC on extracted clips, and publish it.

    Takes a snapshot of the corpus, trains from a flat start into CTC, and publishes safetensors, ONNX and model.json
    under a new version; the alias `latest` moves to it. Ctrl-C once ends the run after the present epoch and publishes
    what there is; twice ends it at once and publishes nothing. However it ends, --resume goes on with it. With
    --pretrain only the encoder is trained, without labels, and nothing is published; --start-from begins with that.
    """
    logging.basicConfig(level="WARNING", format="%(message)s", stream=sys.stderr)
    use_threads(threads)
    told = given(context)
    config = None if resume_run else config_of(told)
    if plot is not None and config is not None and config.pretrain:
        raise InvalidSetting("--plot: a pre-training draws no curves; its losses are in history.jsonl. Leave it out.")
    opened = open_store_option(store)
    with distributed.group() as ranks:
        if ranks.leads:
            run_id = find_latest_unfinished_run(opened) if resume_run == LATEST else resume_run
            _lead(opened, config or run_id or "", told, plot)
        else:
            follow(ranks, opened)


def _lead(opened: ObjectStore, begun: TrainConfig | str, told: dict[str, Any], plot: Path | None) -> None:
    """Do the run, and show it.

    Args:
        opened: the store.
        begun: what a new run is told, or the id of the one that goes on.
        told: in which fields that one is to be changed.
        plot: where to write the curves.
    """
    console = Console(highlight=False, soft_wrap=True)
    run_id = new_run_id() if isinstance(begun, TrainConfig) else begun
    console.print(f"run         {run_id}")

    stop = threading.Event()
    with _progress(console) as bar:
        watch = _Watch(console, bar, stop)
        previous = signal.signal(signal.SIGINT, lambda *_: _stop_once(stop))
        try:
            if isinstance(begun, TrainConfig):
                result = run(opened, begun, run_id, watch.callbacks())
            else:
                result = resume(opened, run_id, watch.callbacks(), told)
        except KeyboardInterrupt:
            console.print(f"interrupted: nothing was published. {resume_hint(run_id, load_progress(opened, run_id))}")
            raise typer.Exit(_INTERRUPTED) from None
        finally:
            signal.signal(signal.SIGINT, previous)
    for line in messages.end_messages(result, run_id):
        console.print(line)
    if result.pretrained:
        return
    curves = keys.run(run_id, "curves.svg")
    console.print(f"curves      {curves}")
    if plot is not None:
        plot.write_bytes(opened.get(curves))


class _Watch:
    """Shows a run on a terminal.

    Args:
        console: where to write.
        bar: how far it is.
        stop: set to end it after the present epoch.
    """

    def __init__(self, console: Console, bar: Progress, stop: threading.Event) -> None:
        self._console = console
        self._bar = bar
        self._stop = stop

    def callbacks(self) -> RunCallbacks:
        """What a run tells it, and asks it."""
        return RunCallbacks(on_start=self._started, on_epoch=self._epoch, should_stop=self._stop.is_set)

    def _started(self, event: RunStarted) -> None:
        for line in messages.start_messages(event):
            self._console.print(line)
        self._run = event
        total = event.num_epochs * event.members
        self._task = self._bar.add_task("training", total=total, completed=event.epochs_before)

    def _epoch(self, event: MemberEpoch) -> None:
        self._console.print(messages.epoch_message(event, self._run))
        self._bar.advance(self._task)


@app.command()
def runs(store: StoreOption = "") -> None:
    """List the trainings that the store knows, newest first."""
    table = Table("run", "state", "members", "epochs", "val accuracy", "model version", box=None)
    interrupted = False
    for one in list_runs(open_store_option(store), {}):
        ended = one.state in {"succeeded", "stopped"}
        interrupted |= one.state == "interrupted"
        accuracy = f"{100 * one.val_accuracy:.1f} %" if ended and one.val_clips else ""
        members = "" if one.members == 1 else f"{one.members_done}/{one.members}"
        table.add_row(one.run_id, one.state, members, str(one.epochs or ""), accuracy, one.model_version)
    Console().print(table)
    if interrupted:
        Console().print("`signet train --resume RUN` goes on with one that was interrupted.")


def _stop_once(stop: threading.Event) -> None:
    if stop.is_set():
        raise KeyboardInterrupt
    stop.set()


def _progress(console: Console) -> Progress:
    """A bar on a terminal; elsewhere the epochs' own lines are progress enough."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
