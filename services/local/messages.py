"""Progress messages of long steps: bars on a terminal, and a line every few seconds elsewhere."""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

from signet.terminal.output import (
    BarColumn,
    Console,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TimeElapsedColumn,
    print_line,
    progress_bar,
)

# Without a terminal: seconds between two lines of a changing state at least, and of an unchanged state at most.
_LINE_SECONDS = 5.0
_UNCHANGED_SECONDS = 20.0


class Step(ABC):
    """A running step. `show` updates its progress."""

    @abstractmethod
    def show(self, text: str, done: int = 0, total: int = 0) -> None:
        """Update the state of the step: `done` of `total`, if there is such a count."""


class Narrator:
    """Reports steps, one after another. It shows bars if the console is a terminal."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """A step that runs while the context is open."""
        if self.console.is_terminal:
            with progress_bar(
                self.console,
                SpinnerColumn(),
                "{task.fields[name]:<9}",
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                "{task.description}",
                transient=False,
            ) as progress:
                yield _Bar(name, progress)
        else:
            lines = _Lines(name, self)
            try:
                yield lines
            finally:
                lines.close()

    def say(self, name: str, text: str) -> None:
        """Print one line."""
        if self.console.is_terminal:
            print_line(self.console, f"  {name:<9} {text}")
        else:
            print_line(self.console, f"{time.strftime('%H:%M:%S')} {name}: {text}")


class _Bar(Step):
    def __init__(self, name: str, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", name=name, total=None)

    def show(self, text: str, done: int = 0, total: int = 0) -> None:
        self._progress.update(self._task, description=text, completed=done, total=total or None)


class _Lines(Step):
    def __init__(self, name: str, narrator: Narrator) -> None:
        self._name = name
        self._narrator = narrator
        self._text = "starting"
        self._printed, self._printed_at = "", time.monotonic()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._print_periodically, name=f"progress of {name}", daemon=True)
        self._thread.start()

    def show(self, text: str, done: int = 0, total: int = 0) -> None:
        self._text = f"{done}/{total} {text}" if total else text

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def _print_periodically(self) -> None:
        wait = 0.5
        while not self._closed.wait(wait):
            changed = self._text != self._printed
            if changed or time.monotonic() - self._printed_at > _UNCHANGED_SECONDS:
                self._printed, self._printed_at = self._text, time.monotonic()
                self._narrator.say(self._name, self._printed if changed else f"{self._printed} (still running)")
                wait = _LINE_SECONDS
