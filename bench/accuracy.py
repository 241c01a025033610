"""The accuracy of the presets, and of trainings that tend to blank collapse: the figures that the docs quote.

    signet extract --max-glosses 0 --split train --split val
    for n in 100 300 1000 2000; do signet import <hands> --first-glosses $n --corpus wlasl$n-hands; done
    python -m bench.accuracy                 # every row whose corpus is in the store
    python -m bench.accuracy cv20 signs100   # these rows

Each row is a run of `signet train` with several seeds. It is measured on clips that were not used for training, nor to
choose weights or a checkpoint. Finished rows are saved in bench/results/accuracy.json, and all saved rows are printed:
mean ± standard deviation over the seeds, and the Wilson interval of one such model.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.record import load_results, origin, peak_memory_gib, run_in_own_process, save_results
from services.trainer.config.train_config import TrainConfig
from services.trainer.runs.events import RunCallbacks, RunStarted
from services.trainer.runs.result import HeldOutCounts, Result, spread_over_seeds
from services.trainer.runs.run import new_run_id, run
from services.trainer.runtime.threads import DEFAULT_THREADS, use_threads
from signet.errors import NotFound, NotReady
from signet.statistics.intervals import wilson
from signet.store.options import open_store_option
from signet.terminal.command import run_command
from signet.terminal.output import Console, TableColumn, TextTable, open_console, print_line, print_table

RESULTS = Path(__file__).parent / "results" / "accuracy.json"


@dataclass(frozen=True)
class AccuracyRow:
    """One measurement.

    Attributes:
        what: what is measured, and on which clips.
        config: the settings of the training, by the names of `TrainConfig`.
        bars: the figures to reach, in percent, by the names of `FIGURES`.
    """

    what: str
    config: Mapping[str, Any]
    bars: Mapping[str, float] = field(default_factory=dict)


# The preset for 20 signs as it was before it was trained for signing. Rows that measure one part of the model keep it,
# so that they can be compared with each other.
_ISOLATED = {"preset": "phase1", "hidden_dim": 24, "hand_dim": 12, "signing": False, "recombination": 0.0}


def _hands(glosses: int, bar: float) -> AccuracyRow:
    config = {"preset": f"signs{glosses}", "corpus": f"wlasl{glosses}-hands", "seeds": 3}
    return AccuracyRow(f"WLASL{glosses}, hands alone, train to val", config, {"top-1": bar})


def _collapse(lr: float, **config: Any) -> AccuracyRow:
    named = ", ".join(str(value) if isinstance(value, str) else f"{name} {value:g}" for name, value in config.items())
    return AccuracyRow(
        f"collapse: {named or 'default'}, lr {lr:g}",
        {**_ISOLATED, "seeds": 5, "lr": lr, **config},
        {} if config else {"empty continuous": 1.0},
    )


_CV20 = {"preset": "phase1", "folds": 5, "seeds": 3}
_CV20_ISOLATED = {**_ISOLATED, "folds": 5, "seeds": 3}
_CV20_BARS = {"top-1": 84, "top-5": 97, "empty continuous": 1, "gloss errors": 15}
_SIGNS100_BARS = {"top-1": 77, "top-5": 93, "empty continuous": 1, "ensemble": 81, "gloss errors": 24}
_NARROW = {"branches": 4, "hidden_dim": 64, "hand_dim": 24}

ROWS: Mapping[str, AccuracyRow] = {
    "cv20": AccuracyRow("20 glosses, 5 folds by signer over train and val", _CV20, _CV20_BARS),
    "cv20-isolated": AccuracyRow("the same, trained on isolated clips by 24 units", _CV20_ISOLATED, _CV20_BARS),
    "signs100": AccuracyRow("WLASL100, train to val", {"preset": "signs100", "seeds": 3}, _SIGNS100_BARS),
    "signs100-narrow": AccuracyRow(
        "the same with four branches of 64 units", {"preset": "signs100", "seeds": 3, **_NARROW}, _SIGNS100_BARS
    ),
    "signs50": AccuracyRow("50 glosses, train to val", {"preset": "signs50", "seeds": 3}),
    "tiny": AccuracyRow(
        "the smallest preset, 20 glosses, 5 folds by signer over train and val",
        {"preset": "tiny", "folds": 5, "seeds": 3},
    ),
    "large": AccuracyRow(
        "the largest preset, WLASL100, train to val", {"preset": "large", "max_glosses": 100, "seeds": 3}
    ),
    **{f"hands{glosses}": _hands(glosses, bar) for glosses, bar in ((100, 70), (300, 55), (1000, 40), (2000, 32))},
    **{f"collapse-lr{lr:g}": _collapse(lr) for lr in (0.004, 0.008, 0.016)},
    "collapse-flat-start": _collapse(0.008, head="linear"),
    "collapse-plain-ctc": _collapse(0.008, head="linear", flat_start=0.0),
    **{
        f"without-{group}": AccuracyRow(f"20 glosses, 5 folds, without {group}", {**_CV20_ISOLATED, "without": group})
        for group in ("handshape", "outline", "orientation", "location", "contact", "movement", "hands")
    },
}


def _error_rate(counts: HeldOutCounts, errors: int) -> float:
    return errors / counts.concatenated if counts.concatenated else 0.0


# The figures of each seed: a share of the clips, or of the signs in sequences of three.
FIGURES: Mapping[str, Callable[[HeldOutCounts], float]] = {
    "top-1": lambda counts: counts.correct / counts.clips,
    "top-5": lambda counts: counts.top5 / counts.clips,
    "continuous": lambda counts: counts.continuous_correct / counts.clips,
    "empty continuous": lambda counts: counts.continuous_empty / counts.clips,
    "greedy": lambda counts: counts.greedy_correct / counts.clips,
    "empty": lambda counts: counts.empty / counts.clips,
    "gloss errors": lambda counts: _error_rate(counts, counts.gloss_errors),
    "gloss errors, one video": lambda counts: _error_rate(counts, counts.stream_gloss_errors),
    "rests cut": lambda counts: _error_rate(counts, counts.cut_gloss_errors),
    "interpolated": lambda counts: _error_rate(counts, counts.signing_gloss_errors),
}


def main() -> None:
    """Train the given rows, save them, and print all saved rows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "rows", nargs="*", metavar="ROW", choices=[*ROWS, []], help=f"default: all of {', '.join(ROWS)}"
    )
    parser.add_argument("--store", default="", help="default: SIGNET_STORE, or file:data/store")
    parser.add_argument("--jobs", type=int, default=1, help="members that are trained at the same time")
    parser.add_argument("--print", action="store_true", help="print the saved rows, and train nothing")
    arguments = parser.parse_args()

    console = open_console(min_width=220)
    if not arguments.print:
        for name in arguments.rows or ROWS:
            _measure(arguments.store, name, ROWS[name], arguments.jobs, console)
    print_table(console, *table(load_results(RESULTS)))


