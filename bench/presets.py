"""The cost of each preset, and its accuracy: the table of presets in the docs.

    python -m bench.presets                  # every preset whose corpus is in the store (see bench.accuracy)
    python -m bench.presets phase1 tiny      # these presets

Seconds per epoch include CTC and the evaluation of val clips; run nothing else meanwhile. Minutes are for all epochs of
the preset. Accuracy is that of its row in bench/results/accuracy.json. Figures are saved in bench/results/presets.json,
and all saved figures are printed.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench import accuracy
from bench.record import load_results, origin, peak_memory_gib, run_in_own_process, save_results
from bench.train import epoch_seconds
from services.trainer.config.presets import PRESETS
from services.trainer.config.train_config import TrainConfig
from services.trainer.data.snapshot import load_or_create_snapshot
from services.trainer.runtime.threads import use_threads
from services.trainer.training.loop import Training
from signet.errors import NotFound, NotReady
from signet.store.options import open_store_option
from signet.terminal.command import run_command
from signet.terminal.output import TableColumn, TextTable, open_console, print_line, print_table

RESULTS = Path(__file__).parent / "results" / "presets.json"

# The row of bench.accuracy with the accuracy of each preset.
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
    """The cost of a preset.

    Attributes:
        clips: the number of training clips.
        parameters: of the model.
        seconds: of an epoch.
        resident: peak memory of the process, in GiB.
    """

    clips: int
    parameters: int
    seconds: float
    resident: float


def main() -> None:
    """Measure presets, save their figures, and print all saved figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("presets", nargs="*", default=list(ROWS), metavar="preset", help=", ".join(ROWS))
    parser.add_argument("--store", default="", help="default: SIGNET_STORE, or file:data/store")
    parser.add_argument("--threads", type=int, default=2, help="threads of PyTorch")
    arguments = parser.parse_args()
    console = open_console(min_width=140)
    costs = load_results(RESULTS)
    for name in arguments.presets:
        if name not in ROWS:
            parser.error(f"there is no preset {name}. There are {', '.join(ROWS)}")
        print_line(console, f"{name} ...")
        config = _config(name)
        try:
            cost: Cost = run_in_own_process(_cost, arguments.store, config, arguments.threads)
        except (NotReady, NotFound) as error:
            print_line(console, f"  left out: {error}")
            continue
        costs[name] = {
            "clips": cost.clips,
            "parameters": cost.parameters,
            "epoch_seconds": round(cost.seconds, 3),
            "minutes": round(cost.seconds * config.num_epochs / 60, 2),
            "resident_gib": round(cost.resident, 2),
            "threads": arguments.threads,
            **origin(),
        }
        save_results(RESULTS, costs)
    print_table(console, *table(costs, load_results(accuracy.RESULTS)))


def table(costs: Mapping[str, Mapping[str, Any]], accuracies: Mapping[str, Mapping[str, Any]]) -> TextTable:
    """All saved presets, with the accuracy of their rows: mean ± standard deviation over the seeds."""
    names = ("preset", "for", "row", "n", "top-1", "clips", "parameters", "s an epoch", "epochs", "minutes", "GiB")
    rows = []
    for name, row in ROWS.items():
        if name not in costs:
            continue
        cost, measured = costs[name], accuracies.get(row)
        rows.append(
            [
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
            ]
        )
    return [TableColumn(name) for name in names], rows


def _config(preset: str) -> TrainConfig:
    """The settings of its row, without folds."""
    settings = {
        key: value for key, value in accuracy.ROWS[ROWS[preset]].config.items() if key not in ("folds", "seeds")
    }
    return TrainConfig.model_validate(settings)


def _cost(store: str, config: TrainConfig, threads: int) -> Cost:
    """Measure the cost of a preset.

    Raises:
        NotReady, NotFound: the store does not have its corpus.
    """
    use_threads(threads)
    dataset = load_or_create_snapshot(
        open_store_option(store),
        config.corpus,
        config.max_glosses,
        config.samples_per_gloss,
    )
    # Without a flat start, all epochs use CTC, which takes most of the time.
    training = Training(dataset, config.model_copy(update={"flat_start": 0.0}), torch.device("cpu"))
    return Cost(
        len(dataset.manifest.training_clips), training.model.parameter_count, epoch_seconds(training), peak_memory_gib()
    )


if __name__ == "__main__":
    raise SystemExit(run_command(main))
