"""How well the members of a cross-validation tell signs of their vocabulary from other signs of the corpus.

    python -m bench.unknown_signs RUN --store URL

Each member scores its held-out clips, and the clips of all other glosses of the corpus by signers that it was not
trained on. The score of a fold is fitted on the other folds, so that no signer is scored by a fit to its own clips.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
import typer

from services.trainer.config.train_config import TrainConfig
from services.trainer.data.members import Member, plan_members
from services.trainer.model.build import restore_model
from services.trainer.model.sign_model import SignModel
from signet import heldout
from signet.datasets.snapshot import SampledClip, read_snapshot_manifest, sample_stored_clip
from signet.decoding import log_softmax, penalise_blank, single_sign_scores
from signet.statistics.vocabulary_score import fit_vocabulary_score, measure_separation, posterior_information
from signet.store import ObjectStore, keys
from signet.store.options import StoreOption, open_store_option
from signet.terminal.command import run_command
from signet.terminal.output import Console, open_console, print_line

# The temperature of the published scores, and others for comparison.
TEMPERATURE = 2.0
_TEMPERATURES = (0.5, 1.0, TEMPERATURE, 3.0, 4.0)

# The share of the right answers that a threshold keeps.
KEPT = 0.9

_BATCH = 64

Floats = npt.NDArray[np.float64]


def main(
    run_id: Annotated[str, typer.Argument(help="A run of `signet train --folds`")], store: StoreOption = ""
) -> None:
    """Print the separation for each seed and temperature, and the score that fits all training clips of the corpus."""
    opened = open_store_option(store)
    console = open_console()
    for seed, scores in _scores(opened, run_id):
        print_line(console, f"seed {seed}")
        _print_seed(console, *scores)


@dataclass(frozen=True)
class TrainClips:
    """Log-posteriors of clips of the train split that are held out in their fold, by all folds."""

    known: Floats  # [n, C]
    right: npt.NDArray[np.bool_]  # [n], whether the most probable gloss is the true one
    unknown: Floats  # [m, C]


def _print_seed(console: Console, known: list[Floats], unknown: list[Floats], training: TrainClips) -> None:
    for temperature in _TEMPERATURES:
        inside = [posterior_information(fold, temperature) for fold in known]
        outside = [posterior_information(fold, temperature) for fold in unknown]
        fits = [
            fit_vocabulary_score(_others(inside, fold), _others(outside, fold), temperature)
            for fold in range(len(inside))
        ]
        crossed = [
            np.concatenate([fit.of_information(values) for fit, values in zip(fits, kind, strict=True)])
            for kind in (inside, outside)
        ]
        figures = measure_separation(*crossed)
        print_line(
            console,
            f"T = {temperature:g}: AUROC {figures.auroc:.3f} ({figures.low:.3f} to {figures.high:.3f}), "
            f"equal error rate {equal_error_rate(*crossed):.3f}, "
            f"{figures.false_positive_rate:.2f} of unknown signs accepted with 95 % of known ones, calibration error "
            f"{figures.expected_error:.3f}; {figures.known} known, {figures.unknown} unknown",
        )
    of_train = [posterior_information(kind, TEMPERATURE) for kind in (training.known, training.unknown)]
    fitted = fit_vocabulary_score(of_train[0], of_train[1], TEMPERATURE)
    threshold = np.quantile(fitted.of_information(of_train[0][training.right]), 1 - KEPT)
    print_line(
        console,
        f"fitted on {len(of_train[0])} known and {len(of_train[1])} unknown clips of train: {fitted!r}; "
        f"{KEPT:.0%} of the right answers are above {threshold:.2f}",
    )


def equal_error_rate(known: Floats, unknown: Floats) -> float:
    """The share of known clips that are rejected and of unknown clips that are accepted, where both are equal."""
    thresholds = np.sort(np.concatenate([known, unknown]))
    rejected = np.searchsorted(np.sort(known), thresholds) / len(known)
    accepted = 1 - np.searchsorted(np.sort(unknown), thresholds) / len(unknown)
    nearest = int(np.argmin(np.abs(rejected - accepted)))
    return float((rejected[nearest] + accepted[nearest]) / 2)


def _others(folds: list[Floats], left_out: int) -> Floats:
    return np.concatenate([values for fold, values in enumerate(folds) if fold != left_out])


def _scores(store: ObjectStore, run_id: str) -> Iterator[tuple[int, tuple[list[Floats], list[Floats], TrainClips]]]:
    """For each seed: log-posteriors of known and of unknown clips by fold; those of the train split, of all folds."""
    run = heldout.read_predictions(store, run_id)
    manifest = read_snapshot_manifest(store, run.dataset_name, run.dataset_version)
    config = TrainConfig.stored(run.config)
    infos = list(store.list(keys.clips(manifest.corpus)))
    clips = [sample_stored_clip(store.get(info.key), info.key) for info in infos]
    recordings = {clip.record.source_sha256 for clip in clips if clip.record.gloss in run.vocabulary}
    foreign = [
        clip
        for clip in clips
        if clip.record.gloss not in run.vocabulary and clip.record.source_sha256 not in recordings
    ]
    by_id = {clip.record.clip_id: clip for clip in clips}
    members = plan_members(manifest, config)
    for seed in sorted({member.seed for member in members}):
        known: list[Floats] = []
        unknown: list[Floats] = []
        training: tuple[list[Floats], list[Floats]] = ([], [])
        right: list[npt.NDArray[np.bool_]] = []
        for member in members:
            if member.seed != seed:
                continue
            data = store.get(keys.run(run_id, f"members/{member.fold}-{seed}/weights.safetensors"))
            model = restore_model(config, len(run.vocabulary), data, f"run {run_id}")
            groups = [by_id[clip.clip_id] for clip in member.held_out], _unseen(foreign, member)
            for group, collected, of_training in zip(groups, (known, unknown), training, strict=True):
                posteriors = _log_posteriors(model, group, config.decoder.blank_penalty)
                collected.append(posteriors)
                of_training.append(posteriors[[clip.record.split == "train" for clip in group]])
            truths = [run.vocabulary.index(clip.record.gloss) for clip in groups[0] if clip.record.split == "train"]
            right.append(training[0][-1].argmax(axis=1) == np.array(truths))
        train_clips = TrainClips(np.concatenate(training[0]), np.concatenate(right), np.concatenate(training[1]))
        yield seed, (known, unknown, train_clips)


def _unseen(foreign: list[SampledClip], member: Member) -> list[SampledClip]:
    """Clips by signers that the member was not trained on."""
    signers = {signed.signer for signed in member.train}
    return [clip for clip in foreign if clip.record.signer not in signers]


@torch.no_grad()
def _log_posteriors(model: SignModel, clips: list[SampledClip], blank_penalty: float) -> Floats:
    """Log p(c | clip, exactly one sign) of each clip: [n, C]."""
    posteriors = []
    for start in range(0, len(clips), _BATCH):
        inputs = [torch.from_numpy(clip.samples[:, 0]) for clip in clips[start : start + _BATCH]]
        lengths = torch.tensor([len(frames) for frames in inputs])
        padded = torch.nn.utils.rnn.pad_sequence(inputs, batch_first=True, padding_value=float("nan"))
        log_probs = penalise_blank(model(padded, lengths).numpy(), blank_penalty)
        posteriors.append(log_softmax(single_sign_scores(log_probs, lengths.tolist())))
    return np.concatenate(posteriors)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    raise SystemExit(run_command(lambda: app(standalone_mode=False)))
