"""How a run's model becomes a version in the registry: exported, proven on real clips, with its card, and once only."""

import hashlib
import logging
from collections.abc import Mapping
from datetime import UTC, datetime

from services.trainer.config.train_config import TrainConfig
from services.trainer.export.onnx import export
from services.trainer.model.recogniser import Recogniser
from services.trainer.runs.checkpoints import Checkpoints
from services.trainer.runs.heldout_evaluation import Outcome
from signet import registry
from signet.datasets.snapshot import TRAIN, VAL, Dataset
from signet.registry import Metrics, ModelCard
from signet.store import ObjectStore

_log = logging.getLogger(__name__)


def publish(
    store: ObjectStore,
    dataset: Dataset,
    config: TrainConfig,
    run_id: str,
    model: Recogniser,
    outcome: Outcome,
    checkpoints: Checkpoints,
) -> ModelCard:
    """Export a run's model, and make it the latest version of its name.

    Args:
        store: where models are.
        dataset: the run's snapshot; on its clips the export is compared with the model.
        config: the run's configuration.
        run_id: its name.
        model: what is published.
        outcome: what the run's members come to, for the card.
        checkpoints: the run's record: whose it is, and how long the store is waited for.

    Returns:
        the published model's card.

    Raises:
        TakenOver: another process continues the run.
        Unavailable: the store was away for longer than anybody waits; the message says how to go on.
        SignetError: ONNX and torch differ by more than float32 explains.
    """
    proof = [dataset.clip_frames(clip) for clip in dataset.split(VAL) or dataset.split(TRAIN)]
    files, difference = export(model, proof, store.cache)
    card = _card(dataset, config, run_id, model, outcome, files, difference)
    published = card

    def write() -> None:
        nonlocal published
        checkpoints.check_owner()
        # Anew at each attempt: what a store that went away may have kept of one is no version.
        published = card.model_copy(
            update={
                "version": registry.new_version(run_id, b"".join(files.values())),
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
            }
        )
        registry.publish(store, published, files)

    checkpoints.write_with_retry(write)
    _log.info(
        "published %s/%s; ONNX differs from torch by %.1e on %d real clips",
        published.name,
        published.version,
        difference,
        len(proof),
    )
    return published


def published_by(store: ObjectStore, run_id: str, name: str) -> ModelCard | None:
    """What a run published before its process ended without a result; it is the latest version then.

    Args:
        store: where models are.
        run_id: the run's name.
        name: the model's.
    """
    for version in reversed(registry.versions(store, name)):
        # A run's id begins with the time when it was begun, a version with that when it was made.
        if version.partition("-")[0] < run_id.partition("-")[0]:
            return None
        card = registry.read_card(store, name, version)
        if card.run_id == run_id:
            if registry.aliases(store, name).get(registry.LATEST, "") < version:
                registry.move_alias(store, name, registry.LATEST, version)
            return card
    return None


def _card(
    dataset: Dataset,
    config: TrainConfig,
    run_id: str,
    model: Recogniser,
    outcome: Outcome,
    files: Mapping[str, bytes],
    difference: float,
) -> ModelCard:
    """The card, but for its version and when it was made."""
    manifest, tally = dataset.manifest, outcome.tally
    return ModelCard(
        schema=registry.SCHEMA,
        name=config.model_name,
        version="",
        created="",
        run_id=run_id,
        dataset_name=manifest.name,
        dataset_version=manifest.version,
        vocabulary=manifest.vocabulary,
        frame_rate=manifest.frame_rate,
        smoothing_seconds=manifest.smoothing_seconds,
        blank_penalty=outcome.decoder.blank_penalty,
        insertion_penalty=outcome.decoder.insertion_penalty,
        repetition_penalty=outcome.decoder.repetition_penalty,
        beam_width=outcome.decoder.beam_width,
        undoubted=outcome.decoder.undoubted,
        parameters=model.parameter_count,
        config=config.model_dump(),
        metrics=Metrics(
            val_clips=tally.clips,
            val_correct=tally.correct,
            val_greedy_correct=tally.greedy_correct,
            blank_ratio=tally.blank_ratio,
            epoch=max(member.epochs for member in outcome.members),
        ),
        selected_on=outcome.selected_on,
        onnx_difference=difference,
        files={name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    )
