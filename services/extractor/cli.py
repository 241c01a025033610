"""The extractor's commands: `signet extract` and `signet import`."""

import math
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Annotated

import numpy as np
import typer
from prometheus_client import CollectorRegistry

from services.extractor.jobs.extraction import Extraction
from services.extractor.jobs.importing import run_import
from services.extractor.jobs.progress import ExtractionProgress, ExtractionState
from services.extractor.jobs.workers import WorkerPool
from services.extractor.metrics import ExtractorMetrics
from services.extractor.settings import DEFAULT_CLIP_TIMEOUT_SECONDS, DEFAULT_CORPUS, DEFAULT_MAX_GLOSSES
from services.extractor.sources.archive import read_archive
from services.extractor.sources.metadata import SPLITS
from services.extractor.sources.selection import SelectionCriteria
from services.extractor.sources.wlasl import read_metadata, read_wlasl
from signet.datasets.corpus import Shard
from signet.errors import SignetError
from signet.landmarks import PARTS, Landmarks, load
from signet.store import ObjectStore, keys
from signet.store.options import StoreOption, open_store_option
from signet.terminal.logs import set_up_logging
from signet.terminal.output import (
    BarColumn,
    Console,
    MofNCompleteColumn,
    TableColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    open_console,
    print_line,
    print_table,
    progress_bar,
    say,
)

app = typer.Typer(help="Video to landmark tensors.")

# Seconds between two progress lines without a terminal.
_LINE_SECONDS = 10.0

EXIT_BROKEN = 3
_EXIT_SIGNAL = 128

# The number of glosses that are named in the summary.
_NAMED_GLOSSES = 100


ShardOption = Annotated[
    str,
    typer.Option(
        envvar="SIGNET_SHARD",
        help="Only part i of n of the chosen clips, written i/n and counted from 0/n: for n machines with one store",
    ),
]
ClipTimeoutOption = Annotated[
    float, typer.Option(min=0.1, envvar="SIGNET_CLIP_TIMEOUT_SECONDS", help="Give a clip up after this many seconds")
]


@app.command(
    epilog="Exit status: 0 all chosen clips are in the store; 1 the extraction failed; 3 it succeeded, but some clips "
    "were broken (they are named); 130 it was interrupted (run it again to resume)."
)
def extract(
    *,
    wlasl: Annotated[
        Path, typer.Option(envvar="SIGNET_WLASL", help="Directory with WLASL_v0.3.json and the clips, or that file")
    ] = Path("data/wlasl"),
    clips: Annotated[
        Path | None, typer.Option(envvar="SIGNET_WLASL_CLIPS", help="Directory of the clips, if it is elsewhere")
    ] = None,
    max_glosses: Annotated[
        int, typer.Option(min=0, help="Number of glosses, taken in order of their clips that decode; 0 takes all")
    ] = DEFAULT_MAX_GLOSSES,
    samples_per_gloss: Annotated[
        int, typer.Option(min=0, help="Largest number of clips of each gloss; 0 takes all")
    ] = 0,
    split: Annotated[
        list[str] | None, typer.Option(help=f"Only this split ({', '.join(SPLITS)}); repeat for more")
    ] = None,
    gloss: Annotated[
        list[str] | None, typer.Option(help="Only this gloss, instead of --max-glosses; repeat for more")
    ] = None,
    corpus: Annotated[str, typer.Option(help="Name for these landmarks in the store")] = DEFAULT_CORPUS,
    shard: ShardOption = "0/1",
    workers: Annotated[
        int, typer.Option(min=0, envvar="SIGNET_WORKERS", help="Worker processes; 0 takes one per core")
    ] = 0,
    clip_timeout_seconds: ClipTimeoutOption = DEFAULT_CLIP_TIMEOUT_SECONDS,
    store: StoreOption = "",
    stats: Annotated[
        bool, typer.Option("--stats", help="Print each clip's shape, mean, std, share of frames per part, and warnings")
    ] = False,
) -> None:
    """Turn the clips of WLASL into landmark tensors in the store.

    Stored clips are not extracted again, so the same command resumes an interrupted extraction. Broken clips are named
    and do not stop the others.
    """
    set_up_logging("WARNING")
    console = open_console()
    choice = SelectionCriteria(max_glosses, samples_per_gloss, tuple(split or ()), tuple(gloss or ()))
    target = open_store_option(store, writable=True)
    source = read_wlasl(wlasl, clips)
    with WorkerPool(workers, clip_timeout_seconds) as pool, _Display(console, "extracting") as display:
        job = Extraction(
            name=corpus,
            corpus=source,
            choice=choice,
            store=target,
            workers=pool,
            metrics=ExtractorMetrics(CollectorRegistry()),
            shard=Shard.parse(shard),
            on_change=display.show,
        )
        with _Interrupt(job.cancel, console) as interrupt:
            result = job.run()
    if result.state is ExtractionState.FAILED:
        raise SignetError(result.error)
    if stats:
        _print_statistics(console, target, corpus, result)
    _print_summary(console, result, "Extraction", "extracted")
    _exit_with_status(console, result, interrupt.number)


