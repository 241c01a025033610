"""Evaluation of a published model on a split, and of all models of a training run on their held-out clips."""

import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.reports.caveats import collect_caveats
from services.evaluator.reports.clips import EvaluationClips, load_landmarks, load_split, load_unknown_signs
from services.evaluator.reports.continuous_figures import ContinuousSigning
from services.evaluator.reports.continuous_signing import ContinuousMaterial, measure_continuous_signing
from services.evaluator.reports.html.page import render
from services.evaluator.reports.report import (
    AcrossSeeds,
    BlankStatistics,
    Calibration,
    ClipResult,
    GlossErrorRate,
    Proportion,
    Provenance,
    Report,
    UnknownSigns,
)
from services.evaluator.reports.report_store import ReportIndex, new_report_id, store_report
from services.evaluator.reports.seeds import HeldOutRun
from services.evaluator.reports.statistics import (
    LabelledPredictions,
    build_clip_results,
    count_results,
    find_unsigned_clips,
    group_by_signer,
    list_confusions,
    measure_calibration,
    measure_glosses,
    measure_signers,
    measure_unknown_signs,
    synonym_aware_accuracy,
)
from services.evaluator.serving.loaded_model import LoadedModel
from signet import __version__, heldout, registry
from signet.datasets.snapshot import Manifest, load_snapshot, read_snapshot_manifest
from signet.errors import DataLoss
from signet.landmarks import Landmarks, to_model_input
from signet.store import ObjectStore

_log = logging.getLogger(__name__)

DEFAULT_SPLIT = "val"

# The split that a report on a cross-validation names.
CROSS_VALIDATED = "train+val"

# Replaces a probability that is too small for a float64, so that its logarithm is finite.
_SMALLEST_PROBABILITY = np.finfo(np.float64).tiny

# Called with the number of clips that were processed, and of all clips.
OnProgress = Callable[[int, int], None]


def evaluate(
    store: ObjectStore,
    model_name: str,
    model_version: str = registry.LATEST,
    split: str = DEFAULT_SPLIT,
    *,
    commit: str = "unknown",
    threads: int = 0,
    on_progress: OnProgress | None = None,
    metrics: EvaluatorMetrics | None = None,
    stored: ReportIndex | None = None,
    continuous: bool = True,
) -> tuple[Report, str]:
    """Evaluate a published model on a split of the snapshot that it was trained on, and store the report.

    If the snapshot has no such split, the clips are taken from its corpus; see `load_split`.

    `model_version` is a version or an alias; `commit` is the git commit of this code. `on_progress` is called before
    each batch. It may raise to stop the evaluation, and then nothing is stored. If `stored` has a report on the same
    model, clips and code, nothing is evaluated and that report is returned, with an empty page. Without `continuous`,
    the section on continuous signing is left out.

    Returns:
        The report and its page.

    Raises:
        NotFound: there is no such model, or its snapshot is gone.
        InvalidInput: there is no clip of this split.
        Conflict: the clips of this split and the model have different extractors.
        DataLoss: the model or its snapshot is damaged.
    """
    started = time.perf_counter()
    version = registry.resolve(store, model_name, model_version)
    model = LoadedModel.load(store, model_name, version, threads)
    snapshot = load_snapshot(store, model.card.dataset_name, model.card.dataset_version)
    _check_vocabulary(f"model {model.name}", model.card.trained_vocabulary, snapshot.manifest)
    clips = load_split(store, snapshot, split)
    provenance = _model_provenance(model.card, clips, split, commit)
    if stored is not None and (earlier := stored.find(provenance)) is not None:
        return earlier, ""
    seconds = {"load": time.perf_counter() - started}
    predictions = _predict(model, clips, seconds, on_progress, metrics)
    unknown = load_unknown_signs(store, clips.manifest, split, model.vocabulary)
    unknown_signs = _measure_unknown_signs(model, unknown, predictions)
    continuous_signing = _measure_continuous(store, model, clips, unknown, seconds, on_progress) if continuous else None
    calibration = measure_calibration(predictions, *group_by_signer(clips.clips, clips.duplicates))
    results = build_clip_results(clips.clips, model.vocabulary, predictions)
    seconds["total"] = time.perf_counter() - started
    report = build_report(results, provenance, clips, calibration, seconds, card=model.card).model_copy(
        update={"unknown_signs": unknown_signs, "continuous_signing": continuous_signing}
    )
    page = _store(store, report)
    if metrics is not None:
        metrics.show_accuracy(model.card.name, version, split, report.top1.value)
    return report, page


