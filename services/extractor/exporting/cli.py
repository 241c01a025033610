"""The extractor's command `signet export`."""

import threading
from pathlib import Path
from typing import Annotated

import typer

from services.extractor.console import Interrupt, ProgressDisplay, exit_with_status, print_summary
from services.extractor.exporting.exporter import FORMATS, ExportChoice, run_export
from services.extractor.sources.instances import SPLITS
from signet.store.options import StoreOption, open_store_option
from signet.terminal.logs import set_up_logging
from signet.terminal.output import open_console, print_line

app = typer.Typer(help="Landmark tensors to files of other programs.")


@app.callback()
def _group() -> None:
    """Keep the name of the command: a Typer application with one command has none otherwise."""


@app.command(
    epilog="Exit status: 0 all chosen clips are in the folder; 1 the export failed; 3 it succeeded, but some clips are "
    "damaged (they are named); 130 it was interrupted (run it again to resume)."
)
def export(
    corpus: Annotated[str, typer.Argument(help="Name of the corpus in the store")],
    folder: Annotated[
        Path | None, typer.Argument(help="Folder to write to; default: <corpus>-<format> in this directory")
    ] = None,
    *,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help=f"{' or '.join(FORMATS)}: .pose files, which the package pose-format reads, or parquet files in the "
            "layout of Kaggle's asl-signs",
        ),
    ] = "pose",
    gloss: Annotated[list[str] | None, typer.Option(help="Only clips of this gloss; repeat for more")] = None,
    split: Annotated[
        list[str] | None, typer.Option(help=f"Only clips of this split ({', '.join(SPLITS)}); repeat for more")
    ] = None,
    store: StoreOption = "",
) -> None:
    """Write the landmarks of a corpus as files that other programs read.

    A table beside the files has the gloss, split and signer of each clip. `signet import FOLDER` reads the export back.
    Files that are there are not written again, so the same command resumes an interrupted export, and a further
    --gloss or --split adds to it.
    """
    set_up_logging("WARNING")
    console = open_console()
    source = open_store_option(store, must_exist=True)
    target = folder or Path(f"{corpus}-{form}")
    choice = ExportChoice(tuple(gloss or ()), tuple(split or ()))
    stop = threading.Event()
    with ProgressDisplay(console, "exporting") as display, Interrupt(stop.set, console) as interrupt:
        result = run_export(source, corpus, target, form, choice, on_change=display.show, stopped=stop.is_set)
    print_summary(console, result, "Export", "exported")
    print_line(console, f"written to {target}")
    exit_with_status(console, result, interrupt.number)
