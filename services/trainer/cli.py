"""The trainer's commands for people: `signet train` and `signet runs`."""

import logging
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from pydantic_core import PydanticUndefined
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from services.trainer import narration
from services.trainer.config import TrainConfig
from services.trainer.run import Started, new_run_id, run
from services.trainer.runs import summaries
from services.trainer.training import DEFAULT_THREADS, THREADS_HELP, Epoch, use_threads
from signet import layout
from signet.errors import InvalidSetting
from signet.store import ObjectStore, StoreSettings, open_store

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

_STORE = typer.Option(
    help="http(s)://host:port/bucket or file:<directory>", envvar="SIGNET_STORE", show_default="file:data/store"
)
StoreOption = Annotated[str | None, _STORE]

# Conventional exit status of a command ended by Ctrl-C.
_INTERRUPTED = 130


def _flag(name: str) -> Any:
    """The option of one field of the configuration: its description there is its help here."""
    field = TrainConfig.model_fields[name]
    return typer.Option(help=field.description, show_default=field.default not in {None, PydanticUndefined})


@app.command()
def train(
    corpus: Annotated[str, _flag("corpus")] = "wlasl",
    model_name: Annotated[str, _flag("model_name")] = "signet",
    max_glosses: Annotated[int, _flag("max_glosses")] = TrainConfig().max_glosses,
    samples_per_gloss: Annotated[int, _flag("samples_per_gloss")] = TrainConfig().samples_per_gloss,
    device: Annotated[str, _flag("device")] = TrainConfig().device,
    batch_size: Annotated[int, _flag("batch_size")] = TrainConfig().batch_size,
    num_epochs: Annotated[int, _flag("num_epochs")] = TrainConfig().num_epochs,
    hidden_dim: Annotated[int, _flag("hidden_dim")] = TrainConfig().hidden_dim,
    num_layers: Annotated[int, _flag("num_layers")] = TrainConfig().num_layers,
    dropout: Annotated[float, _flag("dropout")] = TrainConfig().dropout,
    weight_decay: Annotated[float, _flag("weight_decay")] = TrainConfig().weight_decay,
    lr: Annotated[float, _flag("lr")] = TrainConfig().lr,
    optimizer: Annotated[str, _flag("optimizer")] = TrainConfig().optimizer,
    blank_penalty: Annotated[float, _flag("blank_penalty")] = TrainConfig().blank_penalty,
    target_accuracy: Annotated[float | None, _flag("target_accuracy")] = None,
    train_past_target: Annotated[bool, _flag("train_past_target")] = False,
    seed: Annotated[int, _flag("seed")] = TrainConfig().seed,
    max_gpu_temperature: Annotated[float, _flag("max_gpu_temperature")] = TrainConfig().max_gpu_temperature,
    threads: Annotated[int, typer.Option(help=THREADS_HELP, min=0)] = DEFAULT_THREADS,
    store: StoreOption = None,
    plot: Annotated[Path | None, typer.Option(help="Also write the training curves here, as SVG")] = None,
) -> None:
    """Train a BiLSTM-CTC on extracted clips, and publish it.

    Takes a snapshot of the corpus, trains from a flat start into CTC, and publishes safetensors, ONNX and model.json
    under a new version; the alias `latest` moves to it. Ctrl-C once ends the run after the present epoch and publishes
    what there is; twice ends it at once and publishes nothing.
    """
    given = {name: value for name, value in locals().items() if name in TrainConfig.model_fields}
    try:
        config = TrainConfig.model_validate(given)
    except ValidationError as error:
        fault = error.errors()[0]
        flag = f"--{str(fault['loc'][0]).replace('_', '-')}"
        raise InvalidSetting(f"{flag} {fault['input']}: {fault['msg']}. `signet train --help` explains it.") from error
    console = Console(highlight=False, soft_wrap=True)
    logging.basicConfig(level="WARNING", format="%(message)s", stream=sys.stderr)
    use_threads(threads)
    opened = _open(store)
    run_id = new_run_id()
    console.print(f"run         {run_id}")

    stop = threading.Event()
    with _progress(console) as bar:
        task = bar.add_task("training", total=config.num_epochs)

        def started(event: Started) -> None:
            for line in narration.opening(event):
                console.print(line)

        def epoch_ended(epoch: Epoch) -> None:
            console.print(narration.epoch_line(epoch, config.num_epochs))
            bar.advance(task)

        previous = signal.signal(signal.SIGINT, lambda *_: _stop_once(stop))
        try:
            result = run(opened, config, run_id, on_start=started, on_epoch=epoch_ended, stopped=stop.is_set)
        except KeyboardInterrupt:
            console.print("interrupted: nothing was published")
            raise typer.Exit(_INTERRUPTED) from None
        finally:
            signal.signal(signal.SIGINT, previous)
    for line in narration.closing(result):
        console.print(line)
    curves = layout.run(run_id, "curves.svg")
    console.print(f"curves      {curves}")
    if plot is not None:
        plot.write_bytes(opened.get(curves))


@app.command()
def runs(store: StoreOption = None) -> None:
    """List the trainings that the store knows, newest first."""
    table = Table("run", "state", "epochs", "val accuracy", "model version", box=None)
    for one in summaries(_open(store), {}):
        accuracy = f"{100 * one.val_accuracy:.1f} %" if one.epochs else ""
        table.add_row(one.run_id, one.state, str(one.epochs or ""), accuracy, one.model_version)
    Console().print(table)


def _open(url: str | None) -> ObjectStore:
    return open_store(StoreSettings(store=url) if url else StoreSettings())


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