def _measure(store: str, name: str, row: AccuracyRow, jobs: int, console: Console) -> None:
    config = _config(row.config, jobs)
    print_line(console, f"{name}: {row.what}")
    try:
        trained = run_in_own_process(_train, store, config)
    except (NotReady, NotFound) as error:
        print_line(console, f"  left out: {error}")
        return
    save_results(RESULTS, dict(sorted({**load_results(RESULTS), name: _record(row, config, trained)}.items())))


def _config(settings: Mapping[str, Any], jobs: int) -> TrainConfig:
    return TrainConfig.model_validate({**settings, "publish": "none", "jobs": jobs})


@dataclass(frozen=True)
class MeasuredRun:
    """A finished run, the parameters of one of its models, the device, and the most memory that it held, in GiB."""

    result: Result
    parameters: int
    device: str
    resident: float


def _train(store: str, config: TrainConfig) -> MeasuredRun:
    """Train a row.

    Raises:
        NotReady, NotFound: the store does not have its corpus.
    """
    use_threads(DEFAULT_THREADS)
    started: list[RunStarted] = []
    result = run(open_store_option(store), config, new_run_id(), RunCallbacks(on_start=started.append))
    (begun,) = started
    return MeasuredRun(result, begun.parameters, begun.gpu_name or begun.device, peak_memory_gib())


def _record(row: AccuracyRow, config: TrainConfig, trained: MeasuredRun) -> dict[str, Any]:
    """The figures of a run that are saved."""
    result = trained.result
    seeds = result.seeds
    ensemble = result.ensemble
    return {
        "what": row.what,
        "bars": dict(row.bars),
        "command": _command(row.config),
        "clips": result.val_clips,
        "seeds": {
            str(seed): {what: round(count(counts), 4) for what, count in FIGURES.items()}
            for seed, counts in seeds.items()
        },
        "ensemble": round(ensemble.correct / ensemble.clips, 4) if ensemble and ensemble.clips else None,
        "spread": {what: spread_over_seeds(seeds.values(), count) for what, count in FIGURES.items()},
        "seconds": round(result.seconds, 1),
        "parameters": trained.parameters,
        "device": trained.device,
        "resident_gib": round(trained.resident, 2),
        "config": config.model_dump(exclude={"jobs", "publish", "device", "max_gpu_temperature"}),
        **origin(),
    }


def _command(settings: Mapping[str, Any]) -> str:
    return " ".join(["signet train", *(_flag(name, value) for name, value in settings.items())])


def _flag(name: str, value: Any) -> str:
    name = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no-{name}"
    return f"--{name} {value}"


def table(figures: Mapping[str, Mapping[str, Any]]) -> TextTable:
    """All saved rows, in the order of `ROWS`."""
    names = ("row", "what", "n", "seeds", *FIGURES, "ensemble", "95 % of one", "size", "s", "GiB", "commit")
    rows = []
    for name in ROWS:
        if name not in figures:
            continue
        row = figures[name]
        top1 = row["spread"]["top-1"][0]
        low, high = wilson(round(top1 * row["clips"]), row["clips"])
        rows.append(
            [
                name,
                row["what"],
                str(row["clips"]),
                str(len(row["seeds"])),
                *(_cell(row["spread"].get(what), row["bars"].get(what)) for what in FIGURES),
                _cell((row["ensemble"], None), row["bars"].get("ensemble")) if row["ensemble"] is not None else "",
                f"{100 * low:.0f} to {100 * high:.0f}",
                f"{row['parameters']:,}" if "parameters" in row else "",
                f"{row['seconds']:.0f}",
                f"{row['resident_gib']:.1f}" if "resident_gib" in row else "",
                row["commit"],
            ]
        )
    return [TableColumn(name) for name in names], rows


def _cell(figure: tuple[float, float | None] | None, bar: float | None) -> str:
    """A figure in percent; empty if the row was measured before this figure existed."""
    if figure is None:
        return ""
    mean, deviation = figure
    text = f"{100 * mean:.1f}" + (f" ± {100 * deviation:.1f}" if deviation is not None else "")
    return text if bar is None else f"{text} (bar {bar:g})"


if __name__ == "__main__":
    raise SystemExit(run_command(main))