def evaluate_run(store: ObjectStore, run_id: str, *, commit: str = "unknown") -> tuple[Report, str]:
    """Report on all models of a run that has ended, by their predictions for held-out clips, and store the report.

    Returns:
        The report and its page. All parts but `across_seeds` are about the median seed.

    Raises:
        NotFound: there is no such run, the run has not ended, or its snapshot is gone.
        DataLoss: the predictions are damaged, or do not fit the snapshot.
    """
    started = time.perf_counter()
    run = heldout.read_predictions(store, run_id)
    manifest = read_snapshot_manifest(store, run.dataset_name, run.dataset_version)
    _check_vocabulary(f"run {run_id}", run.vocabulary, manifest)
    seconds = {"load": time.perf_counter() - started, "model": 0.0, "decode": 0.0}
    by_seed = HeldOutRun(run, manifest)
    across = by_seed.summarise()
    shown = by_seed.seed(across.shown)
    duplicates = manifest.audit.duplicates
    clips = EvaluationClips(shown.clips, (), manifest, duplicates, by_seed.synonyms)
    if run.protocol == heldout.CROSS_VALIDATION:
        calibration = measure_calibration(shown.predictions, shown.folds, f"the {run.folds} folds")
    else:
        calibration = measure_calibration(shown.predictions, *group_by_signer(shown.clips, duplicates))
    seconds["total"] = time.perf_counter() - started
    report = build_report(
        shown.results,
        _run_provenance(run, manifest, commit),
        clips,
        calibration,
        seconds,
        across=across,
        gloss_errors=shown.gloss_errors,
    )
    return report, _store(store, report)


def build_report(
    results: Sequence[ClipResult],
    provenance: Provenance,
    clips: EvaluationClips,
    calibration: Calibration,
    seconds: dict[str, float],
    *,
    card: registry.ModelCard | None = None,
    across: AcrossSeeds | None = None,
    gloss_errors: GlossErrorRate | None = None,
) -> Report:
    """Compute the other figures of a report from the predictions for each clip, and its caveats.

    `card` is that of a published model; `across` and `gloss_errors` are those of a run.
    """
    vocabulary = clips.manifest.vocabulary if card is None else card.vocabulary
    counts = count_results(results)
    top1 = Proportion(correct=counts.correct, n=counts.clips)
    continuous = Proportion(correct=counts.continuous_correct, n=counts.clips)
    greedy = Proportion(correct=counts.greedy_correct, n=counts.clips)
    blank_frames = sum(result.blank_ratio * result.frames for result in results)
    now = datetime.now(UTC)
    report = Report(
        report_id=new_report_id(f"{provenance.model_name}/{provenance.model_version} {provenance.split}", now),
        created=now.isoformat(timespec="seconds"),
        provenance=provenance,
        top1=top1,
        top5=Proportion(correct=counts.top5, n=counts.clips),
        synonym_aware=synonym_aware_accuracy(results, clips.synonyms),
        continuous=continuous,
        empty_continuous=Proportion(correct=counts.continuous_empty, n=counts.clips),
        exact_continuous_gap=top1.value - continuous.value,
        greedy=greedy,
        exact_greedy_gap=top1.value - greedy.value,
        mean_truth_probability=sum(result.truth_probability for result in results) / len(results),
        glosses_predicted=len({result.guesses[0].gloss for result in results}),
        blank=BlankStatistics(
            frame_ratio=blank_frames / sum(result.frames for result in results),
            empty=Proportion(correct=counts.empty, n=counts.clips),
            collapsed=counts.empty == counts.clips,
            penalty=provenance.blank_penalty,
        ),
        per_gloss=measure_glosses(results, vocabulary),
        confusions=list_confusions(results, vocabulary),
        clips=tuple(results),
        notes=(),
        seconds=seconds,
        calibration=calibration,
        signers=measure_signers(results),
        across_seeds=across,
        gloss_errors=gloss_errors,
        left_out=clips.left_out,
        outside_vocabulary=clips.outside_vocabulary,
        nothing_signed=find_unsigned_clips(clips.clips, clips.inputs) if clips.inputs else None,
    )
    return report.model_copy(update={"notes": collect_caveats(report, clips, card)})


