"""The time from own videos to a prediction: 5 glosses with 6 clips each, with the commands of docs/data.md.

    python -m bench.own_signs DIRECTORY      # the directory with WLASL_v0.3.json and clips/; clips are copied from it

The clips are copied into folders of glosses, without splits and signers. One more clip of each gloss is predicted. The
commands are `signet up`, `extract`, `train` and `predict`. Figures are saved in bench/results/own_signs.json.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from bench.record import origin, save_results
from services.extractor.sources.wlasl import read_wlasl
from services.local.stack import LocalStack
from signet.errors import NotFound, SignetError
from signet.pretrained import ASL100
from signet.terminal.command import run_command
from signet.terminal.output import open_console, print_line

RESULTS = Path(__file__).parent / "results" / "own_signs.json"
GLOSSES, CLIPS = 5, 6
_PICK_UP_SECONDS = 60.0


def main(wlasl: Annotated[Path, typer.Argument(help="The directory with WLASL_v0.3.json and clips/")]) -> None:
    """Measure the time of each command, and the predictions."""
    console = open_console()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        new_clips = copy_clips(wlasl, root / "videos")
        seconds: dict[str, float] = {}
        started = time.monotonic()
        with LocalStack(root / "data", root / "videos") as stack:
            seconds["up"] = time.monotonic() - started
            environment = os.environ | stack.environment
            _time(seconds, "extract", environment, str(root / "videos"))
            _time(seconds, "train", environment, "--corpus", "videos", "--preset", "few")
            answers = {
                gloss: _time(seconds, "predict", environment, str(clip), "--top-k", "1")
                for gloss, clip in new_clips.items()
            }
    right = sum(gloss in answer for gloss, answer in answers.items())
    row = {**origin(), "cores": os.cpu_count(), "seconds": {name: round(value, 1) for name, value in seconds.items()}}
    row |= {"total_seconds": round(time.monotonic() - started, 1), "right": right, "predictions": len(answers)}
    save_results(RESULTS, {"own signs": row})
    for name, value in row.items():
        print_line(console, f"{name:<14} {value}")


def copy_clips(wlasl: Path, folder: Path) -> dict[str, Path]:
    """Copy clips of the first glosses that have enough of them into folders of glosses.

    Returns:
        For each gloss, one more clip, which is not in its folder.

    Raises:
        NotFound: too few glosses have enough clips.
    """
    corpus = read_wlasl(wlasl)
    by_gloss: dict[str, list[Path]] = {}
    for instance in corpus.instances:
        if instance.is_whole and corpus.has(instance):
            by_gloss.setdefault(instance.gloss, []).append(corpus.path(instance))
    chosen = {gloss: paths for gloss, paths in by_gloss.items() if len(paths) > CLIPS}
    if len(chosen) < GLOSSES:
        raise NotFound(f"{wlasl}: has {len(chosen)} glosses with more than {CLIPS} whole clips; {GLOSSES} are needed.")
    new_clips = {}
    for gloss in list(chosen)[:GLOSSES]:
        (folder / gloss).mkdir(parents=True)
        for number, path in enumerate(chosen[gloss][:CLIPS], start=1):
            shutil.copyfile(path, folder / gloss / f"{number}{path.suffix}")
        new_clips[gloss] = chosen[gloss][CLIPS]
    return new_clips


def _time(seconds: dict[str, float], command: str, environment: Mapping[str, str], *arguments: str) -> str:
    """Run a command of Signet, add its time, and return what it printed.

    A command that fails is run again for a while: the evaluator serves a new model within seconds.
    """
    started = time.monotonic()
    while True:
        done = subprocess.run(
            [sys.executable, "-m", "services.cli", command, *arguments],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        # Until the trained model is loaded, the model that comes with Signet may answer.
        if done.returncode == 0 and not (command == "predict" and ASL100 in done.stdout):
            seconds[command] = seconds.get(command, 0.0) + time.monotonic() - started
            return done.stdout
        if command != "predict" or time.monotonic() - started > _PICK_UP_SECONDS:
            raise SignetError(f"signet {command} failed: {done.stderr}")


if __name__ == "__main__":
    raise SystemExit(run_command(lambda: typer.run(main)))
