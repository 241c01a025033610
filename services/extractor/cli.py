"""The extractor's command `signet extract`."""

import math
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from prometheus_client import CollectorRegistry

from services.extractor.console import Interrupt, ProgressDisplay, exit_with_status, print_summary
from services.extractor.jobs.extraction import Extraction
from services.extractor.jobs.progress import ExtractionProgress, ExtractionState
from services.extractor.jobs.workers import WorkerPool
from services.extractor.metrics import ExtractorMetrics
from services.extractor.quality.command import MOST_PICTURES, run_audit
from services.extractor.settings import DEFAULT_CLIP_TIMEOUT_SECONDS, DEFAULT_CORPUS, DEFAULT_MAX_GLOSSES
from services.extractor.sources.instances import SPLITS
from services.extractor.sources.selection import SelectionCriteria
from services.extractor.sources.wlasl import read_wlasl
from services.extractor.tracking.trackers import TrackingQuality
from signet.datasets.corpus import Shard
from signet.errors import SignetError
from signet.landmarks import PARTS, Landmarks, load
from signet.store import ObjectStore, keys
from signet.store.options import StoreOption, open_store_option
from signet.terminal.logs import set_up_logging
from signet.terminal.output import (
    Console,
    TableColumn,
    open_console,
    print_line,
    print_table,
    say,
)

app = typer.Typer(help="Video to landmark tensors.")


@app.callback()
def _group() -> None:
    """Keep the name of the command: a Typer application with one command has none otherwise."""


ShardOption = Annotated[
    str,
    typer.Option(
        envvar="SIGNET_SHARD",
        help="Only part i of n of the chosen clips, written i/n and counted from 0/n: for n machines with one store",
    ),
]
QualityOption = Annotated[
    TrackingQuality,
    typer.Option(
        envvar="SIGNET_QUALITY",
        help="fast tracks 10 frames a second; full tracks every frame with MediaPipe's own graph, which takes five "
        "times as long. A corpus has clips of one quality",
    ),
]
ClipTimeoutOption = Annotated[
    float, typer.Option(min=0.1, envvar="SIGNET_CLIP_TIMEOUT_SECONDS", help="Give a clip up after this many seconds")
]

AuditOption = Annotated[
    bool,
    typer.Option(
        "--audit",
        help="Extract nothing. Look for bad clips among those of --corpus in the store, of --gloss and --split if they "
        "are given, and write a page with pictures of the worst",
    ),
]
PageOption = Annotated[
    Path | None, typer.Option(dir_okay=False, help="With --audit: the page", show_default="audit-<CORPUS>.html")
]
PicturesOption = Annotated[
    int, typer.Option(min=0, max=2000, help="With --audit: the number of clips with pictures, the worst first")
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
    quality: QualityOption = TrackingQuality.FAST,
    clip_timeout_seconds: ClipTimeoutOption = DEFAULT_CLIP_TIMEOUT_SECONDS,
    store: StoreOption = "",
    stats: Annotated[
        bool, typer.Option("--stats", help="Print each clip's shape, mean, std, share of frames per part, and warnings")
    ] = False,
    audit: AuditOption = False,
    html: PageOption = None,
    pictures: PicturesOption = MOST_PICTURES,
) -> None:
    """Turn the clips of WLASL into landmark tensors in the store.

    Stored clips are not extracted again, so the same command resumes an interrupted extraction. Broken clips are named
    and do not stop the others. `--audit` looks at the stored clips instead.
    """
    set_up_logging("WARNING")
    console = open_console()
    if audit:
        return run_audit(
            console,
            open_store_option(store, must_exist=True),
            corpus,
            find_videos=lambda: read_wlasl(wlasl, clips).files,
            page=html,
            pictures=pictures,
            glosses=gloss or (),
            splits=split or (),
        )
    choice = SelectionCriteria(max_glosses, samples_per_gloss, tuple(split or ()), tuple(gloss or ()))
    target = open_store_option(store, writable=True)
    source = read_wlasl(wlasl, clips)
    with WorkerPool(workers, clip_timeout_seconds) as pool, ProgressDisplay(console, "extracting") as display:
        job = Extraction(
            name=corpus,
            corpus=source,
            choice=choice,
            store=target,
            workers=pool,
            metrics=ExtractorMetrics(CollectorRegistry()),
            quality=quality,
            shard=Shard.parse(shard),
            on_change=display.show,
        )
        with Interrupt(job.cancel, console) as interrupt:
            result = job.run()
    if result.state is ExtractionState.FAILED:
        raise SignetError(result.error)
    if stats:
        _print_statistics(console, target, corpus, result)
    print_summary(console, result, "Extraction", "extracted")
    if result.missing and source.missing_advice:
        print_line(console, f"{result.missing} clips have no file. {source.missing_advice}")
    exit_with_status(console, result, interrupt.number)


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