@app.command(
    "import",
    epilog="Exit status: 0 all clips of the archive are in the store; 1 the import failed; 3 it succeeded, but some "
    "clips could not be used (they are named); 130 it was interrupted (run it again to resume).",
)
def import_(
    archive: Annotated[Path, typer.Argument(help="Directory with frames.npz and index.csv")],
    *,
    wlasl: Annotated[
        Path, typer.Option(envvar="SIGNET_WLASL", help="Directory with WLASL_v0.3.json, or that file")
    ] = Path("data/wlasl"),
    corpus: Annotated[
        str | None, typer.Option(help="Name for these landmarks in the store; default: wlasl-hands or wlasl-holistic")
    ] = None,
    first_glosses: Annotated[
        int,
        typer.Option(
            min=0,
            help="Only this many glosses, in the order of the metadata: 100, 300 and 1000 are WLASL's own subsets",
        ),
    ] = 0,
    store: StoreOption = "",
) -> None:
    """Turn an archive of landmarks that others made of WLASL's clips into landmark tensors in the store.

    Two kinds of archive are known: MediaPipe Hands (array frames [N, 2, 21, 3], without left and right) and MediaPipe
    Holistic (arrays pose, left_hand and right_hand). Stored clips are not written again, so the same command resumes an
    interrupted import. Unusable clips are named and do not stop the others.
    """
    set_up_logging("WARNING")
    console = open_console()
    target = open_store_option(store, writable=True)
    metadata = read_metadata(wlasl)
    source = read_archive(archive)
    stop = threading.Event()
    with _Display(console, "importing") as display, _Interrupt(stop.set, console) as interrupt:
        name = corpus or f"wlasl-{source.kind}"
        result = run_import(
            source, metadata, target, name, first_glosses=first_glosses, on_change=display.show, stopped=stop.is_set
        )
    _print_summary(console, result, "Import", "imported")
    _exit_with_status(console, result, interrupt.number)


def _exit_with_status(console: Console, result: ExtractionProgress, signal_number: int) -> None:
    """Exit with the status that tells the outcome."""
    if result.state is ExtractionState.CANCELLED:
        print_line(console, "Interrupted. Finished clips are kept; the same command resumes.")
        raise typer.Exit(_EXIT_SIGNAL + signal_number)
    if result.broken:
        raise typer.Exit(EXIT_BROKEN)


def _named(glosses: tuple[str, ...]) -> str:
    """The glosses, or the first of them if there are many."""
    more = len(glosses) - _NAMED_GLOSSES
    return ", ".join(glosses[:_NAMED_GLOSSES]) + (f" and {more} more" if more > 0 else "")


