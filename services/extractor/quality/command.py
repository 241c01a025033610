"""`signet extract --audit`: audits a stored corpus, prints a summary, and writes the page."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from services.extractor.quality.audit import CorpusAudit, audit_corpus
from services.extractor.quality.page import render_audit
from signet.errors import InvalidInput, NotFound
from signet.store import ObjectStore
from signet.terminal.output import (
    BarColumn,
    Console,
    MofNCompleteColumn,
    TableColumn,
    print_line,
    print_table,
    progress_bar,
    say,
)
from signet.whole_file import write_whole_file

# Clips with pictures in the page: about 1.5 MB.
MOST_PICTURES = 60
# Clips that are listed on the terminal. The page has all.
_LISTED_CLIPS = 10
# Seconds between two progress lines without a terminal.
_LINE_SECONDS = 10.0


def run_audit(
    console: Console,
    store: ObjectStore,
    corpus: str,
    *,
    find_videos: Callable[[], Mapping[str, Path]],
    page: Path | None = None,
    pictures: int = MOST_PICTURES,
    glosses: Sequence[str] = (),
    splits: Sequence[str] = (),
) -> None:
    """Audit a stored corpus, print a summary, and write the page.

    Args:
        console: where the summary is printed.
        store: the store of the corpus; it is only read.
        corpus: name of the corpus.
        find_videos: returns the video files by clip id. If it raises `InvalidInput` or `NotFound`, skeletons are drawn
            on a plain ground, and the summary says so.
        page: file for the page; default: audit-<corpus>.html in the current directory.
        pictures: the number of clips in the contact sheet.
        glosses: only clips of these glosses.
        splits: only clips of these splits.

    Raises:
        NotFound: the corpus has no such clip.
        InvalidInput: the page cannot be written.
    """
    target = page if page is not None else Path(f"audit-{corpus}.html")
    if not target.parent.is_dir():  # an error after minutes of work would be a pity
        raise InvalidInput(f"{target}: the folder {target.parent} does not exist. Create it, or choose another --html.")
    with _AuditDisplay(console) as display:
        audit = audit_corpus(store, corpus, glosses=glosses, splits=splits, on_progress=display.show)
        videos, no_videos = _find_videos(find_videos)
        html = render_audit(audit, store, videos, pictures, display.show)
    _write_page(target, html)
    _print_audit(console, audit, no_videos)
    print_line(console, f"Page with the contact sheet: {target} ({len(html) / 1e6:.1f} MB)")


def _find_videos(find: Callable[[], Mapping[str, Path]]) -> tuple[Mapping[str, Path], str]:
    """The video files, or none and the reason."""
    try:
        return find(), ""
    except (InvalidInput, NotFound) as error:
        return {}, str(error)


def _write_page(path: Path, html: str) -> None:
    """Write the page completely, or leave an older one as it is."""
    try:
        write_whole_file(path, html.encode())
    except OSError as error:
        raise InvalidInput(
            f"{path}: the page cannot be written ({error.strerror}). Choose another file with --html."
        ) from error


def _print_audit(console: Console, audit: CorpusAudit, no_videos: str) -> None:
    flagged = audit.flagged
    say(console, f"Audit of {audit.corpus}: {len(flagged)} of {len(audit.clips)} clips have a finding", "italic")
    if audit.counts:
        columns = [TableColumn("finding"), TableColumn("clips", "right"), TableColumn("what to do", optional=True)]
        print_table(console, columns, [[kind.title, str(count), kind.advice] for kind, count in audit.counts])
        say(console, "The worst clips", "italic")
        worst = [
            [clip.record.clip_id, clip.record.gloss, "; ".join(finding.measured for finding in clip.findings)]
            for clip in flagged[:_LISTED_CLIPS]
        ]
        print_table(console, [TableColumn("clip", whole=True), TableColumn("gloss"), TableColumn("measured")], worst)
    if audit.copies:
        glosses = sum(len(group.glosses) > 1 for group in audit.copies)
        splits = sum(len(group.splits) > 1 for group in audit.copies)
        print_line(
            console,
            f"groups of clips that show the same recording: {len(audit.copies)}, of which {glosses} have several "
            f"glosses and {splits} are in several splits",
        )
    for signer in audit.left_signers:
        print_line(
            console,
            f"signer {signer.signer}: the left hand signs in {signer.left} of {signer.one_handed} one-handed clips",
        )
    for note in audit.notes:
        print_line(console, f"note {note}")
    if no_videos:
        print_line(console, f"note skeletons are drawn on a plain ground: {no_videos}")


class _AuditDisplay:
    """Shows the steps of an audit as a bar on a terminal, and as lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = progress_bar(console, "{task.description}", BarColumn(), MofNCompleteColumn())
        self._task = self._bar.add_task("reading clips", total=None)
        self._printed = time.monotonic()

    def __enter__(self) -> "_AuditDisplay":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, step: str, done: int, total: int) -> None:
        """Show that `done` of `total` clips of a step are finished."""
        self._bar.update(self._task, description=step, completed=done, total=total)
        if not self._console.is_terminal and time.monotonic() - self._printed >= _LINE_SECONDS:
            self._printed = time.monotonic()
            print_line(self._console, f"{step}: {done}/{total}")
