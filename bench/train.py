"""The speed of training, in seconds and relative to a plain loop over the same model.

    python -m bench.train            # the rows whose corpora are in the store (see bench.accuracy)

Seconds depend on the machine; the ratio depends on it little, because both loops run in turns, in one process, on one
thread. The plain loop is the straightforward one: a Dataset that augments one clip at a time and computes its features,
a DataLoader that pads and batches, nn.CTCLoss and Adam. Figures are saved in bench/results/train.json.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from bench.loading import loading
from bench.record import load_results, origin, peak_memory_gib, run_in_own_process, save_results
from services.trainer.config.train_config import TrainConfig
from services.trainer.data.augmentation import Augmentation
from services.trainer.data.batches import Clips, Sampler
from services.trainer.data.snapshot import load_or_create_snapshot
from services.trainer.features.phonology import Features
from services.trainer.model.build import new_model
from services.trainer.model.sign_model import SignModel
from services.trainer.runtime.threads import use_threads
from services.trainer.training.loop import Training
from signet.datasets.snapshot import Dataset
from signet.errors import SignetError
from signet.store.options import open_store_option
from signet.terminal.command import run_command
from signet.terminal.output import TableColumn, open_console, print_line, print_table

RESULTS = Path(__file__).parent / "results" / "train.json"

# Epochs of a row that is not trained to its end: the first one is warm-up; the median of the others counts.
_EPOCHS = 4

# Turns of the two loops that are compared.
_TURNS = 5

CPU = torch.device("cpu")


def main() -> None:
    """Measure, save and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--store", default="", help="default: SIGNET_STORE, or file:data/store")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    store = open_store_option(arguments.store)
    use_threads(arguments.threads)
    snapshot = partial(load_or_create_snapshot, store, samples_per_gloss=0)

    rows: dict[str, tuple[Callable[[], float], str, float]] = {
        "20 glosses to the end, s": (lambda: _to_the_end(snapshot(corpus="wlasl", max_glosses=20)), "<=", 15),
        "WLASL100 epoch, s": (lambda: _epoch(snapshot(corpus="wlasl", max_glosses=100), "signs100"), "<=", 0.7),
        "2,000 glosses, hands alone, epoch, s": (
            lambda: _epoch(snapshot(corpus="wlasl2000-hands", max_glosses=0), "signs2000"), "<=", 15
        ),
        "2,000 glosses, hands alone, resident, GiB": (
            lambda: run_in_own_process(_resident, arguments.store, arguments.threads), "<=", 3
        ),
        "load of 10,000 clips, s": (lambda: loading().best, "<=", 1),
        "clips a second, times the plain loop's": (lambda: _ratio(snapshot(corpus="wlasl", max_glosses=20)), ">=", 5),
    }  # fmt: skip
    console = open_console(min_width=120)
    table: list[list[str]] = []
    figures = load_results(RESULTS)
    for what, (measure, than, bar) in rows.items():
        print_line(console, f"{what} ...")
        try:
            value = measure()
        except SignetError as error:
            print_line(console, f"  left out: {error}")
            continue
        table.append([what, f"{value:.2f}", f"{than} {bar:g}"])
        figures[what] = {
            "value": round(value, 3),
            "bar": f"{than} {bar:g}",
            "threads": arguments.threads,
            **origin(),
        }
        save_results(RESULTS, figures)
    print_table(console, [TableColumn("what"), TableColumn("measured"), TableColumn("bar")], table)


def _to_the_end(dataset: Dataset) -> float:
    began = time.perf_counter()
    for _ in Training(dataset, TrainConfig(preset="phase1"), CPU).epochs():
        pass
    return time.perf_counter() - began


def epoch_seconds(training: Training) -> float:
    """The median time of a few epochs after the first one."""
    return median(epoch.seconds for epoch in islice(training.epochs(), 1, _EPOCHS))


def _epoch(dataset: Dataset, preset: str) -> float:
    return epoch_seconds(Training(dataset, TrainConfig(preset=preset, flat_start=0.0), CPU))


def _resident(store: str, threads: int) -> float:
    use_threads(threads)
    dataset = load_or_create_snapshot(open_store_option(store), "wlasl2000-hands", 0, 0)
    for _ in islice(Training(dataset, TrainConfig(preset="signs2000", flat_start=0.0), CPU).epochs(), 2):
        pass
    return peak_memory_gib()


def _ratio(dataset: Dataset) -> float:
    """Training clips a second, in turns: the median of our loop, divided by that of the plain loop."""
    ours, plain = _ours(dataset), _plain(dataset)
    next(ours), next(plain)
    speeds = [(next(ours), next(plain)) for _ in range(_TURNS)]
    return median(speed for speed, _ in speeds) / median(speed for _, speed in speeds)


def _ours(dataset: Dataset) -> Iterator[float]:
    """Clips a second in each epoch of our training loop, without evaluation."""
    train = dataset.split("train")
    training = Training(dataset, TrainConfig(preset="phase1", flat_start=0.0), CPU, train=train, held_out=[])
    for epoch in training.epochs():
        yield len(train) / epoch.seconds


class _SingleClips(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """One augmented clip at a time: its features [T, D] and its class."""

    def __init__(self, clips: Clips, features: Features) -> None:
        generator = torch.Generator().manual_seed(0)
        self._labels = clips.labels
        self._samplers = [Sampler(part, features, 1, 1, Augmentation(), generator) for part in clips.split(len(clips))]

    def __len__(self) -> int:
        return len(self._samplers)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self._samplers[index].epoch_features(), self._labels[index]


def _plain(dataset: Dataset) -> Iterator[float]:
    """Clips a second in each epoch of the plain loop."""
    config = TrainConfig(preset="phase1")
    model: SignModel = new_model(config, len(dataset.manifest.vocabulary))
    clips = Clips.from_dataset(dataset, dataset.split("train"), CPU)
    batches = torch.utils.data.DataLoader(
        _SingleClips(clips, model.features), config.batch_size, shuffle=True, collate_fn=_padded
    )
    criterion = nn.CTCLoss(zero_infinity=True)
    optimizer = torch.optim.Adam(model.parameters(), config.lr)
    while True:
        began = time.perf_counter()
        for features, lengths, labels in batches:
            log_probs = model.log_probs(features, lengths)
            loss = criterion(log_probs.transpose(0, 1), labels[:, None], lengths, torch.ones_like(labels))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        yield len(clips) / (time.perf_counter() - began)


def _padded(clips: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    features = nn.utils.rnn.pad_sequence([clip for clip, _ in clips], batch_first=True)
    return features, torch.tensor([len(clip) for clip, _ in clips]), torch.stack([label for _, label in clips])


if __name__ == "__main__":
    raise SystemExit(run_command(main))
