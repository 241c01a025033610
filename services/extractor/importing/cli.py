"""The extractor's command `signet import`."""

import threading
from pathlib import Path
from typing import Annotated

import typer

from services.extractor.console import Interrupt, ProgressDisplay, exit_with_status, print_summary
from services.extractor.importing.importer import run_import
from services.extractor.importing.kinds import KINDS, open_source
from services.extractor.importing.source import MAX_FPS, MAX_PIXELS, ImportOptions
from signet.store.options import StoreOption, open_store_option
from signet.terminal.logs import set_up_logging
from signet.terminal.output import open_console, print_line

app = typer.Typer(help="Landmarks that others made to landmark tensors.")


SplitsOption = Annotated[
    Path | None,
    typer.Option(help="CSV file with the columns clip, gloss, split, signer, for landmarks that do not say them"),
]
FpsOption = Annotated[
    float | None, typer.Option(min=0.1, max=MAX_FPS, help="Frames per second, for landmarks that do not say it")
]
AspectOption = Annotated[
    float | None,
    typer.Option(min=0.1, max=10, help="Width of the video divided by its height, such as 1.7778 for 16:9"),
]
WidthOption = Annotated[
    int | None, typer.Option(min=1, max=MAX_PIXELS, help="Width of the video in pixels, with --height")
]
HeightOption = Annotated[
    int | None, typer.Option(min=1, max=MAX_PIXELS, help="Height of the video in pixels, with --width")
]
MirroredOption = Annotated[
    bool | None,
    typer.Option("--mirrored/--not-mirrored", help="Whether the video is mirrored, as selfie cameras show it"),
]


@app.callback()
def _group() -> None:
    """Keep the name of the command: a Typer application with one command has none otherwise."""


@app.command(
    "import",
    epilog="Exit status: 0 all clips are in the store; 1 the import failed; 3 it succeeded, but some clips could not "
    "be used (they are named); 130 it was interrupted (run it again to resume).",
)
def import_(
    path: Annotated[Path, typer.Argument(help="File or folder with landmarks")],
    *,
    kind: Annotated[
        str, typer.Option(help=f"Kind of the files, if it is not detected: {', '.join(KINDS)}", show_default=False)
    ] = "",
    wlasl: Annotated[
        Path, typer.Option(envvar="SIGNET_WLASL", help="For archives: directory with WLASL_v0.3.json, or that file")
    ] = Path("data/wlasl"),
    corpus: Annotated[
        str | None,
        typer.Option(help="Name for these landmarks in the store; default: the name of the kind or of the folder"),
    ] = None,
    first_glosses: Annotated[
        int,
        typer.Option(
            min=0,
            help="For archives: only this many glosses, in the order of the metadata: 100, 300 and 1000 are WLASL's "
            "own subsets",
        ),
    ] = 0,
    splits: SplitsOption = None,
    fps: FpsOption = None,
    aspect: AspectOption = None,
    width: WidthOption = None,
    height: HeightOption = None,
    mirrored: MirroredOption = None,
    store: StoreOption = "",
) -> None:
    """Turn landmarks that others made into landmark tensors in the store.

    The kind of the files is detected by their content. What the files do not say (frame rate, picture size, sides,
    splits, signers) is derived or assumed. Notes say how, and the options below change it. Stored clips are not written
    again, so the same command resumes an interrupted import. Unusable clips are named and do not stop the others.
    """
    set_up_logging("WARNING")
    console = open_console()
    target = open_store_option(store, writable=True)
    options = ImportOptions(
        wlasl=wlasl, first_glosses=first_glosses, fps=fps, aspect=aspect, width=width, height=height, mirrored=mirrored,
        splits=splits,
    )  # fmt: skip
    print_line(console, f"reading {path}")
    source = open_source(path, options, kind)
    stop = threading.Event()
    with ProgressDisplay(console, "importing") as display, Interrupt(stop.set, console) as interrupt:
        result = run_import(source, target, corpus or source.corpus, on_change=display.show, stopped=stop.is_set)
    print_summary(console, result, "Import", "imported")
    exit_with_status(console, result, interrupt.number)
