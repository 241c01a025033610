"""The commands `signet analyze`, which shows runs, and `signet features`, which shows a clip."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.trainer.runs.listing import LATEST, find_latest_run
from services.trainer.runtime.threads import DEFAULT_THREADS, use_threads
from signet import landmarks, registry
from signet.errors import InvalidInput, NotFound
from signet.home_paths import expand_home
from signet.landmarks import Landmarks
from signet.store import ObjectStore, keys
from signet.store.options import StoreOption, open_store_option
from signet.terminal.output import Console, open_console, print_line
from signet.whole_file import write_whole_file

if TYPE_CHECKING:
    from services.trainer.inspection.run.page import RunAnalysis

# A clip whose name ends in this is a file.
_TENSOR_FILE = ".safetensors"


def analyze(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN", help="Ids of runs, from `signet runs`; `latest` is the newest run")
    ],
    out: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Folder for the page and its drawings", show_default="analysis-<RUN>"),
    ] = None,
    clips: Annotated[
        int, typer.Option(min=0, max=50, help="Clips of each kind to show frame by frame; 0 shows none")
    ] = 2,
    clip: Annotated[
        list[str] | None, typer.Option(help="A held-out clip to show frame by frame; can be given several times")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the models that show clips", show_default="the run's first seed")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Also write the page to the store, under runs/<RUN>/analysis/")
    ] = False,
    store: StoreOption = "",
) -> None:
    """Show a training run on a page, or compare several runs.

    For one run, the page shows what is notable and what to do, the training curves, the accuracy of each gloss with its
    interval, the glosses that are confused, the most confident mistakes, and some held-out clips frame by frame with
    the forced alignment of their sign. For several runs it first shows the settings in which they differ, their
    figures, and a paired test on the clips that they share.

    The page is the file analysis.html, which loads nothing else. Its drawings are also written as SVG files. If a run
    was interrupted, held out no clips or is of another version, the page shows what there is and says what is missing.
    """
    from services.trainer.inspection.run.page import PAGE, analyze_run, render_analysis

    use_threads(DEFAULT_THREADS)
    opened = open_store_option(store, must_exist=True, writable=keep)
    run_ids = [find_latest_run(opened) if run == LATEST else run for run in runs]
    repeated = [run for index, run in enumerate(run_ids) if run in run_ids[:index]]
    if repeated:
        raise InvalidInput(f"run {repeated[0]} is named twice. A run cannot be compared with itself: name it once.")
    analyses = [analyze_run(opened, run_id, clips, clip or (), seed) for run_id in run_ids]
    page = render_analysis(analyses)
    files = {PAGE: page.html.encode(), **page.files}
    others = {1: "", 2: f"with-{run_ids[-1]}"}.get(len(run_ids), f"with-{len(run_ids) - 1}-others")
    folder = out if out is not None else Path("-".join(filter(None, ["analysis", run_ids[0], others])))
    _write_files(folder, files)
    console = open_console()
    for analysis in analyses:
        _print_summary(console, analysis)
    print_line(console, f"page        {folder / PAGE}")
    if keep:
        prefix = f"analysis/{others}/" if others else "analysis/"
        for name, data in files.items():
            opened.put(keys.run(run_ids[0], f"{prefix}{_file_name(name)}"), data)
        print_line(console, f"kept        {keys.run(run_ids[0], prefix)} in {opened.url}")


def features(
    clip: Annotated[
        str, typer.Argument(metavar="CLIP", help="Id of a clip, or the file of a landmark tensor (.safetensors)")
    ],
    corpus: Annotated[str, typer.Option(help="Corpus of the clip: landmarks/v1/<corpus>/ in the store")] = "wlasl",
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME[/VERSION]",
            help="Also show the output of this published model in each frame, and the features as its input. Without "
            "a version, the latest one",
        ),
    ] = "",
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, help="File for the page", show_default="features-<CLIP>.html")
    ] = None,
    store: StoreOption = "",
) -> None:
    """Show a clip as the model sees it.

    The page shows the landmarks in motion, as they are stored and as the model sees them (relative to the body, and
    mirrored if the left hand is dominant), single frames, the parts of the body that were found, and each feature over
    time. The page loads nothing else.
    """
    from services.trainer.inspection.clip.page import render_clip_page
    from services.trainer.model.published import load_published_model

    use_threads(DEFAULT_THREADS)
    if clip.lower().endswith(_TENSOR_FILE):
        loaded = _load_file(Path(clip))
    else:
        loaded = _load_clip(open_store_option(store, must_exist=True), corpus, clip)
    card_and_model = None
    if model:
        name, _, version = model.partition("/")
        opened = open_store_option(store, must_exist=True)
        card_and_model = load_published_model(opened, name, version or registry.LATEST)
    page = out if out is not None else Path(f"features-{_file_name(loaded.record.clip_id)}.html")
    _write_files(page.parent, {page.name: render_clip_page(loaded, card_and_model).encode()})
    print_line(open_console(), f"page        {page}")


def _print_summary(console: Console, analysis: "RunAnalysis") -> None:
    """Print the figures of a run, what is missing, and the findings."""
    record = analysis.record
    print_line(console, f"run         {record.run_id}, {record.state}")
    if analysis.figures:
        figures = []
        for figure in analysis.figures:
            deviation = "" if figure.deviation is None else f" ± {100 * figure.deviation:.1f}"
            figures.append(f"{figure.name} {100 * figure.mean:.1f}{deviation} %")
        print_line(console, f"held out    {', '.join(figures)} (n = {analysis.figures[0].clips})")
    for sentence in filter(None, (*record.missing, analysis.choice.missing)):
        print_line(console, f"missing     {sentence}")
    for finding in analysis.findings:
        print_line(console, f"{finding.severity:<11} {finding.title}: {finding.text} {finding.advice}".rstrip())


def _load_file(file: Path) -> Landmarks:
    try:
        return landmarks.load(file.read_bytes(), str(file))
    except OSError as error:
        raise InvalidInput(f"{file}: this file cannot be read ({error.strerror}).") from error


def _load_clip(store: ObjectStore, corpus: str, clip_id: str) -> Landmarks:
    key = keys.clip(corpus, clip_id)
    try:
        return landmarks.load(store.get(key), f"{store.url}/{key}")
    except NotFound:
        raise NotFound(
            f"{store.url}: corpus {corpus!r} has no clip {clip_id!r}. Name the corpus with --corpus, or extract the "
            f"clip (`signet extract`). The name of a file ends in {_TENSOR_FILE}."
        ) from None


def _write_files(folder: Path, files: dict[str, bytes]) -> None:
    try:
        folder = expand_home(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            write_whole_file(folder / _file_name(name), data)
    except OSError as error:
        raise InvalidInput(f"{folder}: cannot be written ({error.strerror}). Name another place with --out.") from error
    except ValueError as error:  # ~ of a user that does not exist
        raise InvalidInput(f"--out {folder}: {error}.") from error


def _file_name(name: str) -> str:
    """A file name without path separators or special characters."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)
