"""How accurate the default model is on val, over several seeds: the figures that the README quotes.

    signet extract --max-glosses 20 --split train --split val
    python -m bench.accuracy --seeds 3

Trains on the landmarks that are in the store, with the defaults of `signet train`, and prints one row a seed and their
mean. No figure of val has a say in any training: every seed trains to its last epoch.
"""

import argparse
import time
from statistics import mean, stdev

import torch
from rich.console import Console
from rich.table import Table

from services.trainer import snapshot
from services.trainer.config import TrainConfig
from services.trainer.evaluate import Score
from services.trainer.training import DEFAULT_THREADS, Training, find_device, use_threads
from signet.statistics import wilson
from signet.store import StoreSettings, open_store

# A gloss counts as learnt above this share of its val clips.
_LEARNT = 0.7


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--store", help="default: SIGNET_STORE, or file:data/store")
    parser.add_argument("--corpus", default="wlasl")
    parser.add_argument("--max-glosses", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=DEFAULT_THREADS)
    arguments = parser.parse_args()

    use_threads(arguments.threads)
    store = open_store(StoreSettings(store=arguments.store) if arguments.store else StoreSettings())
    dataset = snapshot.take(store, arguments.corpus, arguments.max_glosses, 0)
    device = find_device("auto")
    scores: list[Score] = []
    seconds: list[float] = []
    parameters = 0
    for seed in range(arguments.seeds):
        began = time.perf_counter()
        training = Training(dataset, TrainConfig(seed=seed), device)
        *_, last = training.epochs()
        seconds.append(time.perf_counter() - began)
        scores.append(last.val)
        parameters = training.model.parameter_count

    manifest = dataset.manifest
    table = Table(
        "seed", "top-1 %", "top-5 %", "greedy %", "empty %", "blank", "glosses predicted", "glosses > 70 %", "seconds"
    )
    for seed, (score, took) in enumerate(zip(scores, seconds, strict=True)):
        table.add_row(str(seed), *_figures(score), f"{took:.0f}")
    console = Console(width=120)
    console.print(
        f"dataset {manifest.name}/{manifest.version}: {len(manifest.vocabulary)} glosses, "
        f"{len(dataset.split('train'))} train, {len(dataset.split('val'))} val clips; {parameters:,} parameters; "
        f"{device}, {torch.get_num_threads()} threads"
    )
    console.print(table)
    for name, counts in (("top-1", [s.correct for s in scores]), ("greedy", [s.greedy_correct for s in scores])):
        clips = scores[0].clips
        low, high = wilson(round(mean(counts)), clips)
        spread = 100 * stdev(counts) / clips if len(counts) > 1 else 0.0
        console.print(
            f"{name}: {100 * mean(counts) / clips:.1f} ± {spread:.1f} % (mean ± sd of {len(counts)} seeds); "
            f"95 % interval of one such model on n = {clips}: {100 * low:.0f} to {100 * high:.0f} %"
        )


def _figures(score: Score) -> list[str]:
    learnt = sum(correct > _LEARNT * clips for correct, clips in score.correct_by_class.values())
    shares = (score.correct, score.top5, score.greedy_correct, score.empty)
    return [
        *(f"{100 * count / score.clips:.1f}" for count in shares),
        f"{score.blank_ratio:.2f}",
        str(len(score.predicted)),
        f"{learnt} of {len(score.correct_by_class)}",
    ]


if __name__ == "__main__":
    main()
