"""The extractor's command `signet extract`."""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import typer
from prometheus_client import CollectorRegistry

from services.extractor.console import Interrupt, ProgressDisplay, exit_with_status, print_summary
from services.extractor.engines.lockstep_workers import workers_on_device
from services.extractor.engines.ray_cluster import DEFAULT_ADDRESS, RayWorkers
from services.extractor.jobs.extraction import ClipWorkers, Extraction
from services.extractor.jobs.progress import ExtractionProgress, ExtractionState
from services.extractor.jobs.workers import WorkerPool
from services.extractor.metrics import ExtractorMetrics
from services.extractor.options import (
    AuditOption,
    ClipsOption,
    ClipTimeoutOption,
    CorpusOption,
    DeviceOption,
    Engine,
    EngineOption,
    GlossOption,
    MaxGlossesOption,
    PageOption,
    PathArgument,
    PicturesOption,
    QualityOption,
    RayAddressOption,
    SamplesOption,
    ShardOption,
    SplitOption,
    StatsOption,
    TableOption,
    WlaslOption,
    WorkersOption,
)
from services.extractor.quality.command import MOST_PICTURES, run_audit
from services.extractor.settings import DEFAULT_CLIP_TIMEOUT_SECONDS, DEFAULT_CORPUS
from services.extractor.sources.corpus import VideoCorpus
from services.extractor.sources.detection import read_corpus
from services.extractor.sources.selection import SelectionCriteria
from services.extractor.tracking.trackers import Device, TrackingQuality
from signet.datasets.corpus import Shard
from signet.errors import InvalidSetting, SignetError
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

# Below this number of own clips the preset for few clips is recommended: larger batches give too few training steps.
_FEW_CLIPS = 150

app = typer.Typer(help="Video to landmark tensors.")


@app.callback()
def _group() -> None:
    """Keep the name of the command: a Typer application with one command has none otherwise."""


@app.command(
    epilog="Exit status: 0 all chosen clips are in the store; 1 the extraction failed; 3 it succeeded, but some clips "
    "were broken (they are named); 130 it was interrupted (run it again to resume)."
)
def extract(
    context: typer.Context,
    path: PathArgument = None,
    *,
    wlasl: WlaslOption = Path("data/wlasl"),
    clips: ClipsOption = None,
    table: TableOption = None,
    max_glosses: MaxGlossesOption = None,
    samples_per_gloss: SamplesOption = 0,
    split: SplitOption = None,
    gloss: GlossOption = None,
    corpus: CorpusOption = None,
    shard: ShardOption = "0/1",
    workers: WorkersOption = 0,
    engine: EngineOption = Engine.LOCAL,
    ray_address: RayAddressOption = DEFAULT_ADDRESS,
    quality: QualityOption = TrackingQuality.FAST,
    device: DeviceOption = Device.CPU,
    clip_timeout_seconds: ClipTimeoutOption = DEFAULT_CLIP_TIMEOUT_SECONDS,
    store: StoreOption = "",
    stats: StatsOption = False,
    audit: AuditOption = False,
    html: PageOption = None,
    pictures: PicturesOption = MOST_PICTURES,
) -> None:
    """Turn videos into landmark tensors in the store.

    The kind of the folder is detected. The gloss of an own video is the name of its folder; train/<gloss>/ and
    val/<gloss>/ also say the split. Otherwise a fifth of each gloss is held out (val). The same command resumes.
    """
    set_up_logging("WARNING")
    console = open_console()
    inputs = (*_input_paths(context, path, wlasl, clips), tuple(table or ()))
    if audit:
        name = corpus or (read_corpus(*inputs).default_name if path else DEFAULT_CORPUS)
        stored = open_store_option(store, must_exist=True)
        return run_audit(
            console, stored, name, find_videos=lambda: read_corpus(*inputs).files, page=html, pictures=pictures,
            glosses=gloss or (), splits=split or (),
        )  # fmt: skip
    target = open_store_option(store, writable=True)
    source = read_corpus(*inputs)
    name = corpus or source.default_name
    if engine is Engine.RAY:
        opened = _open_cluster(ray_address, clip_timeout_seconds, device)
    else:
        opened = _open_workers(workers, clip_timeout_seconds, device, quality)
    with opened as pool, ProgressDisplay(console, "extracting") as display:
        job = Extraction(
            name=name, corpus=source, store=target, workers=pool, metrics=ExtractorMetrics(CollectorRegistry()),
            choice=SelectionCriteria(max_glosses, samples_per_gloss, tuple(split or ()), tuple(gloss or ())),
            quality=quality, shard=Shard.parse(shard), on_change=display.show,
        )  # fmt: skip
        with Interrupt(job.cancel, console) as interrupt:
            result = job.run()
    _print_result(console, result, source, name, target if stats else None)
    exit_with_status(console, result, interrupt.number)


def _open_cluster(ray_address: str, clip_timeout: float, device: Device) -> AbstractContextManager[ClipWorkers]:
    if device is not Device.CPU:
        raise InvalidSetting(f"--engine ray tracks on CPUs only, not with --device {device}. Leave out one of both.")
    return RayWorkers(ray_address, clip_timeout)


@contextmanager
def _open_workers(workers: int, clip_timeout: float, device: Device, quality: TrackingQuality) -> Iterator[ClipWorkers]:
    with WorkerPool(workers, clip_timeout) as single, workers_on_device(single, device, quality, clip_timeout) as pool:
        yield pool


def _print_result(
    console: Console, result: ExtractionProgress, source: VideoCorpus, name: str, statistics: ObjectStore | None
) -> None:
    """Print the outcome, with the statistics of each clip if the store of the clips is given.

    Raises:
        SignetError: the extraction failed.
    """
    if result.state is ExtractionState.FAILED:
        raise SignetError(result.error)
    if statistics is not None:
        _print_statistics(console, statistics, name, result)
    print_summary(console, result, "Extraction", "extracted")
    if result.missing and source.missing_advice:
        print_line(console, f"{result.missing} clips have no file. {source.missing_advice}")
    if result.state is ExtractionState.SUCCEEDED and result.extracted + result.present:
        few = source.default_max_glosses == 0 and result.extracted + result.present < _FEW_CLIPS
        print_line(console, f"Train on them: signet train --corpus {name}{' --preset few' if few else ''}")


def _input_paths(
    context: typer.Context, path: Path | None, wlasl: Path, clips: Path | None
) -> tuple[Path, Path | None]:
    """The path to read, and the folder of its videos. A path that is given replaces the settings of WLASL."""
    if path is None:
        return wlasl, clips
    if _is_given(context, "wlasl"):
        raise InvalidSetting(f"{path} and --wlasl {wlasl} were given. Give one of them.")
    return path, clips if _is_given(context, "clips") else None


def _is_given(context: typer.Context, name: str) -> bool:
    """Whether an option was given as a flag, and not by the environment."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


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
