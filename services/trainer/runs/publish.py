"""Publishing: a run's model is exported, compared with its export on real clips, and stored once in the registry."""

import hashlib
import logging
from collections.abc import Mapping
from datetime import UTC, datetime

from services.trainer.config.train_config import TrainConfig
from services.trainer.export.onnx import GRAPH, ExportAgreement, ExportMismatch, export_model
from services.trainer.export.parity import make_parity_vector
from services.trainer.export.sign_embeddings import make_sign_embeddings
from services.trainer.model.build import WEIGHTS, serialise_weights
from services.trainer.model.sign_model import SignModel
from services.trainer.runs.checkpoints import Checkpoints
from services.trainer.runs.heldout_evaluation import HeldOutEvaluation
from signet import registry
from signet.datasets.snapshot import TRAIN, VAL, Dataset
from signet.errors import DataLoss, NotFound, UntrustedModel
from signet.parity import PARITY_FILE, dump_parity
from signet.registry import Metrics, ModelCard
from signet.sign_embeddings import EMBEDDINGS_FILE, dump_embeddings
from signet.statistics.vocabulary_score import find_rejection
from signet.store import ObjectStore, keys
from signet.store.strays import log_skipped_object

_log = logging.getLogger(__name__)


def publish(
    store: ObjectStore,
    dataset: Dataset,
    config: TrainConfig,
    run_id: str,
    model: SignModel,
    evaluation: HeldOutEvaluation,
    checkpoints: Checkpoints,
) -> ModelCard:
    """Export a run's model, compare both on the snapshot's clips, and make it the latest version of its name.

    Raises:
        TakenOver: another process has resumed the run.
        Unavailable: the store stays unavailable; the message says how to resume.
        ExportMismatch: the exported graph gives other answers than the model; the message says how to resume.
    """
    clips = {clip.clip_id: dataset.clip_frames(clip) for clip in dataset.split(VAL) or dataset.split(TRAIN)}
    try:
        graph, agreement = export_model(model, clips, config.decoder)
    except ExportMismatch as error:
        raise ExportMismatch(
            f"{error} Nothing is published, and the trained weights stay in {store.url}/{keys.run(run_id, '')}. With a "
            f"version of Signet that corrects the export, {checkpoints.resume_hint()}"
        ) from error
    files = {WEIGHTS: serialise_weights(model), GRAPH: graph}
    parity = make_parity_vector(model, graph)
    if parity is not None:
        files[PARITY_FILE] = dump_parity(parity)
    embeddings = make_sign_embeddings(model, graph, dataset)
    if embeddings is not None:
        files[EMBEDDINGS_FILE] = dump_embeddings(embeddings)
    card = _card(dataset, config, run_id, model, evaluation, files, agreement)

    attempts = 0

    def write() -> ModelCard:
        nonlocal attempts
        checkpoints.check_owner()
        attempts += 1
        # The attempt before may have published the model, although its answer was lost.
        if attempts > 1 and (earlier := find_published_model(store, run_id, config.model_name)) is not None:
            return earlier
        # A new version at each attempt: an attempt that failed may have left some of its files in the store.
        version = registry.new_version(run_id, b"".join(files.values()))
        published = card.model_copy(update={"version": version, "created": _now()})
        registry.publish(store, published, files)
        return published

    published = checkpoints.write_with_retry(write)
    _log.info("published %s/%s; differences of ONNX from torch: %s", published.name, published.version, agreement)
    return published


def find_published_model(store: ObjectStore, run_id: str, name: str) -> ModelCard | None:
    """The card of the model that a run published before its process ended without a result; None if there is none.

    All cards are read, the last versions first: the machine that published it may have had a wrong clock, so that the
    order of versions says little. The alias `latest` moves to the model if it has never named it.
    """
    for version in reversed(registry.versions(store, name)):
        try:
            card = registry.read_card(store, name, version)
        except UntrustedModel:  # this process signs what it publishes
            continue
        except NotFound:  # deleted since it was listed
            continue
        except DataLoss as error:
            log_skipped_object(store, keys.model(name, version, registry.CARD), str(error))
            continue
        if card.run_id == run_id and card.enrolment is None:
            _finish_publication(store, card)
            return card
    return None


def _finish_publication(store: ObjectStore, card: ModelCard) -> None:
    """Move the alias `latest` to a version, unless it names or has named it: then others have moved or deleted it."""
    latest = registry.read_aliases(store, card.name, include_deleted=True).get(registry.LATEST)
    if latest is None or all(move.version != card.version for move in latest.history):
        registry.move_alias(store, card.name, registry.LATEST, card.version, f"published by run {card.run_id}")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _card(
    dataset: Dataset,
    config: TrainConfig,
    run_id: str,
    model: SignModel,
    evaluation: HeldOutEvaluation,
    files: Mapping[str, bytes],
    agreement: ExportAgreement,
) -> ModelCard:
    """The card without a version."""
    manifest, decoder, counts = dataset.manifest, config.decoder, evaluation.counts
    rejection = find_rejection(len(manifest.vocabulary), config.recombination > 0)
    return ModelCard(
        schema=registry.SCHEMA,
        name=config.model_name,
        version="",
        created=_now(),
        run_id=run_id,
        dataset_name=manifest.name,
        dataset_version=manifest.version,
        vocabulary=manifest.vocabulary,
        frame_rate=manifest.frame_rate,
        smoothing_seconds=manifest.smoothing_seconds,
        blank_penalty=decoder.blank_penalty,
        insertion_penalty=decoder.insertion_penalty,
        repetition_penalty=decoder.repetition_penalty,
        beam_width=decoder.beam_width,
        undoubted=decoder.undoubted,
        vocabulary_score=None if rejection is None else rejection.score,
        rejection_threshold=None if rejection is None else rejection.threshold,
        parameters=model.parameter_count,
        config=config.model_dump(),
        metrics=Metrics(
            val_clips=counts.clips,
            val_correct=counts.correct,
            val_greedy_correct=counts.greedy_correct,
            blank_ratio=counts.blank_ratio,
            epoch=max(member.epochs for member in evaluation.members),
        ),
        selected_on=evaluation.selected_on,
        onnx_difference=agreement.largest,
        onnx_median_difference=agreement.median,
        onnx_clips=agreement.clips,
        files={name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    )