def _predict(
    model: LoadedModel,
    clips: EvaluationClips,
    seconds: dict[str, float],
    on_progress: OnProgress | None,
    metrics: EvaluatorMetrics | None,
) -> LabelledPredictions:
    """Run the model on all clips and decode its output; add the seconds of both stages to `seconds`."""
    started = time.perf_counter()
    done, total = 0, len(clips.clips)

    def before_batch(size: int) -> None:
        nonlocal done
        if on_progress is not None:
            on_progress(done, total)
        if metrics is not None:
            metrics.batch_clips.observe(size)
        done += size

    log_probs = model.log_probs(clips.inputs, before_batch)
    modelled = time.perf_counter()
    decoded = model.decode_all(log_probs)
    label = {gloss: index for index, gloss in enumerate(model.vocabulary)}
    predictions = LabelledPredictions(
        scores=_log_posteriors([clip.posterior for clip in decoded]),
        labels=np.array([label[clip.gloss] for clip in clips.clips]),
        continuous=[clip.continuous for clip in decoded],
        greedy=[clip.greedy for clip in decoded],
        blank_ratio=[clip.blank_ratio for clip in decoded],
        frames=[clip.frames for clip in decoded],
    )
    if on_progress is not None:
        on_progress(total, total)
    seconds.update(model=modelled - started, decode=time.perf_counter() - modelled)
    return predictions


def _measure_unknown_signs(
    model: LoadedModel, unknown: Sequence[Landmarks], predictions: LabelledPredictions
) -> UnknownSigns | None:
    if model.card.vocabulary_score is None or not unknown:
        return None
    decoded = model.decode_all(model.log_probs([to_model_input(clip) for clip in unknown]))
    return measure_unknown_signs(
        model.card.vocabulary_score,
        predictions.scores.astype(np.float64),
        _log_posteriors([clip.posterior for clip in decoded]),
    )


def _measure_continuous(
    store: ObjectStore,
    model: LoadedModel,
    clips: EvaluationClips,
    unknown: Sequence[Landmarks],
    seconds: dict[str, float],
    on_progress: OnProgress | None,
) -> ContinuousSigning:
    started = time.perf_counter()
    total = len(clips.clips)
    training_signers = frozenset(clip.signer for clip in clips.manifest.training_clips)
    measured = measure_continuous_signing(
        model,
        ContinuousMaterial(load_landmarks(store, clips), total, unknown, training_signers),
        lambda _: None if on_progress is None else on_progress(total, total),
    )
    seconds["continuous"] = time.perf_counter() - started
    return measured


def _log_posteriors(posteriors: Sequence[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    return np.asarray(np.log(np.maximum(np.stack(posteriors), _SMALLEST_PROBABILITY)))


def _model_provenance(card: registry.ModelCard, clips: EvaluationClips, split: str, commit: str) -> Provenance:
    return Provenance(
        model_name=card.name,
        model_version=card.version,
        run_id=card.run_id,
        parameters=card.parameters,
        blank_penalty=card.blank_penalty,
        dataset_name=clips.manifest.name,
        dataset_version=clips.manifest.version,
        extractor=clips.manifest.extractor,
        split=split,
        glosses=len(card.vocabulary),
        commit=commit,
        signet_version=__version__,
        selected_on=card.selected_on,
        corpus_version=clips.corpus_version,
        clips_version=clips.clips_version,
        decoder=dict(vars(card.decoder)),
    )


def _run_provenance(run: heldout.HeldOutPredictions, manifest: Manifest, commit: str) -> Provenance:
    penalty = run.decoder.get("blank_penalty")
    return Provenance(
        model_name=run.model_name,
        model_version=run.run_id,
        run_id=run.run_id,
        parameters=run.parameters,
        blank_penalty=float(penalty) if isinstance(penalty, int | float) else 0.0,
        dataset_name=run.dataset_name,
        dataset_version=run.dataset_version,
        extractor=manifest.extractor,
        split=CROSS_VALIDATED if run.protocol == heldout.CROSS_VALIDATION else DEFAULT_SPLIT,
        glosses=len(run.vocabulary),
        commit=commit,
        signet_version=__version__,
        selected_on=run.selected_on,
        protocol=run.protocol,
        folds=run.folds,
        decoder=run.decoder,
    )


def _store(store: ObjectStore, report: Report) -> str:
    """Make the page, and store it with the report."""
    page = render(report)
    store_report(store, report, page)
    result = f"{report.title} on {report.provenance.split}: {report.top1.correct} of {report.top1.n}"
    _log.info("report %s: %s", report.report_id, result)
    return page


def _check_vocabulary(name: str, vocabulary: tuple[str, ...], manifest: Manifest) -> None:
    if manifest.vocabulary != vocabulary:
        raise DataLoss(
            f"{name} and its dataset {manifest.name}/{manifest.version} have different vocabularies. Train again."
        )
