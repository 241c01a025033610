"""How accurate the presets are, and what keeps them from collapsing: the figures that the README quotes.

    signet extract --max-glosses 0 --split train --split val
    for n in 100 300 1000 2000; do signet import <hands> --first-glosses $n --corpus wlasl$n-hands; done
    python -m bench.accuracy                 # every row whose corpus is in the store
    python -m bench.accuracy cv20 signs100   # these rows

Each row is a run of `signet train` with several seeds, measured on clips that it was not trained on and that no choice
of a weight or a checkpoint looked at. A row that is done is kept in bench/results/accuracy.json at once, and all that
are kept are printed. Mean ± standard deviation over the seeds; the interval is Wilson's, of one such model.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.record import alone, keep, kept, origin, resident_gib
from services.trainer.config.train_config import TrainConfig
from services.trainer.runs.events import RunCallbacks, RunStarted
from services.trainer.runs.result import HeldoutCounts, Result, spread_over_seeds
from services.trainer.runs.run import new_run_id, run
from services.trainer.runtime.threads import DEFAULT_THREADS, use_threads
from signet.errors import NotFound, NotReady
from signet.statistics.intervals import wilson
from signet.store import StoreSettings, open_store

RESULTS = Path(__file__).parent / "results" / "accuracy.json"


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        what: what is measured, on what.
        config: how it is trained, by the names of `TrainConfig`.
        bars: what it is to reach, in percent, by the names of `FIGURES`.
    """

    what: str
    config: Mapping[str, Any]
    bars: Mapping[str, float] = field(default_factory=dict)


def _hands(glosses: int, bar: float) -> Row:
    config = {"preset": f"signs{glosses}", "corpus": f"wlasl{glosses}-hands", "seeds": 3}
    return Row(f"WLASL{glosses}, hands alone, train to val", config, {"top-1": bar})


def _collapse(lr: float, **config: Any) -> Row:
    named = ", ".join(str(value) if isinstance(value, str) else f"{name} {value:g}" for name, value in config.items())
    return Row(
        f"collapse: {named or 'default'}, lr {lr:g}",
        {"preset": "phase1", "seeds": 5, "lr": lr, **config},
        {} if config else {"empty continuous": 1.0},
    )


_CV20 = {"preset": "phase1", "folds": 5, "seeds": 3}
_CV20_BARS = {"top-1": 84, "top-5": 97, "empty continuous": 1, "gloss errors": 15}
_SIGNS100_BARS = {"top-1": 77, "top-5": 93, "empty continuous": 1, "ensemble": 81, "gloss errors": 24}
_NARROW = {"branches": 4, "hidden_dim": 64, "hand_dim": 24}

ROWS: Mapping[str, Row] = {
    "cv20": Row(
        "20 glosses, 5 folds by signer over train and val",
        _CV20,
        _CV20_BARS,
    ),
    "signs100": Row(
        "WLASL100, train to val",
        {"preset": "signs100", "seeds": 3},
        _SIGNS100_BARS,
    ),
    "signs100-narrow": Row(
        "the same with four branches of 64 units",
        {"preset": "signs100", "seeds": 3, **_NARROW},
        _SIGNS100_BARS,
    ),
    "signs50": Row("50 glosses, train to val", {"preset": "signs50", "seeds": 3}),
    "tiny": Row(
        "the smallest preset, 20 glosses, 5 folds by signer over train and val",
        {"preset": "tiny", "folds": 5, "seeds": 3},
    ),
    "large": Row("the largest preset, WLASL100, train to val", {"preset": "large", "max_glosses": 100, "seeds": 3}),
    **{f"hands{glosses}": _hands(glosses, bar) for glosses, bar in ((100, 70), (300, 55), (1000, 40), (2000, 32))},
    **{f"collapse-lr{lr:g}": _collapse(lr) for lr in (0.004, 0.008, 0.016)},
    "collapse-flat-start": _collapse(0.008, head="linear"),
    "collapse-plain-ctc": _collapse(0.008, head="linear", flat_start=0.0),
    **{
        f"without-{group}": Row(f"20 glosses, 5 folds, without {group}", {**_CV20, "without": group})
        for group in ("handshape", "outline", "orientation", "location", "contact", "movement", "hands")
    },
}