class _Display:
    """Shows progress as a bar on a terminal, and as lines elsewhere."""

    def __init__(self, console: Console, doing: str) -> None:
        self._doing = doing
        self._console = console
        self._printed = time.monotonic()
        self._bar = progress_bar(
            console, "{task.description}", BarColumn(), MofNCompleteColumn(), "{task.fields[rate]}",
            TimeElapsedColumn(), TimeRemainingColumn(), transient=False,
        )  # fmt: skip
        self._task = self._bar.add_task("selecting", total=None, rate="")
        self._began = 0.0

    def __enter__(self) -> "_Display":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, state: ExtractionProgress) -> None:
        """Show a new state."""
        selecting = state.state is ExtractionState.SELECTING
        if not selecting and not self._began:
            self._began = time.monotonic()
        seconds = time.monotonic() - self._began
        rate = f"{state.frames / seconds:.1f} frames/s" if state.frames and seconds else ""
        if selecting:
            self._bar.update(self._task, completed=state.verified, rate="clips verified")
        else:
            self._bar.update(self._task, description=self._doing, completed=state.done, total=state.total, rate=rate)
        if self._console.is_terminal or time.monotonic() - self._printed < _LINE_SECONDS:
            return
        self._printed = time.monotonic()
        done = (
            f"selecting: {state.verified} clips verified" if selecting else f"{state.done}/{state.total} clips {rate}"
        )
        print_line(self._console, done)


class _Interrupt:
    """Ends the extraction after the current clips at the first Ctrl-C or SIGTERM, and at once at the second."""

    def __init__(self, cancel: Callable[[], None], console: Console) -> None:
        self._cancel = cancel
        self._console = console
        self.number = signal.SIGINT.value

    def __enter__(self) -> "_Interrupt":
        self._before = {number: signal.signal(number, self._caught) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _caught(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        self._cancel()
        print_line(self._console, "Finishing the current clips. Press Ctrl-C again to stop at once.")
        for handled in self._before:
            signal.signal(handled, lambda number, _: sys.exit(_EXIT_SIGNAL + number))


def _print_summary(console: Console, result: ExtractionProgress, title: str, done: str) -> None:
    reasons = Counter(failure.reason for failure in result.failures)
    rows = {done: result.extracted, "present already": result.present, "broken": result.broken}
    rows |= {f"  {reason}": count for reason, count in reasons.most_common()}
    rows |= {"not done": result.total - result.done, "without a file": result.missing}
    shown = [[name, str(count)] for name, count in rows.items() if count or name == done]
    say(console, title, "italic")
    print_table(console, [TableColumn("outcome"), TableColumn("clips", "right")], shown)
    for failure in result.failures:
        print_line(console, f"broken {failure.clip_id} ({failure.reason}): {failure.message}")
    for note in result.notes:
        print_line(console, f"note {note}")
    print_line(console, f"{len(result.glosses)} glosses: {_named(result.glosses)}")
    rate = f", {result.frames / result.elapsed_seconds:.1f} frames/s" if result.frames else ""
    print_line(console, f"{result.frames} frames in {result.elapsed_seconds:.1f} s{rate}")


def _print_statistics(console: Console, store: ObjectStore, corpus: str, result: ExtractionProgress) -> None:
    """Print a table with a row for each clip, and the warnings of the clips."""
    rows = []
    warnings: list[str] = []
    broken = {failure.clip_id for failure in result.failures}
    for clip_id in result.clips:
        key = keys.clip(corpus, clip_id)
        if clip_id in broken or (result.state is ExtractionState.CANCELLED and store.stat(key) is None):
            continue
        clip = load(store.get(key), key)
        rows.append([clip_id, clip.record.gloss, *_clip_statistics(clip)])
        warnings += [f"warning {clip_id}: {warning}" for warning in clip.record.warnings]
    columns = [TableColumn("clip"), TableColumn("gloss")]
    columns += [TableColumn(name, "right") for name in ("shape", "seconds", "mean", "std", *PARTS)]
    say(console, "Landmarks (x and y in frame heights)", "italic")
    print_table(console, columns, rows)
    for warning in warnings:
        print_line(console, warning)


def _clip_statistics(clip: Landmarks) -> list[str]:
    """Shape, duration, mean and standard deviation of x and y, and the share of frames with each part."""
    points = clip.landmarks[..., :2].astype(np.float64)
    points = points[np.isfinite(points)]
    mean, std = (points.mean(), points.std()) if len(points) else (math.nan, math.nan)
    shape = "x".join(map(str, clip.landmarks.shape))
    shares = [f"{share:.0%}" for share in clip.presence.mean(axis=0)]
    return [shape, f"{clip.timestamps[-1]:.2f}", f"{mean:.3f}", f"{std:.3f}", *shares]
