"""Makes the model that comes with Signet: `make bundled-model`, or `python -m deploy.make_bundled_model WLASL`.

1. Extracts the clips of the 100 glosses of WLASL that have the most (train and val).
2. Trains the recipe on train. No epoch, checkpoint, setting or seed is chosen by val: the epochs are fixed, and the
   seed is 0.
3. Stores the weights as float16, and compares this graph on val with that of float32.
4. Keeps the embeddings of train clips of each sign, so that signs can be enrolled (docs/enrolment.md).
5. Writes signet/pretrained/asl100.
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
from services.trainer.export.sign_embeddings import make_sign_embeddings
from services.trainer.model.published import load_published_model
from signet import pretrained, registry
from signet.datasets.snapshot import TRAIN, VAL, Dataset, load_snapshot
from signet.errors import SignetError
from signet.parity import PARITY_FILE, dump_parity
from signet.registry import CARD, LATEST, Metrics, ModelCard
from signet.sign_embeddings import EMBEDDINGS_FILE, dump_embeddings
from signet.statistics.intervals import wilson
from signet.statistics.vocabulary_score import VocabularyScore, find_rejection
from signet.store import ObjectStore
from signet.store.options import open_store_option
from signet.terminal.output import open_console, print_line

NAME = pretrained.ASL100
FOLDER = Path(__file__).resolve().parent.parent / "signet/pretrained" / NAME
# A third of the weights of the preset. It recognises as many clips (docs/results.md), and streams take less time. In a
# cross-validation of 80 glosses by signer, the last two settings cost no accuracy on single clips beyond chance, and
# streams of new signers have 2 to 5 points fewer gloss errors (docs/experiments.md#recombinations).
RECIPE = (
    "--preset", "signs100", "--branches", "4", "--hidden-dim", "64", "--hand-dim", "24", "--seed", "0", "--signing",
    "--recombination", "0.5",
)  # fmt: skip
# Frames are tracked as the commands that use the model track them.
EXTRACTION = ("--max-glosses", "100", "--split", "train", "--split", "val", "--quality", "fast")


NOTICE = """# asl100: 100 signs of American Sign Language

The model that `signet predict`, `signet live`, `signet transcribe` and an evaluator with an empty store use. Version {version}.

| | |
|---|---|
| signs | the 100 glosses of WLASL with the most clips that still exist; `model.json` lists them |
| trained on | {train} train clips of WLASL, {epochs} epochs, seed {seed}. The val clips have chosen neither weights nor epochs nor the seed |
| val, tracked as the commands do (`--quality fast`) | {correct} of {clips} clips, {share:.1f} % (95 % interval {low:.1f} to {high:.1f}); with weights as float32 {float32} |
| what it cannot do | other signs, other sign languages: it names the most similar of its 100 signs. Nearly all signers of val are also in train; with a new signer it is less accurate |
| new signs | `signet enroll` adds them (docs/enrolment.md): `embeddings.safetensors` has anonymous vectors of {vectors} of the train clips |
| size | {parameters:,} weights, stored as float16 |

**Licence.** The weights were trained on [WLASL](https://github.com/dxli94/WLASL), whose data are under the Computational Use of Data Agreement (C-UDA): for
academic and computational use, without commercial use. Use the weights in the same way. The code is under the Apache License 2.0.

**Make it again:** `make bundled-model WLASL=<dir>` (15 minutes on two idle cores, the extraction not counted).
"""  # noqa: E501


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
        SignetError: the model is too large, was chosen by val, has a linear head, or has no parity vector.
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
    embeddings = make_sign_embeddings(network, graph, dataset)
    if embeddings is None:
        raise SignetError(f"{NAME}/{card.version} has a linear head: no sign can be added to it. Nothing is written.")
    files = {ONNX_FILE: graph, PARITY_FILE: dump_parity(parity), EMBEDDINGS_FILE: dump_embeddings(embeddings)}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    version = registry.new_version(card.run_id, graph)
    changes = {"version": version, "files": digests, "metrics": after, **_rejection(card)}
    bundled = card.model_copy(update=changes)
    files[CARD] = bundled.model_dump_json(by_alias=True, indent=1).encode() + b"\n"
    size = sum(map(len, files.values()))
    if size > pretrained.MAX_BYTES:
        raise SignetError(f"the model has {size} bytes; at most {pretrained.MAX_BYTES} are allowed.")
    folder.mkdir(parents=True, exist_ok=True)
    low, high = wilson(after.val_correct, after.val_clips)
    notice = NOTICE.format(
        version=version,
        train=len(dataset.split(TRAIN)),
        epochs=card.metrics.epoch,
        seed=card.config["seed"],
        correct=after.val_correct,
        clips=after.val_clips,
        share=100 * after.val_correct / after.val_clips,
        low=100 * low,
        high=100 * high,
        float32=before.val_correct,
        vectors=len(embeddings.vectors),
        parameters=card.parameters,
    )
    for name, data in (files | {"README.md": notice.encode()}).items():
        (folder / name).write_bytes(data)
    print_line(console, f"{folder}: {NAME}/{version}, {size} bytes")


def _rejection(card: ModelCard) -> dict[str, VocabularyScore | float]:
    """The score of unknown signs and the threshold, as fields of the card, also for a run of an older version."""
    rejection = find_rejection(len(card.vocabulary), bool(card.config.get("recombination")))
    if rejection is None:
        return {}
    return {"vocabulary_score": rejection.score, "rejection_threshold": rejection.threshold}


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
