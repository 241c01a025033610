"""Extracts mutated videos: `python -m bench.fuzz [--inputs N] [--seed N] [--wlasl DIR] [--only N]`.

Small videos of every container that is read, and WLASL's shortest clips, are mutated: bits flipped, blocks cut,
inserted, repeated and exchanged, two files spliced, sizes and numbers of boxes and EBML elements changed. The files of
WLASL's folder `broken`, and those of a folder `faults` that is in the same directory as WLASL's, are extracted as they
are. All go through the workers of the extractor with their usual limits. Bars:

- No worker dies, and no input takes longer than the limit of a clip, even if it is refused with `timeout` then.
- Each input is accounted for once: it is extracted, or refused with a known reason and a message that names it.
- Videos that are not mutated are extracted. One clip comes again after every 200 inputs; its bytes do not change.

Inputs that miss a bar are saved in data/fuzz. `--only N` makes the input with the number N again, and extracts only
that. The exit status is 1 if a bar is missed. The figures are saved in bench/results/fuzz.json.
"""

import argparse
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.hostile.mutations import Mutator
from bench.hostile.samples import Sample, find_shortest_clips, make_samples, read_folder
from bench.record import load_results, origin, save_results
from services.extractor.jobs import workers as worker_pool
from services.extractor.jobs.worker import Extracted, Labels, extract_bytes
from services.extractor.jobs.workers import WorkerPool
from services.extractor.video.limits import REASONS
from signet.errors import ClipError
from signet.terminal.command import run_command
from signet.terminal.output import TableColumn, TextTable, open_console, print_line, print_table, say

INPUTS = 10_000
CLIP_SECONDS = 300.0
RESULTS = Path("bench/results/fuzz.json")
OFFENDERS = Path("data/fuzz")

_EXTRACTED = "extracted"
_CONTROL = "control"
_INPUTS_PER_CONTROL = 200
_INPUTS_PER_LINE = 500
# A worker is replaced a little after its time is over, and loads its networks for the next clip.
_GRACE_SECONDS = 30.0
_REAL_CLIPS = 6
_SLOWEST = 10
_MESSAGE_CHARACTERS = 300


@dataclass(frozen=True)
class FuzzOutcome:
    """What became of an input.

    Attributes:
        sample: the input.
        outcome: "extracted", or the reason of the refusal.
        message: the message of the refusal.
        seconds: the time from its start until its result.
    """

    sample: Sample
    outcome: str
    message: str
    seconds: float


@dataclass
class FuzzReport:
    """The outcomes of all inputs, and the bars that were missed with the name of the input."""

    outcomes: list[FuzzOutcome] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    offenders: list[Sample] = field(default_factory=list)
    controls: int = 0
    seconds: float = 0.0

    def miss(self, what: str, sample: Sample | None = None) -> None:
        """Note a missed bar, and the input that is to be saved."""
        self.missed.append(what)
        if sample is not None:
            self.offenders.append(sample)


