"""Makes the model that comes with Signet: `make bundled-model`, or `python -m deploy.make_bundled_model WLASL`.

1. Extracts the clips of the 100 glosses of WLASL that have the most (train and val).
2. Trains the recipe on train. No epoch, checkpoint, setting or seed is chosen by val: the epochs are fixed, and the
   seed is 0.
3. Stores the weights as float16, and compares this graph on val with that of float32.
4. Writes signet/pretrained/asl100.
"""

import argparse
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np

from services.evaluator.serving.loaded_model import LoadedModel
from services.evaluator.serving.stored_version import ONNX_FILE
from services.trainer.export.half_precision import store_weights_as_float16
from services.trainer.export.onnx import to_onnx
from services.trainer.export.parity import make_parity_vector
from services.trainer.model.published import load_published_model
from signet import pretrained, registry
from signet.datasets.snapshot import VAL, Dataset, load_snapshot
from signet.errors import SignetError
from signet.parity import PARITY_FILE, dump_parity
from signet.registry import CARD, LATEST, Metrics, ModelCard
from signet.statistics.intervals import wilson
from signet.store import ObjectStore
from signet.store.options import open_store_option
from signet.terminal.output import open_console, print_line

NAME = pretrained.ASL100
FOLDER = Path(__file__).resolve().parent.parent / "signet/pretrained" / NAME
# A third of the weights of the preset. It recognises as many clips (docs/results.md), and streams take less time.
RECIPE = ("--preset", "signs100", "--branches", "4", "--hidden-dim", "64", "--hand-dim", "24", "--seed", "0")
EXTRACTION = ("--max-glosses", "100", "--split", "train", "--split", "val", "--quality", "full")


def main() -> None:
    """Make the model again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wlasl", type=Path, help="the directory with WLASL_v0.3.json and clips/")
    parser.add_argument("--store", default="file:data/bundled-model", help="where landmarks and the run are kept")
    parser.add_argument("--trained", action="store_true", help="use the model that the store has, and train none")
    arguments = parser.parse_args()
    if not arguments.trained:
        _signet("extract", str(arguments.wlasl), *EXTRACTION, "--store", arguments.store)
        _signet("train", *RECIPE, "--model-name", NAME, "--store", arguments.store)
    bundle(open_store_option(arguments.store, must_exist=True))


def bundle(store: ObjectStore, folder: Path = FOLDER) -> None:
    """Write the newest model of a store to a folder, with weights as float16.

    Raises:
        SignetError: the model is too large, was chosen by val, or has no parity vector.
    """
    console = open_console()
    card, network = load_published_model(store, NAME, LATEST)
    if card.selected_on:
        raise SignetError(f"{NAME}/{card.version} was selected on {card.selected_on}. Train it without --patience.")
    dataset = load_snapshot(store, card.dataset_name, card.dataset_version)
    before = _measure(card, registry.read_file(store, card, ONNX_FILE), dataset)
    for parameter in network.parameters():
        parameter.data = parameter.data.half().float()
    graph = store_weights_as_float16(to_onnx(network))
    after = _measure(card, graph, dataset)
    for name, metrics in (("float32", before), ("float16", after)):
        low, high = wilson(metrics.val_correct, metrics.val_clips)
        print_line(
            console,
            f"{name}: {metrics.val_correct} of {metrics.val_clips} val clips, "
            f"{100 * metrics.val_correct / metrics.val_clips:.1f} % ({100 * low:.1f} to {100 * high:.1f})",
        )
    parity = make_parity_vector(network, graph)
    if parity is None:
        raise SignetError("the graph with float16 weights answers differently than the network. Nothing is written.")
    print_line(console, f"largest difference of log-probabilities from the network: {parity.difference:.1e}")
    files = {ONNX_FILE: graph, PARITY_FILE: dump_parity(parity)}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    version = registry.new_version(card.run_id, graph)
    bundled = card.model_copy(update={"version": version, "files": digests, "metrics": after})
    files[CARD] = bundled.model_dump_json(by_alias=True, indent=1).encode() + b"\n"
    size = sum(map(len, files.values()))
    if size > pretrained.MAX_BYTES:
        raise SignetError(f"the model has {size} bytes; at most {pretrained.MAX_BYTES} are allowed.")
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    print_line(console, f"{folder}: {NAME}/{version}, {size} bytes")


def _measure(card: ModelCard, graph: bytes, dataset: Dataset) -> Metrics:
    """The figures of a graph on val, as its card has them."""
    model = LoadedModel(card, graph)
    clips = dataset.split(VAL)
    decoded = model.decode_all(model.log_probs([np.asarray(dataset.clip_frames(clip)) for clip in clips]))
    truths = [card.vocabulary[dataset.label(clip) - 1] for clip in clips]
    guesses = [card.vocabulary[answer.ranking()[0]] for answer in decoded]
    return Metrics(
        val_clips=len(clips),
        val_correct=sum(guess == truth for guess, truth in zip(guesses, truths, strict=True)),
        val_greedy_correct=sum(answer.greedy == (truth,) for answer, truth in zip(decoded, truths, strict=True)),
        blank_ratio=float(np.average([a.blank_ratio for a in decoded], weights=[a.frames for a in decoded])),
        epoch=card.metrics.epoch,
    )


def _signet(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "services.cli", *arguments], check=True)


if __name__ == "__main__":
    main()
