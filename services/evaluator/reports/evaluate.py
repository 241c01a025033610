"""How often is a model right: a published model on a split, or all models of a run on what each was not trained on."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.reports import statistics as figures
from services.evaluator.reports.caveats import notes
from services.evaluator.reports.clips import EvaluationClips, load_split
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
    new_report_id,
    store_report,
)
from services.evaluator.reports.seeds import HeldOutRun
from services.evaluator.reports.statistics import LabelledPredictions
from services.evaluator.serving.loaded_model import LoadedModel
from signet import __version__, heldout, registry
from signet.datasets.snapshot import Manifest, load_snapshot, read_snapshot_manifest
from signet.errors import DataLoss
from signet.store import ObjectStore

_log = logging.getLogger(__name__)

DEFAULT_SPLIT = "val"

# The split of a report on cross-validation.
CROSS_VALIDATED = "train+val"

# Stands for a probability that is too small for a float64.
_LEAST = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class EvaluationProgress:
    """How far an evaluation is, in clips."""

    done: int
    total: int


def evaluate(
    store: ObjectStore,
    model_name: str,
    model_version: str = registry.LATEST,
    split: str = DEFAULT_SPLIT,
    *,
    commit: str = "unknown",
    threads: int = 0,
    watch: Callable[[EvaluationProgress], None] | None = None,
    metrics: EvaluatorMetrics | None = None,
) -> tuple[Report, str]:
    """Evaluate a model on a split of the very snapshot that it was trained on, and store the report.

    A split that the snapshot has not, because its clips were extracted later, is taken from the corpus; see
    `services.evaluator.reports.clips`.

    Args:
        store: where model, snapshot and corpus are, and where the report goes.
        model_name: the model.
        model_version: a version or an alias.
        split: "train", "val" or "test", or whatever splits there are.
        commit: git commit of this code.
        threads: see `LoadedModel`.
        watch: called before each batch; may raise to stop, and then nothing is stored.
        metrics: told the batch_indices and the accuracy.

    Returns:
        The report and its page.

    Raises:
        NotFound: no such model or snapshot.
        InvalidInput: there is no clip of this split.
        Conflict: the clips of this split were extracted otherwise than those that the model was trained on.
        DataLoss: the model, or its snapshot, is damaged.
    """
    started = time.perf_counter()
    version = registry.resolve(store, model_name, model_version)
    model = LoadedModel.load(store, model_name, version, threads)
    card = model.card
    snapshot = load_snapshot(store, card.dataset_name, card.dataset_version)
    _check_vocabulary(f"model {model.name}", model.vocabulary, snapshot.manifest)
    material = load_split(store, snapshot, split)
    loaded = time.perf_counter()

    done, total = 0, len(material.clips)

    def before_batch(size: int) -> None:
        nonlocal done
        if watch is not None:
            watch(EvaluationProgress(done, total))
        if metrics is not None:
            metrics.batch_clips.observe(size)
        done += size

    log_probs = model.log_probs(material.inputs, before_batch)
    modelled = time.perf_counter()
    readings = model.decode_all(log_probs)
    order = {gloss: index for index, gloss in enumerate(model.vocabulary)}
    answers = LabelledPredictions(
        scores=np.log(np.maximum(np.stack([reading.posterior for reading in readings]), _LEAST)),
        labels=np.array([order[clip.gloss] for clip in material.clips]),
        continuous=[reading.continuous for reading in readings],
        greedy=[reading.greedy for reading in readings],
        blank_ratio=[reading.blank_ratio for reading in readings],
        frames=[reading.frames for reading in readings],
    )
    if watch is not None:
        watch(EvaluationProgress(total, total))
    ended = time.perf_counter()

    report = summarise(
        figures.clip_results(material.clips, model.vocabulary, answers),
        Provenance(
            model_name=card.name,
            model_version=card.version,
            run_id=card.run_id,
            parameters=card.parameters,
            blank_penalty=card.blank_penalty,
            dataset_name=snapshot.manifest.name,
            dataset_version=snapshot.manifest.version,
            extractor=snapshot.manifest.extractor,
            split=split,
            glosses=len(model.vocabulary),
            commit=commit,
            signet_version=__version__,
            selected_on=card.selected_on,
            corpus_version=material.corpus_version,
            clips_version=material.clips_version,
            decoder=dict(vars(card.decoder)),
        ),
        material,
        figures.calibration(answers, *figures.signer_groups(material.clips, material.twins)),
        card,
        seconds={
            "load": loaded - started,
            "model": modelled - loaded,
            "decode": ended - modelled,
            "total": time.perf_counter() - started,
        },
    )
    html = _keep(store, report)
    if metrics is not None:
        metrics.show_accuracy(card.name, version, split, report.top1.value)
    return report, html


def evaluate_run(store: ObjectStore, run_id: str, *, commit: str = "unknown") -> tuple[Report, str]:
    """Report on all models of a run, from what they said of their held-out clips, and store the report.

    Args:
        store: where the run and its snapshot are, and where the report goes.
        run_id: a run that has ended.
        commit: git commit of this code.

    Returns:
        The report and its page. All but `across_seeds` is about the median seed.

    Raises:
        NotFound: there is no such run, it has not ended, or its snapshot is gone.
        DataLoss: what it left is damaged, or is not of its snapshot.
    """
    started = time.perf_counter()
    left = heldout.read_predictions(store, run_id)
    manifest = read_snapshot_manifest(store, left.dataset_name, left.dataset_version)
    _check_vocabulary(f"run {run_id}", left.vocabulary, manifest)
    loaded = time.perf_counter()
    run = HeldOutRun(left, manifest)
    across = run.across_seeds()
    shown = run.of(across.shown)
    crossed = left.protocol == heldout.CROSS_VALIDATION
    twins = manifest.audit.duplicates
    groups = (shown.folds, f"the {left.folds} folds") if crossed else figures.signer_groups(shown.clips, twins)
    material = EvaluationClips(clips=shown.clips, inputs=(), manifest=manifest, twins=twins, synonyms=run.synonyms)
    penalty = left.decoder.get("blank_penalty")
    report = summarise(
        shown.results,
        Provenance(
            model_name=left.model_name,
            model_version=run_id,
            run_id=run_id,
            parameters=left.parameters,
            blank_penalty=float(penalty) if isinstance(penalty, int | float) else 0.0,
            dataset_name=left.dataset_name,
            dataset_version=left.dataset_version,
            extractor=manifest.extractor,
            split=CROSS_VALIDATED if crossed else DEFAULT_SPLIT,
            glosses=len(left.vocabulary),
            commit=commit,
            signet_version=__version__,
            selected_on=left.selected_on,
            protocol=left.protocol,
            folds=left.folds,
            decoder=left.decoder,
        ),
        material,
        figures.calibration(shown.answers, *groups),
        None,
        seconds={"load": loaded - started, "model": 0.0, "decode": 0.0, "total": time.perf_counter() - started},
        across=across,
        gloss_errors=shown.gloss_errors,
    )
    return report, _keep(store, report)


def summarise(
    results: Sequence[ClipResult],
    provenance: Provenance,
    material: EvaluationClips,
    calibration: Calibration,
    card: registry.ModelCard | None,
    seconds: dict[str, float],
    across: AcrossSeeds | None = None,
    gloss_errors: GlossErrorRate | None = None,
) -> Report:
    """All figures of a report from what the model said of each clip.

    Args:
        results: of each clip.
        provenance: what was evaluated.
        material: the clips.
        calibration: of the posteriors.
        card: the model's; None if it is not published.
        seconds: how long each stage took.
        across: of a run, what its training comes to over seeds.
        gloss_errors: on concatenations of the clips, if that was measured.
    """
    vocabulary = material.manifest.vocabulary
    frames = sum(result.frames for result in results)
    counts = figures.count(results)
    top1, continuous, greedy, empty = (
        Proportion(correct=correct, n=counts.clips)
        for correct in (counts.top1, counts.continuous_correct, counts.greedy_correct, counts.greedy_empty)
    )
    now = datetime.now(UTC)
    report = Report(
        report_id=new_report_id(f"{provenance.model_name}/{provenance.model_version} {provenance.split}", now),
        created=now.isoformat(timespec="seconds"),
        provenance=provenance,
        top1=top1,
        top5=Proportion(correct=counts.top5, n=counts.clips),
        synonym_aware=figures.synonym_aware(results, material.synonyms),
        continuous=continuous,
        empty_continuous=Proportion(correct=counts.continuous_empty, n=counts.clips),
        exact_continuous_gap=top1.value - continuous.value,
        greedy=greedy,
        exact_greedy_gap=top1.value - greedy.value,
        mean_truth_probability=sum(result.truth_probability for result in results) / len(results),
        glosses_predicted=len({result.guesses[0].gloss for result in results}),
        blank=BlankStatistics(
            frame_ratio=sum(result.blank_ratio * result.frames for result in results) / frames,
            empty=empty,
            collapsed=empty.correct == empty.n,
            penalty=provenance.blank_penalty,
        ),
        per_gloss=figures.per_gloss(results, vocabulary),
        confusions=figures.confusions(results, vocabulary),
        clips=tuple(results),
        notes=(),
        seconds=seconds,
        calibration=calibration,
        signers=figures.signer_spread(results),
        across_seeds=across,
        gloss_errors=gloss_errors,
        left_out=material.left_out,
        outside_vocabulary=material.outside_vocabulary,
    )
    return report.model_copy(update={"notes": notes(report, material, card)})


def _keep(store: ObjectStore, report: Report) -> str:
    html = render(report)
    store_report(store, report, html)
    about, top1 = report.provenance, report.top1
    _log.info("report %s: %s on %s: %d of %d", report.report_id, report.title, about.split, top1.correct, top1.n)
    return html


def _check_vocabulary(what: str, vocabulary: tuple[str, ...], manifest: Manifest) -> None:
    if manifest.vocabulary != vocabulary:
        raise DataLoss(
            f"{what} and its dataset {manifest.name}/{manifest.version} do not agree on the vocabulary. Train again."
        )
