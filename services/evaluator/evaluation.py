"""How often is a published model right: a model, a split, and every figure with its n."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from services.evaluator.honesty import notes
from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.model import LoadedModel, Reading
from services.evaluator.page import render
from services.evaluator.report import (
    BlankStatistics,
    ClipResult,
    Confusion,
    GlossResult,
    Guess,
    Proportion,
    Provenance,
    Report,
    new_report_id,
    store_report,
)
from signet import __version__, dataset, registry
from signet.dataset import Dataset, DatasetClip
from signet.errors import DataLoss, InvalidInput
from signet.store import ObjectStore

_log = logging.getLogger(__name__)

DEFAULT_SPLIT = "val"

_TOP = 5


@dataclass(frozen=True)
class Progress:
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
    watch: Callable[[Progress], None] | None = None,
    metrics: EvaluatorMetrics | None = None,
) -> tuple[Report, str]:
    """Evaluate a model on a split of the very snapshot that it was trained on, and store the report.

    Args:
        store: where model and snapshot are, and where the report goes.
        model_name: the model.
        model_version: a version or an alias.
        split: "train" or "val", or whatever splits the snapshot has.
        commit: git commit of this code.
        threads: see `LoadedModel`.
        watch: called before each batch; may raise to stop, and then nothing is stored.
        metrics: told the batches and the accuracy.

    Returns:
        The report and its page.

    Raises:
        NotFound: no such model or snapshot.
        InvalidInput: the snapshot has no clip in this split.
        DataLoss: the model, or its snapshot, is damaged.
    """
    started = time.perf_counter()
    version = registry.resolve(store, model_name, model_version)
    model = LoadedModel.load(store, model_name, version, threads)
    snapshot = dataset.load(store, model.card.dataset_name, model.card.dataset_version)
    clips = _clips(model, snapshot, split)
    loaded = time.perf_counter()

    done = 0

    def before_batch(size: int) -> None:
        nonlocal done
        if watch is not None:
            watch(Progress(done, len(clips)))
        if metrics is not None:
            metrics.batch_clips.observe(size)
        done += size

    log_probs = model.log_probs([snapshot.clip_frames(clip) for clip in clips], before_batch)
    modelled = time.perf_counter()
    readings = [model.read(answer) for answer in log_probs]
    results = [_clip_result(model, clip, reading) for clip, reading in zip(clips, readings, strict=True)]
    if watch is not None:
        watch(Progress(len(clips), len(clips)))
    ended = time.perf_counter()

    report = summarise(
        results,
        Provenance(
            model_name=model.card.name,
            model_version=model.card.version,
            run_id=model.card.run_id,
            parameters=model.card.parameters,
            blank_penalty=model.card.blank_penalty,
            dataset_name=snapshot.manifest.name,
            dataset_version=snapshot.manifest.version,
            extractor=snapshot.manifest.extractor,
            split=split,
            glosses=len(model.vocabulary),
            commit=commit,
            signet_version=__version__,
        ),
        snapshot.manifest,
        model.card,
        seconds={
            "load": loaded - started,
            "model": modelled - loaded,
            "decode": ended - modelled,
            "total": ended - started,
        },
    )
    html = render(report)
    store_report(store, report, html)
    if metrics is not None:
        metrics.reported(model.card.name, version, split, report.top1.value)
    _log.info("report %s: %s on %s: %d of %d", report.report_id, model.name, split, report.top1.correct, report.top1.n)
    return report, html


def summarise(
    results: Sequence[ClipResult],
    provenance: Provenance,
    manifest: dataset.Manifest,
    card: registry.ModelCard,
    seconds: dict[str, float],
) -> Report:
    """All figures of a report from what the model said of each clip."""
    n = len(results)
    frames = sum(result.frames for result in results)
    top1 = Proportion(correct=sum(result.correct for result in results), n=n)
    greedy = Proportion(correct=sum(result.greedy_correct for result in results), n=n)
    empty = Proportion(correct=sum(not result.greedy for result in results), n=n)
    guesses = Counter(result.guesses[0].gloss for result in results)
    cells = Counter((result.truth, result.guesses[0].gloss) for result in results)
    truths = Counter(result.truth for result in results)
    order = {gloss: index for index, gloss in enumerate(manifest.vocabulary)}
    now = datetime.now(UTC)
    report = Report(
        report_id=new_report_id(f"{card.name}/{card.version} {provenance.split}", now),
        created=now.isoformat(timespec="seconds"),
        provenance=provenance,
        top1=top1,
        top5=Proportion(correct=sum(result.rank <= _TOP for result in results), n=n),
        synonym_aware=_synonym_aware(results, manifest),
        greedy=greedy,
        exact_greedy_gap=top1.value - greedy.value,
        mean_truth_probability=sum(result.truth_probability for result in results) / n,
        glosses_predicted=len(guesses),
        blank=BlankStatistics(
            frame_ratio=sum(result.blank_ratio * result.frames for result in results) / frames,
            empty=empty,
            collapsed=empty.correct == n,
            penalty=card.blank_penalty,
        ),
        per_gloss=tuple(
            GlossResult(
                gloss=gloss,
                recognised=Proportion(correct=cells[gloss, gloss], n=truths[gloss]),
                predicted=guesses[gloss],
            )
            for gloss in manifest.vocabulary
        ),
        confusions=tuple(
            Confusion(truth=truth, predicted=predicted, clips=count)
            for (truth, predicted), count in sorted(
                cells.items(), key=lambda cell: (order[cell[0][0]], order[cell[0][1]])
            )
        ),
        clips=tuple(results),
        notes=(),
        seconds=seconds,
    )
    return report.model_copy(update={"notes": notes(report, manifest, card)})


def _clips(model: LoadedModel, snapshot: Dataset, split: str) -> list[DatasetClip]:
    manifest = snapshot.manifest
    if manifest.vocabulary != model.vocabulary:
        raise DataLoss(
            f"model {model.name} and its dataset {manifest.name}/{manifest.version} do not agree on the vocabulary. "
            "Train again."
        )
    clips = snapshot.split(split)
    if not clips:
        there = Counter(clip.split for clip in manifest.clips)
        listed = ", ".join(f"{name or '(none)'} ({count} clips)" for name, count in sorted(there.items()))
        raise InvalidInput(f"split {split!r}: dataset {manifest.name}/{manifest.version} has none; it has {listed}.")
    return clips


def _clip_result(model: LoadedModel, clip: DatasetClip, reading: Reading) -> ClipResult:
    ranking = reading.ranking()
    truth = model.vocabulary.index(clip.gloss)
    return ClipResult(
        clip_id=clip.clip_id,
        signer=clip.signer,
        truth=clip.gloss,
        guesses=tuple(
            Guess(gloss=model.vocabulary[index], probability=float(reading.posterior[index]))
            for index in ranking[:_TOP]
        ),
        rank=int((ranking == truth).argmax()) + 1,
        truth_probability=float(reading.posterior[truth]),
        greedy=reading.greedy,
        blank_ratio=reading.blank_ratio,
        frames=reading.frames,
    )


def _synonym_aware(results: Sequence[ClipResult], manifest: dataset.Manifest) -> Proportion | None:
    """Top-1, any gloss accepted under which a bit-identical video of the truth's stands in the snapshot as well."""
    glosses = {clip.clip_id: clip.gloss for clip in manifest.clips}
    accepted: dict[str, set[str]] = {}
    for group in manifest.audit.identical:
        together = {glosses[clip_id] for clip_id in group}
        if len(together) > 1:
            for gloss in together:
                accepted.setdefault(gloss, {gloss}).update(together)
    if not accepted:
        return None
    right = sum(result.guesses[0].gloss in accepted.get(result.truth, {result.truth}) for result in results)
    return Proportion(correct=right, n=len(results))