# What is counted of each seed: a share of the clips, or of the signs in sequences of three.
FIGURES: Mapping[str, Callable[[HeldoutCounts], float]] = {
    "top-1": lambda tally: tally.correct / tally.clips,
    "top-5": lambda tally: tally.top5 / tally.clips,
    "continuous": lambda tally: tally.continuous_correct / tally.clips,
    "empty continuous": lambda tally: tally.continuous_empty / tally.clips,
    "greedy": lambda tally: tally.greedy_correct / tally.clips,
    "empty": lambda tally: tally.empty / tally.clips,
    "gloss errors": lambda tally: tally.gloss_errors / tally.concatenated if tally.concatenated else 0.0,
    "gloss errors, one video": lambda tally: (
        tally.stream_gloss_errors / tally.concatenated if tally.concatenated else 0.0
    ),
}


def main() -> None:
    """Train what is asked for, keep it, and print what is kept."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "rows", nargs="*", metavar="ROW", choices=[*ROWS, []], help=f"default: all of {', '.join(ROWS)}"
    )
    parser.add_argument("--store", help="default: SIGNET_STORE, or file:data/store")
    parser.add_argument("--jobs", type=int, default=1, help="members trained at a time")
    parser.add_argument("--print", action="store_true", help="print what is kept, and train nothing")
    arguments = parser.parse_args()

    console = Console(width=220)
    if not arguments.print:
        store = arguments.store or StoreSettings().store
        for name in arguments.rows or ROWS:
            _measure(store, name, ROWS[name], arguments.jobs, console)
    console.print(table(kept(RESULTS)))


def _measure(store: str, name: str, row: Row, jobs: int, console: Console) -> None:
    config = _config(row.config, jobs)
    console.print(f"{name}: {row.what}")
    try:
        # In a process of its own, so that the memory is that of this row.
        trained = alone(_train, store, config)
    except (NotReady, NotFound) as error:
        console.print(f"  left out: {error}")
        return
    keep(RESULTS, dict(sorted({**kept(RESULTS), name: _record(row, config, trained)}.items())))


def _config(told: Mapping[str, Any], jobs: int) -> TrainConfig:
    return TrainConfig.model_validate({**told, "publish": "none", "jobs": jobs})


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
        NotReady, NotFound: its corpus is not there.
    """
    use_threads(DEFAULT_THREADS)
    started: list[RunStarted] = []
    result = run(open_store(StoreSettings(store=store)), config, new_run_id(), RunCallbacks(on_start=started.append))
    (begun,) = started
    return MeasuredRun(result, begun.parameters, begun.gpu_name or begun.device, resident_gib())


def _record(row: Row, config: TrainConfig, trained: MeasuredRun) -> dict[str, Any]:
    """What is kept of a run."""
    result = trained.result
    seeds = result.seeds
    ensemble = result.ensemble
    return {
        "what": row.what,
        "bars": dict(row.bars),
        "command": _command(row.config),
        "clips": result.val_clips,
        "seeds": {
            str(seed): {what: round(count(tally), 4) for what, count in FIGURES.items()}
            for seed, tally in seeds.items()
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


def _command(told: Mapping[str, Any]) -> str:
    flags = (f"--{key.replace('_', '-')}" + ("" if value is True else f" {value}") for key, value in told.items())
    return " ".join(["signet train", *flags])


def table(figures: Mapping[str, Mapping[str, Any]]) -> Table:
    """All rows that are kept, in the order of `ROWS`."""
    made = Table("row", "what", "n", "seeds", *FIGURES, "ensemble", "95 % of one", "size", "s", "GiB", "commit")
    for name in ROWS:
        if name not in figures:
            continue
        row = figures[name]
        top1 = row["spread"]["top-1"][0]
        low, high = wilson(round(top1 * row["clips"]), row["clips"])
        made.add_row(
            name,
            row["what"],
            str(row["clips"]),
            str(len(row["seeds"])),
            *(_cell(row["spread"][what], row["bars"].get(what)) for what in FIGURES),
            _cell((row["ensemble"], None), row["bars"].get("ensemble")) if row["ensemble"] is not None else "",
            f"{100 * low:.0f} to {100 * high:.0f}",
            f"{row['parameters']:,}" if "parameters" in row else "",
            f"{row['seconds']:.0f}",
            f"{row['resident_gib']:.1f}" if "resident_gib" in row else "",
            row["commit"],
        )
    return made


def _cell(figure: tuple[float, float | None], bar: float | None) -> str:
    mean, deviation = figure
    text = f"{100 * mean:.1f}" + (f" ± {100 * deviation:.1f}" if deviation is not None else "")
    return text if bar is None else f"{text} (bar {bar:g})"


if __name__ == "__main__":
    main()
