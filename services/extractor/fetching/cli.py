"""The extractor's command `signet fetch`."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from services.extractor.console import EXIT_BROKEN, Interrupt
from services.extractor.fetching.download import DEFAULT_MOST_BYTES, DownloadLimits
from services.extractor.fetching.job import FetchJob
from services.extractor.fetching.ledger import FetchLedger
from services.extractor.fetching.progress import FetchProgress, FetchSettings
from services.extractor.fetching.report import FetchDisplay, print_glosses, print_reasons
from services.extractor.fetching.schedule import HostLimits
from services.extractor.fetching.survey import ClipState, find_files, survey_clips
from services.extractor.jobs.memory_limit import workers_that_fit
from services.extractor.jobs.workers import WorkerPool
from services.extractor.settings import DEFAULT_MAX_GLOSSES
from services.extractor.sources.corpus import VideoCorpus
from services.extractor.sources.instances import SPLITS, Instance
from services.extractor.sources.selection import SelectionCriteria, check_criteria
from services.extractor.sources.wlasl import list_clip_directories, read_metadata
from services.extractor.video.limits import MAX_VIDEO_BYTES
from signet.errors import InvalidInput
from signet.terminal.logs import set_up_logging
from signet.terminal.output import Console, open_console, print_line

app = typer.Typer(help="Download clips.")

# Decoding is much faster than downloading.
_MOST_CHECKS = 4
_CHECK_SECONDS = 300.0
_EXIT_SIGNAL = 128
# The names that a line has at most.
_MOST_NAMED = 5


@app.callback()
def _group() -> None:
    """Keep the name of the command: a Typer application with one command has none otherwise."""


@app.command(
    epilog="Exit status: 0 all chosen clips exist; 1 the command failed; 3 it succeeded, but some clips are missing (a "
    "table says why); 130 it was interrupted (run it again to resume)."
)
def fetch(
    *,
    wlasl: Annotated[
        Path, typer.Option(envvar="SIGNET_WLASL", help="Directory with WLASL_v0.3.json, or that file")
    ] = Path("data/wlasl"),
    clips: Annotated[
        Path | None,
        typer.Option(envvar="SIGNET_WLASL_CLIPS", help="Directory for the clips; default: clips/ next to the metadata"),
    ] = None,
    max_glosses: Annotated[
        int,
        typer.Option(
            min=0, help="Number of glosses, in the order of the metadata: 100 are those of WLASL100; 0 takes all"
        ),
    ] = DEFAULT_MAX_GLOSSES,
    gloss: Annotated[
        list[str] | None, typer.Option(help="Only this gloss, instead of --max-glosses; repeat for more")
    ] = None,
    split: Annotated[
        list[str] | None, typer.Option(help=f"Only this split ({', '.join(SPLITS)}); repeat for more")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Downloads at a time")] = 8,
    per_host: Annotated[int, typer.Option(min=1, max=16, help="Downloads at a time from the same host")] = 2,
    interval: Annotated[
        float, typer.Option(min=0, max=3600, help="Seconds between the starts of two downloads from the same host")
    ] = 0.5,
    max_megabytes: Annotated[
        int, typer.Option(min=1, help="Refuse videos with more megabytes. An hour at 720 lines has about 1000")
    ] = DEFAULT_MOST_BYTES // 1024**2,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also try links again that failed for good, such as deleted videos")
    ] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Download nothing. Print what exists, and why the rest does not")
    ] = False,
) -> None:
    """Download the clips of WLASL that still exist, from the addresses in its metadata.

    About half of these addresses are dead. Each file is decoded before it becomes a clip, so that no web page and no
    half of a video becomes one. Files stay as the host has them: `signet extract` finds the frames of the sign.

    The outcome of every address is in fetch-ledger.jsonl next to the clips. The same command goes on where it was
    interrupted, and tries only what may succeed.

    Videos of YouTube need yt-dlp, which Signet's extra "fetch" installs. Without it, all other clips are downloaded.
    """
    console = _open_console()
    listed = read_metadata(wlasl)
    directories = list_clip_directories(wlasl, clips)
    choice = SelectionCriteria(max_glosses, 0, tuple(split or ()), tuple(gloss or ()))
    chosen = choose_instances(listed.instances, choice)
    if report:
        with FetchLedger(directories[0], writable=False) as ledger:
            states = survey_clips(chosen, find_files(directories, chosen), directories[0], ledger)
        _print_states(console, states, listed.notes, all_glosses=True)
    else:
        limits = DownloadLimits(min(max_megabytes * 1024**2, MAX_VIDEO_BYTES))
        settings = FetchSettings(workers, HostLimits(per_host, interval), retry_refused=retry_failed, limits=limits)
        states = _download(console, chosen, directories, settings, listed.notes)
    raise typer.Exit(EXIT_BROKEN if any(state.reason for state in states) else 0)


def _open_console() -> Console:
    """The console, after the logs were set up."""
    set_up_logging("WARNING")
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # its warnings have whole addresses in them
    return open_console()


def _download(
    console: Console,
    chosen: Sequence[Instance],
    directories: Sequence[Path],
    settings: FetchSettings,
    notes: Sequence[str],
) -> list[ClipState]:
    """Download clips, and print the outcome. Exits if it is interrupted."""
    directory = directories[0]
    checks = workers_that_fit(min(settings.parallel, _MOST_CHECKS, len(os.sched_getaffinity(0))))
    with (
        FetchLedger(directory, writable=True) as ledger,
        WorkerPool(checks, _CHECK_SECONDS) as pool,
        FetchDisplay(console) as display,
    ):
        job = FetchJob(chosen, directories, directory, ledger, pool, settings, display.show)
        with Interrupt(job.cancel, console) as interrupt:
            result = job.run()
        states = survey_clips(chosen, find_files(directories, chosen), directory, ledger)
    ignored = ledger.ignored_lines
    more = [f"{ledger.path}: {ignored} unreadable lines were ignored"] if ignored else []
    _print_states(console, states, [*notes, *more], all_glosses=False)
    _print_result(console, result, states, directory)
    if result.interrupted:
        print_line(console, "Interrupted. Downloaded clips are kept; the same command goes on.")
        raise typer.Exit(_EXIT_SIGNAL + interrupt.number)
    return states


def choose_instances(instances: tuple[Instance, ...], choice: SelectionCriteria) -> list[Instance]:
    """The instances of the first glosses, or of the named ones, in the order of the metadata.

    Raises:
        InvalidInput: the metadata has no such gloss or split.
    """
    check_criteria(VideoCorpus(instances=instances, folder=Path(), files={}), choice)
    glosses = list(dict.fromkeys(instance.gloss for instance in instances))
    taken = set(choice.glosses or glosses[: choice.max_glosses or None])
    chosen = [
        instance
        for instance in instances
        if instance.gloss in taken and (not choice.splits or instance.split in choice.splits)
    ]
    if not chosen:
        raise InvalidInput(
            f"{', '.join(choice.splits)}: the chosen glosses have no clip in this split. Choose another."
        )
    return chosen


def _print_states(console: Console, states: list[ClipState], notes: Sequence[str], *, all_glosses: bool) -> None:
    print_glosses(console, states, all_glosses=all_glosses)
    print_reasons(console, states)
    for note in notes:
        print_line(console, f"note {note}")


def _print_result(console: Console, result: FetchProgress, states: list[ClipState], directory: Path) -> None:
    if result.moved:
        names = ", ".join(str(path) for path in result.moved[:_MOST_NAMED])
        more = f" and {len(result.moved) - _MOST_NAMED} more" if len(result.moved) > _MOST_NAMED else ""
        print_line(console, f"{len(result.moved)} broken files were replaced, and renamed to {names}{more}")
    megabytes = f"{result.received / 1e6:.1f} MB"
    print_line(console, f"{result.stored} of {result.total} links downloaded, {megabytes}, to {directory}")
    if any(not state.reason for state in states):
        print_line(console, "Next: `signet extract` with the same --wlasl and --clips.")
