"""Publishing: a run's model is exported, compared with its export on real clips, and stored once in the registry."""

import hashlib
import logging
from collections.abc import Mapping
from datetime import UTC, datetime

from services.trainer.config.train_config import TrainConfig
from services.trainer.export.onnx import GRAPH, ExportAgreement, ExportMismatch, export_model
from services.trainer.export.parity import make_parity_vector
from services.trainer.model.build import WEIGHTS, serialise_weights
from services.trainer.model.sign_model import SignModel
from services.trainer.runs.checkpoints import Checkpoints
from services.trainer.runs.heldout_evaluation import HeldOutEvaluation
from signet import registry
from signet.datasets.snapshot import TRAIN, VAL, Dataset
from signet.errors import UntrustedModel
from signet.parity import PARITY_FILE, dump_parity
from signet.registry import Metrics, ModelCard
from signet.statistics.vocabulary_score import published_score
from signet.store import ObjectStore, keys

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
    card = _card(dataset, config, run_id, model, evaluation, files, agreement)

    def write() -> ModelCard:
        checkpoints.check_owner()
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

    The alias `latest` is moved to it if it names an older version.
    """
    for version in reversed(registry.versions(store, name)):
        # A run id starts with the start time of the run, a version with its time of publication.
        if version.partition("-")[0] < run_id.partition("-")[0]:
            return None
        try:
            card = registry.read_card(store, name, version)
        except UntrustedModel:  # this process signs what it publishes
            continue
        if card.run_id == run_id:
            if registry.aliases(store, name).get(registry.LATEST, "") < version:
                registry.move_alias(store, name, registry.LATEST, version, f"published by run {run_id}")
            return card
    return None


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
        vocabulary_score=published_score(len(manifest.vocabulary)),
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
