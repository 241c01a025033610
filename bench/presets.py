"""What each preset costs, beside what it is worth: the README's table of presets.

    python -m bench.presets                  # every preset whose corpus is in the store; see bench.accuracy for how
    python -m bench.presets phase1 tiny      # these

Seconds an epoch are measured with nothing else going on, on so many threads, CTC and the judgement of val clips
included; minutes are those of all the preset's epochs. Accuracy is that of its row in bench/results/accuracy.json.
What is measured is kept in bench/results/presets.json, and all that is kept is printed.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from bench import accuracy
from bench.record import alone, keep, kept, origin, resident_gib
from bench.train import epoch_seconds
from services.trainer.config.presets import PRESETS
from services.trainer.config.train_config import TrainConfig
from services.trainer.data.snapshot import load_or_create_snapshot
from services.trainer.runtime.threads import use_threads
from services.trainer.training.loop import Training
from signet.errors import NotFound, NotReady
from signet.store import StoreSettings, open_store

RESULTS = Path(__file__).parent / "results" / "presets.json"

# The row of bench.accuracy that says what a preset is worth.
ROWS = {
    "phase1": "cv20",
    "signs50": "signs50",
    "signs100": "signs100",
    "signs300": "hands300",
    "signs1000": "hands1000",
    "signs2000": "hands2000",
    "tiny": "tiny",
    "large": "large",
}


@dataclass(frozen=True)
class Cost:
    """What a preset costs.

    Attributes:
        clips: that it learns from.
        parameters: of the model.
        seconds: an epoch.
        resident: GiB that the process has held at most.
    """

    clips: int
    parameters: int
    seconds: float
    resident: float


def main() -> None:
    """Time presets, keep what was found, and print all that is kept."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("presets", nargs="*", default=list(ROWS), metavar="preset", help=", ".join(ROWS))
    parser.add_argument("--store", default=StoreSettings().store, help="where the landmarks are")
    parser.add_argument("--threads", type=int, default=2, help="that PyTorch computes with")
    arguments = parser.parse_args()
    console = Console(width=140)
    costs = kept(RESULTS)
    for name in arguments.presets:
        if name not in ROWS:
            parser.error(f"there is no preset {name}. There are {', '.join(ROWS)}")
        console.print(f"{name} ...")
        config = _config(name)
        try:
            found: Cost = alone(_cost, arguments.store, config, arguments.threads)
        except (NotReady, NotFound) as error:
            console.print(f"  left out: {error}")
            continue
        costs[name] = {
            "clips": found.clips,
            "parameters": found.parameters,
            "epoch_seconds": round(found.seconds, 3),
            "minutes": round(found.seconds * config.num_epochs / 60, 2),
            "resident_gib": round(found.resident, 2),
            "threads": arguments.threads,
            **origin(),
        }
        keep(RESULTS, costs)
    console.print(table(costs, kept(accuracy.RESULTS)))


def table(costs: Mapping[str, Mapping[str, Any]], worth: Mapping[str, Mapping[str, Any]]) -> Table:
    """All presets that are kept, with what their rows are worth, mean ± standard deviation over the seeds."""
    made = Table("preset", "for", "row", "n", "top-1", "clips", "parameters", "s an epoch", "epochs", "minutes", "GiB")
    for name, row in ROWS.items():
        if name not in costs:
            continue
        cost, measured = costs[name], worth.get(row)
        made.add_row(
            name,
            PRESETS[name].about,
            row,
            str(measured["clips"]) if measured else "",
            "{:.1f} ± {:.1f}".format(*(100 * part for part in measured["spread"]["top-1"])) if measured else "",
            f"{cost['clips']:,}",
            f"{cost['parameters']:,}",
            f"{cost['epoch_seconds']:.2f}",
            str(_config(name).num_epochs),
            f"{cost['minutes']:.1f}",
            f"{cost['resident_gib']:.2f}",
        )
    return made


def _config(preset: str) -> TrainConfig:
    """How its row is trained, without folds."""
    told = {key: value for key, value in accuracy.ROWS[ROWS[preset]].config.items() if key not in ("folds", "seeds")}
    return TrainConfig.model_validate(told)


def _cost(store: str, config: TrainConfig, threads: int) -> Cost:
    """What a preset costs.

    Raises:
        NotReady, NotFound: its corpus is not there.
    """
    use_threads(threads)
    dataset = load_or_create_snapshot(
        open_store(StoreSettings(store=store)),
        config.corpus,
        config.max_glosses,
        config.samples_per_gloss,
    )
    # From the first epoch on, CTC is what takes the time.
    training = Training(dataset, config.model_copy(update={"flat_start": 0.0}), torch.device("cpu"))
    return Cost(
        len(dataset.manifest.training_clips), training.model.parameter_count, epoch_seconds(training), resident_gib()
    )


if __name__ == "__main__":
    main()