class _WarningCounter(logging.Handler):
    """Keeps the warnings of the pool: it logs one if all its workers died, or if a worker raised an unknown error."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def list_inputs(unmutated: list[Sample], others: Iterable[Sample], mutated: Iterable[Sample]) -> Iterator[Sample]:
    """All inputs in order, with the first of the unmutated ones as control at the start, at the end, and in between."""
    control = Sample(_CONTROL, _CONTROL, unmutated[0].data)
    yield control
    count = 0
    for group in (unmutated, others, mutated):
        for sample in group:
            yield sample
            count += 1
            if count % _INPUTS_PER_CONTROL == 0:
                yield control
    yield control


def extract_inputs(
    inputs: Iterable[Sample],
    good: frozenset[str],
    workers: int = 1,
    clip_seconds: float = CLIP_SECONDS,
    on_progress: Callable[[FuzzReport], None] = lambda _: None,
) -> FuzzReport:
    """Extract inputs in a pool of workers, and check the bars.

    Args:
        inputs: the files. Those named "control" must all give the same landmarks.
        good: the names of inputs that must be extracted.
        workers: the number of workers.
        clip_seconds: the limit of the pool for a clip.
        on_progress: called after each input.
    """
    report, began, started, ended = FuzzReport(), time.monotonic(), dict[int, float](), Counter[int]()
    control_bytes: set[bytes] = set()
    warnings = _WarningCounter()
    logger = logging.getLogger(worker_pool.__name__)

    def jobs() -> Iterator[tuple[tuple[int, Sample], tuple[Any, ...]]]:
        for number, sample in enumerate(inputs):
            started[number] = time.monotonic()
            yield (number, sample), (sample.data, Labels(sample.name))

    logger.addHandler(warnings)
    try:
        with WorkerPool(workers, clip_seconds) as pool:
            for (number, sample), result in pool.each(extract_bytes, jobs()):
                ended[number] += 1
                seconds = time.monotonic() - started[number]
                report.outcomes.append(_check(report, sample, result, seconds, clip_seconds))
                if sample.name == _CONTROL and isinstance(result, Extracted):
                    report.controls += 1
                    control_bytes.add(result.data)
                elif isinstance(result, ClipError) and sample.name in good | {_CONTROL}:
                    report.miss(f"{sample.name}: not mutated, but refused: {result}", sample)
                report.seconds = time.monotonic() - began
                on_progress(report)
    finally:
        logger.removeHandler(warnings)
    if lost := [number for number in started if ended[number] != 1]:
        report.miss(f"inputs without exactly one result: {lost}")
    if len(control_bytes) != 1:
        report.miss(f"the clip between the inputs has {len(control_bytes)} different results")
    for message in warnings.messages:
        report.miss(f"the pool warned: {message}")
    return report


def _check(
    report: FuzzReport, sample: Sample, result: Extracted | ClipError, seconds: float, clip_seconds: float
) -> FuzzOutcome:
    """Note what became of an input, and which bars it misses."""
    reason, message = (result.reason, str(result)) if isinstance(result, ClipError) else ("", "")
    outcome = FuzzOutcome(sample, reason or _EXTRACTED, message, round(seconds, 2))
    if reason and reason not in REASONS:
        report.miss(f"{sample.name}: unknown reason {reason}", sample)
    if reason == "crashed":
        report.miss(f"{sample.name}: {message}", sample)
    if reason and sample.name not in message:
        report.miss(f"{sample.name}: the message does not name it: {message}", sample)
    if reason == "timeout" or seconds > clip_seconds + _GRACE_SECONDS:
        report.miss(f"{sample.name}: took {seconds:.0f} s, {message or 'and was extracted then'}", sample)
    return outcome


def count_outcomes(report: FuzzReport) -> TextTable:
    """The number of inputs by container and outcome."""
    counts = Counter((each.sample.container, each.outcome) for each in report.outcomes)
    outcomes = [name for name in (_EXTRACTED, *REASONS) if any(outcome == name for _, outcome in counts)]
    containers = sorted({container for container, _ in counts})
    rows = [[name, *(str(counts[name, outcome]) for outcome in outcomes)] for name in containers]
    rows.append(["all", *(str(sum(counts[name, outcome] for name in containers)) for outcome in outcomes)])
    return [TableColumn("container"), *(TableColumn(outcome, "right") for outcome in outcomes)], rows


def _list_slowest(report: FuzzReport) -> TextTable:
    slowest = sorted(report.outcomes, key=lambda each: -each.seconds)[:_SLOWEST]
    rows = [[each.sample.name, each.outcome, f"{each.seconds:.1f}"] for each in slowest]
    return [TableColumn("slowest"), TableColumn("outcome"), TableColumn("seconds", "right")], rows


def _figures(report: FuzzReport) -> dict[str, Any]:
    columns, rows = count_outcomes(report)
    return {
        "inputs": len(report.outcomes),
        "controls": report.controls,
        "seconds": round(report.seconds, 1),
        "outcomes": {
            row[0]: {column.name: int(cell) for column, cell in zip(columns[1:], row[1:], strict=True) if cell != "0"}
            for row in rows
        },
        "slowest": {row[0]: float(row[2]) for row in _list_slowest(report)[1]},
        "missed": [what[:_MESSAGE_CHARACTERS] for what in report.missed],
        **origin(),
    }


def _save_offenders(report: FuzzReport, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for sample in report.offenders:
        (folder / f"{sample.name}.bin").write_bytes(sample.data)


def _find_others(wlasl: Path | None) -> list[Sample]:
    """The files of the folders of broken and faulty files; those of a folder that is missing are left out."""
    folders = [wlasl / "broken", wlasl.absolute().parent / "faults"] if wlasl else []
    return [sample for folder in folders if folder.is_dir() for sample in read_folder(folder)]


def main() -> int:
    """Extract the inputs, print tables, and save the figures. The exit status is 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=INPUTS, help="number of mutated videos. Default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="seed of the mutations. Default: %(default)s")
    parser.add_argument("--workers", type=int, default=1, help="number of workers. Default: %(default)s")
    parser.add_argument("--only", type=int, metavar="N", help="extract only the mutated video with this number")
    parser.add_argument("--wlasl", type=Path, default=Path(os.environ.get("WLASL") or "../shared/wlasl"),
                        help="directory of WLASL. Without it, all videos are made, and show nobody")  # fmt: skip
    arguments = parser.parse_args()
    console = open_console(min_width=160)
    wlasl = arguments.wlasl if (arguments.wlasl / "WLASL_v0.3.json").is_file() else None
    if wlasl is None:
        say(console, f"{arguments.wlasl}: no WLASL here, so only videos that are made are mutated")
    unmutated = [*(find_shortest_clips(wlasl, _REAL_CLIPS) if wlasl else []), *make_samples()]
    mutator = Mutator(unmutated, arguments.seed)
    if arguments.only is None:
        others = _find_others(wlasl)
        inputs = list_inputs(unmutated, others, map(mutator.make, range(arguments.inputs)))
    else:
        inputs = list_inputs(unmutated[:1], [], [mutator.make(arguments.only)])

    def show_progress(report: FuzzReport) -> None:
        if len(report.outcomes) % _INPUTS_PER_LINE == 0:
            bars = f"{len(report.missed)} bars missed" if report.missed else "no bar missed"
            print_line(console, f"{len(report.outcomes)} inputs, {report.seconds:.0f} s, {bars}")

    good = frozenset(sample.name for sample in unmutated)
    report = extract_inputs(inputs, good, arguments.workers, on_progress=show_progress)
    print_table(console, *count_outcomes(report))
    print_table(console, *_list_slowest(report))
    for what in report.missed:
        print_line(console, f"missed: {what}")
    if report.offenders:
        _save_offenders(report, OFFENDERS)
        print_line(console, f"seed {arguments.seed}; the inputs are saved in {OFFENDERS}")
    if arguments.only is None:
        row = f"{arguments.inputs} inputs, seed {arguments.seed}, {'with' if wlasl else 'without'} real clips"
        save_results(RESULTS, load_results(RESULTS) | {row: _figures(report)})
    print_line(console, f"{len(report.outcomes)} inputs, {report.seconds:.0f} s, {len(report.missed)} bars missed")
    return 1 if report.missed else 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
