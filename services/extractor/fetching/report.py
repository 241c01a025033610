"""What `signet fetch` prints: progress, the clips of each gloss, and why clips are missing."""

import time
from collections import Counter, defaultdict
from collections.abc import Sequence

from services.extractor.fetching.failures import kind_of
from services.extractor.fetching.progress import FetchProgress
from services.extractor.fetching.survey import ClipState
from services.extractor.sources.instances import SPLITS
from signet.terminal.output import (
    BarColumn,
    Console,
    MofNCompleteColumn,
    TableColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    print_line,
    print_table,
    progress_bar,
    say,
)

# Seconds between two progress lines without a terminal.
_LINE_SECONDS = 60.0
_MEGABYTE = 1e6
# Above so many glosses, the table is printed by --report only.
_MOST_GLOSSES = 100


class FetchDisplay:
    """Shows progress as a bar on a terminal, and as a line a minute elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._printed = self._began = time.monotonic()
        self._bar = progress_bar(
            console, "{task.description}", BarColumn(), MofNCompleteColumn(), "{task.fields[rate]}",
            TimeElapsedColumn(), TimeRemainingColumn(), transient=False,
        )  # fmt: skip
        self._task = self._bar.add_task("checking files", total=None, rate="")

    def __enter__(self) -> "FetchDisplay":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, state: FetchProgress) -> None:
        """Show a new state."""
        now = time.monotonic()
        if state.total:
            speed = f"{state.received / _MEGABYTE / max(now - self._began, 0.1):.1f} MB/s"
            rate = f"{speed}, {state.stored} stored, {state.refused} gone, {state.failed} failed"
            what, done, total = "downloading", state.done, state.total
        else:
            self._began = now
            what, done, total, rate = "checking files", state.checked, state.to_check, ""
        self._bar.update(self._task, description=what, completed=done, total=total or None, rate=rate)
        if not self._console.is_terminal and now - self._printed >= _LINE_SECONDS:
            self._printed = now
            print_line(self._console, f"{what}: {done}/{total} {rate}".rstrip())


def print_glosses(console: Console, states: Sequence[ClipState], *, all_glosses: bool) -> None:
    """Print how many clips of each gloss and split exist, of how many that the metadata lists."""
    by_gloss: dict[str, list[ClipState]] = defaultdict(list)
    for state in states:
        by_gloss[state.instance.gloss].append(state)
    used = {state.instance.split for state in states}
    splits = [split for split in SPLITS if split in used] + ([""] if "" in used else [])
    columns = [TableColumn("gloss")]
    columns += [TableColumn(split or "no split", "right") for split in splits] + [TableColumn("all", "right")]
    shown = list(by_gloss)
    if len(shown) > _MOST_GLOSSES and not all_glosses:
        shown = []
    rows = [
        [gloss, *(_share(by_gloss[gloss], split) for split in splits), _share(by_gloss[gloss], None)] for gloss in shown
    ]
    rows.append([f"{len(by_gloss)} glosses", *(_share(states, split) for split in splits), _share(states, None)])
    say(console, "Clips that exist, of those in the metadata", "italic")
    print_table(console, columns, rows)
    if not shown:
        print_line(console, "`signet fetch --report` with the same options shows each gloss.")


def print_reasons(console: Console, states: Sequence[ClipState]) -> None:
    """Print why clips are missing, by reason and host, and what can be done."""
    clips: Counter[tuple[str, str]] = Counter()
    links: dict[tuple[str, str], set[str]] = defaultdict(set)
    for state in states:
        if state.reason:
            clips[state.reason, state.host] += 1
            links[state.reason, state.host].add(state.key)
    if not clips:
        return
    totals: Counter[str] = Counter()
    for (reason, _), count in clips.items():
        totals[reason] += count
    order = sorted(clips, key=lambda pair: (-totals[pair[0]], pair[0], -clips[pair], pair[1]))
    rows = [[reason, host or "-", str(clips[reason, host]), str(len(links[reason, host]))] for reason, host in order]
    say(console, "Clips that are missing", "italic")
    columns = [TableColumn("reason"), TableColumn("host"), TableColumn("clips", "right"), TableColumn("links", "right")]
    print_table(console, columns, rows)
    for reason, _ in totals.most_common():
        print_line(console, f"{reason}: {kind_of(reason).advice}.")


def _share(states: Sequence[ClipState], split: str | None) -> str:
    """The clips of a split that exist, of all; of all splits if it is None."""
    chosen = [state for state in states if split is None or state.instance.split == split]
    return f"{sum(not state.reason for state in chosen)}/{len(chosen)}" if chosen else "-"
