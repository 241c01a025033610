"""Two of the trainer's commands for people: `signet analyze` looks at runs, `signet features` at a clip."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from services.trainer.runs.listing import LATEST, find_latest_run
from services.trainer.runtime.threads import DEFAULT_THREADS, use_threads
from signet import landmarks, registry
from signet.errors import InvalidInput, NotFound
from signet.landmarks import Landmarks
from signet.store import ObjectStore, keys
from signet.store.options import StoreOption, open_store_option

if TYPE_CHECKING:
    from services.trainer.inspection.run.page import Analysis, Figure

# Clips of each kind that are shown frame by frame.
_CLIPS_OF_EACH_KIND = 2

# The ending of a landmark tensor's file.
_TENSOR = ".safetensors"


def analyze(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN", help="Ids, as `signet runs` lists them; `latest` is the newest")
    ],
    out: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Write the page and its drawings here", show_default="analysis-<RUN>"),
    ] = None,
    clips: Annotated[
        int, typer.Option(min=0, max=50, help="Clips of each kind that are shown frame by frame; 0 shows none")
    ] = _CLIPS_OF_EACH_KIND,
    clip: Annotated[
        list[str] | None, typer.Option(help="Show this held-out clip frame by frame in any case; may be repeated")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Whose model shows clips frame by frame", show_default="the run's first")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep it in the store as well, under runs/<RUN>/analysis/")
    ] = False,
    store: StoreOption = "",
) -> None:
    """Look at a training run, or compare several.

    Of one run: what stands out in it and what to do, its curves, each gloss with its interval, which glosses are taken
    for one another, the surest mistakes, and some held-out clips frame by frame: what the model says when, and where
    the sign is by forced alignment. Of several: the settings in which they differ, their figures, and a paired test on
    the clips that they have in common; then each by itself.

    It all stands in one page, analysis.html, that needs nothing else; its drawings are SVG files beside it. A run that
    was interrupted, held out no clips or is of another version shows what there is, and says what is missing.
    """
    from services.trainer.inspection.run import page as analyses

    use_threads(DEFAULT_THREADS)
    opened = open_store_option(store)
    ids = [find_latest_run(opened) if run == LATEST else run for run in runs]
    twice = next((run for index, run in enumerate(ids) if run in ids[:index]), None)
    if twice is not None:
        raise InvalidInput(f"run {twice} is named twice, and would be compared with itself. Name it once.")
    looked_at = [analyses.analyse(opened, run, clips, clip or (), seed) for run in ids]
    drawn = analyses.draw(looked_at)
    files = {analyses.PAGE: drawn.html.encode(), **drawn.files}
    against = "" if len(ids) == 1 else f"with-{ids[1]}" if len(ids) == 2 else f"with-{len(ids) - 1}-others"
    folder = out if out is not None else Path("-".join(filter(None, ["analysis", ids[0], against])))
    _write(folder, files)
    console = Console(highlight=False, soft_wrap=True)
    for one in looked_at:
        _tell(console, one)
    console.print(f"page        {folder / analyses.PAGE}")
    if keep:
        within = f"analysis/{against}/" if against else "analysis/"
        for file, data in files.items():
            opened.put(keys.run(ids[0], f"{within}{_safe(file)}"), data)
        console.print(f"kept        {keys.run(ids[0], within)} in {opened.url}")


def features(
    clip: Annotated[
        str, typer.Argument(metavar="CLIP", help="A clip's id, or a landmark tensor's file (.safetensors)")
    ],
    corpus: Annotated[str, typer.Option(help="Corpus of the clip: landmarks/v1/<corpus>/ in the store")] = "wlasl",
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME[/VERSION]",
            help="Also show what this published model says in each frame, and the features as it takes them; without a "
            "version its latest",
        ),
    ] = "",
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write the page here", show_default="features-<CLIP>.html")
    ] = None,
    store: StoreOption = "",
) -> None:
    """Show a clip as the model sees it.

    The landmarks in motion, as they are stored and as the model sees them (in the body's frame, mirrored if the left
    hand leads); pictures at regular instants; which parts of the body were found; and every feature over time, by its
    name. One page that needs nothing else.
    """
    from services.trainer.export import load as published
    from services.trainer.inspection.clip import page as sheets

    use_threads(DEFAULT_THREADS)
    file = Path(clip) if clip.endswith(_TENSOR) else None
    found = _of_file(file) if file is not None else _of_corpus(open_store_option(store), corpus, clip)
    asked = None
    if model:
        name, _, version = model.partition("/")
        asked = published.recogniser(open_store_option(store), name, version or registry.LATEST)
    written = out if out is not None else Path(f"features-{_safe(found.record.clip_id)}.html")
    _write(written.parent, {written.name: sheets.draw(found, asked).encode()})
    Console(highlight=False, soft_wrap=True).print(f"page        {written}")


def _tell(console: Console, one: "Analysis") -> None:
    """A run in a few lines: its figures, and what stands out."""
    console.print(f"run         {one.record.run_id}, {one.record.state}")
    if one.figures:
        said = ", ".join(f"{figure.name} {_spread(figure)} %" for figure in one.figures)
        console.print(f"held out    {said} (n = {one.figures[0].clips})")
    for sentence in (*one.record.missing, *filter(None, [one.strips.missing])):
        console.print(f"missing     {sentence}")
    for finding in one.findings:
        console.print(f"{finding.weight:<11} {finding.title}: {finding.text} {finding.way_out}".rstrip())


def _spread(figure: "Figure") -> str:
    deviation = "" if figure.deviation is None else f" ± {100 * figure.deviation:.1f}"
    return f"{100 * figure.mean:.1f}{deviation}"


def _of_file(file: Path) -> Landmarks:
    try:
        return landmarks.load(file.read_bytes(), str(file))
    except OSError as error:
        raise InvalidInput(f"{file}: cannot be read ({error.strerror}).") from error


def _of_corpus(store: ObjectStore, corpus: str, clip_id: str) -> Landmarks:
    key = keys.clip(corpus, clip_id)
    try:
        return landmarks.load(store.get(key), f"{store.url}/{key}")
    except NotFound:
        raise NotFound(
            f"{store.url}: corpus {corpus!r} has no clip {clip_id!r}. Name the corpus with --corpus, or extract the "
            "clip (`signet extract`). A file is one whose name ends in .safetensors."
        ) from None


def _write(folder: Path, files: dict[str, bytes]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (folder / _safe(name)).write_bytes(data)
    except OSError as error:
        raise InvalidInput(f"{folder}: cannot be written ({error.strerror}). Name another place with --out.") from error


def _safe(name: str) -> str:
    """A name that is one file and nothing else, whatever a clip is called."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)
