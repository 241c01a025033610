"""Measures `signet predict` with nothing set up, on the val clips of WLASL: how many signs it names, and how fast.

    python -m bench.commands.predict accuracy WLASL     # the val clips of the bundled model's glosses, in one process
    python -m bench.commands.predict start WLASL        # the time of the whole command, each time in a new process

The results are in bench/results/predict.json.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.record import origin, save_results
from services.standalone.models import ModelChoice
from services.standalone.recognition import StandaloneRecognizer
from signet.pretrained import read_bundled_card
from signet.statistics.intervals import wilson
from signet.terminal.output import open_console, print_line

RESULTS = Path("bench/results/predict.json")
STARTS = 7


def main() -> None:
    """Measure, print, and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["accuracy", "start"])
    parser.add_argument("wlasl", type=Path)
    arguments = parser.parse_args()
    clips = find_val_clips(arguments.wlasl)
    row = measure_accuracy(clips) if arguments.what == "accuracy" else measure_starts([clip for _, clip in clips])
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    save_results(RESULTS, {**results, arguments.what: {**origin(), **row}})
    console = open_console()
    for name, value in row.items():
        print_line(console, f"{name:<24} {value}")


def find_val_clips(wlasl: Path) -> list[tuple[str, Path]]:
    """The val clips of the bundled model's glosses that exist: gloss and file."""
    vocabulary = set(read_bundled_card().vocabulary)
    found = []
    for entry in json.loads((wlasl / "WLASL_v0.3.json").read_text()):
        for instance in entry["instances"]:
            path = wlasl / "clips" / f"{instance['video_id']}.mp4"
            if entry["gloss"] in vocabulary and instance["split"] == "val" and path.exists():
                found.append((entry["gloss"], path))
    return found


def measure_accuracy(clips: list[tuple[str, Path]]) -> dict[str, Any]:
    """The share of clips whose gloss is first, and among the first five."""
    ranks = []
    with StandaloneRecognizer(ModelChoice()) as recognizer:
        for gloss, clip in clips:
            answer = recognizer.recognise(clip, top_k=5)
            ranks.append(next((n for n, guess in enumerate(answer.predictions) if guess.gloss == gloss), 99))
    top1, top5 = (sum(rank < most for rank in ranks) for most in (1, 5))
    card = read_bundled_card()
    return {
        "model": f"{card.name}/{card.version}",
        "clips": len(ranks),
        "top1": top1 / len(ranks),
        "top1_interval": wilson(top1, len(ranks)),
        "top5": top5 / len(ranks),
        "top5_interval": wilson(top5, len(ranks)),
    }


def measure_starts(clips: list[Path]) -> dict[str, Any]:
    """The seconds of the whole command, in a new process each time."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SIGNET_")}
    seconds = []
    for clip in clips[:STARTS]:
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "services.cli", "predict", str(clip)],
            check=True, env=environment, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        seconds.append(round(time.perf_counter() - began, 2))
    return {
        "cores": os.cpu_count(), "runs": len(seconds), "median_seconds": statistics.median(seconds),
        "largest_seconds": max(seconds), "seconds": seconds,
    }  # fmt: skip


if __name__ == "__main__":
    main()
