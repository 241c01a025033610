"""What the commands of the extractor print: progress, a summary, and the exit status."""

import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from types import FrameType

import typer

from services.extractor.jobs.progress import ExtractionProgress, ExtractionState
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
_LINE_SECONDS = 10.0

EXIT_BROKEN = 3
_EXIT_SIGNAL = 128

# The number of glosses that are named in the summary.
_NAMED_GLOSSES = 100


def exit_with_status(console: Console, result: ExtractionProgress, signal_number: int) -> None:
    """Exit with the status that tells the outcome."""
    if result.state is ExtractionState.CANCELLED:
        print_line(console, "Interrupted. Finished clips are kept; the same command resumes.")
        raise typer.Exit(_EXIT_SIGNAL + signal_number)
    if result.broken:
        raise typer.Exit(EXIT_BROKEN)


def _name_glosses(glosses: tuple[str, ...]) -> str:
    """The glosses, or the first of them if there are many."""
    more = len(glosses) - _NAMED_GLOSSES
    return ", ".join(glosses[:_NAMED_GLOSSES]) + (f" and {more} more" if more > 0 else "")


class ProgressDisplay:
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

    def __enter__(self) -> "ProgressDisplay":
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


class Interrupt:
    """Ends the extraction after the current clips at the first Ctrl-C or SIGTERM, and at once at the second."""

    def __init__(self, cancel: Callable[[], None], console: Console) -> None:
        self._cancel = cancel
        self._console = console
        self.number = signal.SIGINT.value

    def __enter__(self) -> "Interrupt":
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


def print_summary(console: Console, result: ExtractionProgress, title: str, done: str) -> None:
    """Print the outcome: a table, the broken clips, the notes and the glosses."""
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
    print_line(console, f"{len(result.glosses)} glosses: {_name_glosses(result.glosses)}")
    rate = f", {result.frames / result.elapsed_seconds:.1f} frames/s" if result.frames else ""
    print_line(console, f"{result.frames} frames in {result.elapsed_seconds:.1f} s{rate}")
