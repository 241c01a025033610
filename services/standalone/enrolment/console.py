"""What `signet enroll` and `signet forget` print: the progress and the result."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from signet.statistics.intervals import wilson
from signet.terminal.output import (
    BarColumn,
    Console,
    MofNCompleteColumn,
    open_console,
    print_line,
    progress_bar,
    say,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from signet.v1 import enrolment_pb2 as pb

_MEASURED_ON = {
    "val": "val clips of the training's signs",
    "embeddings": "kept vectors of training clips, which is optimistic",
}


@contextmanager
def show_reading(total: int) -> "Iterator[Callable[[int], None]]":
    """Show on a terminal how many examples are read. Yields what is called with the number of them."""
    progress = progress_bar(open_console(stderr=True), "{task.description}", BarColumn(), MofNCompleteColumn())
    task = progress.add_task("reading the examples", total=total)
    with progress:
        yield lambda done: progress.update(task, completed=done)


def show_result(console: Console, done: str, result: "pb.EnrolmentResult", hint: str, *, as_json: bool) -> None:
    """Print the result of an enrolment.

    Args:
        console: where it is printed.
        done: what was done.
        result: the result.
        hint: what the user can do next; "" for nothing.
        as_json: print JSON instead.
    """
    if as_json:
        fields = {field.name: getattr(result, field.name) for field in result.DESCRIPTOR.fields}
        for line in json.dumps(fields | {"warnings": list(result.warnings)}, indent=1).splitlines():
            print_line(console, line)
        return
    print_line(
        console, f"{done}: {result.model_name} {result.model_version}, alias latest; {result.vocabulary_size} signs"
    )
    low, high = wilson(result.correct, result.clips)
    print_line(
        console,
        f"trained signs: {_share(result.correct, result.clips)} recognised ({100 * low:.0f} to {100 * high:.0f} %, n = "
        f"{result.clips}), before {_share(result.parent_correct, result.clips)}; measured on "
        f"{_MEASURED_ON.get(result.measured_on, result.measured_on)}",
    )
    for warning in result.warnings:
        say(console, f"warning: {warning}", "yellow")
    say(console, f"made from {result.parent_version} in {result.seconds:.1f} s", "dim")
    if hint:
        print_line(console, hint)


def _share(correct: int, clips: int) -> str:
    return f"{100 * correct / clips:.0f} %" if clips else "none"
