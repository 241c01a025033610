"""The caveats of a report: what a reader must know to interpret its figures."""

from collections.abc import Iterator

from services.evaluator.reports.clips import UNFINISHED, EvaluationClips
from services.evaluator.reports.report import PUBLISHED, Caveat, Report
from signet.datasets.snapshot import TRAINING_SPLITS
from signet.heldout import CROSS_VALIDATION
from signet.registry import ModelCard

# With fewer clips, one clip changes the accuracy by more than three points.
_FEW_CLIPS = 30

# With fewer seeds, the deviation is not informative, and the best of them may be chosen by chance.
MIN_SEEDS = 3

# A caveat lists as many clips or groups; it counts the others.
_LISTED = 5


def collect_caveats(report: Report, clips: EvaluationClips, card: ModelCard | None) -> tuple[Caveat, ...]:
    """All caveats of a report; `card` is the card of a published model."""
    return (
        _selection_caveat(report),
        *_seed_caveats(report),
        _size_caveat(report),
        *_corpus_caveats(report, clips),
        *_duplicate_caveats(report, clips),
        *_signer_caveats(report, clips),
        *_unsigned_caveats(report),
        *(_card_caveats(report, card) if card else ()),
        *_commit_caveats(report),
    )


def _selection_caveat(report: Report) -> Caveat:
    about = report.provenance
    if about.split in TRAINING_SPLITS:
        return Caveat(
            title="Trained on this split",
            caution=True,
            text="The model was trained on these clips: the figures show what it remembers, not what it recognises. "
            "Evaluate it on a split that it was not trained on.",
        )
    if about.selected and about.protocol == CROSS_VALIDATION:
        return Caveat(
            title="Selected on the held-out clips",
            caution=True,
            text="In each fold the weights were selected by their accuracy on the held-out clips of that fold "
            f"({about.selected_on}), so the figures are optimistic. Train with a fixed number of epochs and without a "
            "target accuracy instead.",
        )
    if about.selected:
        return Caveat(
            title="Selected on this split",
            caution=True,
            text="The checkpoint was selected by its accuracy on this split, so the figures are optimistic. Evaluate "
            "the model on a split that was not used for a selection, or cross-validate by signer and quote the mean "
            "over the seeds.",
        )
    if about.protocol == CROSS_VALIDATION:
        return Caveat(
            title="Neither trained nor selected on the held-out clips",
            text=f"Each of the {about.folds} folds was held out once, with all clips of its signers and all duplicates "
            "of its clips. No weight and no selection of a checkpoint depends on the models' predictions for them. "
            "This is true only as long as no setting is tuned by these figures.",
        )
    return Caveat(
        title="Neither trained nor selected on this split",
        text=f"No weight and no selection of a checkpoint depends on the split {about.split!r}. This is true only as "
        f"long as no setting is tuned by these figures. To compare trainings, use the mean over {MIN_SEEDS} seeds or "
        "more.",
    )


def _seed_caveats(report: Report) -> Iterator[Caveat]:
    across = report.across_seeds
    if across is None:
        return
    if len(across.seeds) < MIN_SEEDS:
        count = "One seed" if len(across.seeds) == 1 else f"{len(across.seeds)} seeds"
        yield Caveat(
            title=f"{count}: not enough to judge a training",
            caution=True,
            text="With another seed, the same training can reach an accuracy that differs by several points. Train "
            f"{MIN_SEEDS} seeds or more (`--seeds {MIN_SEEDS}`), and quote their mean and deviation.",
        )
    if across.incomplete:
        yield Caveat(
            title="Incomplete seeds are left out",
            caution=True,
            text=f"These seeds lack a fold: {', '.join(map(str, across.incomplete))}. Leaving out seeds because of "
            "their accuracy biases the mean. Finish the run.",
        )


def _size_caveat(report: Report) -> Caveat:
    top1 = report.top1
    text = (
        f"{top1.n} clips. The 95 % interval of top-1 is {100 * top1.low:.0f} to {100 * top1.high:.0f} %: a model with "
        "another accuracy in this interval may be equally good."
    )
    if report.across_seeds and len(report.across_seeds.seeds) > 1:
        text += " More seeds make the mean on these clips more certain; only more clips make it so for other clips."
    few = top1.n < _FEW_CLIPS
    return Caveat(title="Few clips: use the interval, not the share alone" if few else "Confidence interval", text=text)


def _corpus_caveats(report: Report, clips: EvaluationClips) -> Iterator[Caveat]:
    """The origin of clips that are not in the snapshot, and the clips that were left out."""
    if not clips.corpus_version:
        return
    about = report.provenance
    unfinished = clips.corpus_version == UNFINISHED
    state = (
        "no extraction of it has ended, so clips may be missing" if unfinished else f"version {clips.corpus_version}"
    )
    text = (
        f"The model's dataset has no split {about.split!r}. These clips are from the corpus {clips.manifest.corpus!r} "
        f"({state}): all clips of this split whose gloss is one of the model's {about.glosses}, and whose recording is "
        "not among the training clips."
    )
    if report.outside_vocabulary:
        text += f" {report.outside_vocabulary} clips of other glosses are left out."
    yield Caveat(title="Clips from the corpus", caution=unfinished, text=text)
    if report.left_out:
        listed = [f"{clip.clip_id} ({clip.gloss}) = {', '.join(clip.training_clips)}" for clip in report.left_out]
        yield Caveat(
            title="Duplicates of training clips are left out",
            text=f"{len(report.left_out)} clips of the split show recordings that the model was trained on, and are "
            f"not counted: {_list(listed, 'clips')}.",
        )


def _duplicate_caveats(report: Report, evaluated: EvaluationClips) -> Iterator[Caveat]:
    if report.provenance.protocol == CROSS_VALIDATION:
        return  # all duplicates of a clip are in its fold
    clips = {clip.clip_id: clip for clip in (*evaluated.manifest.clips, *evaluated.clips)}
    evaluated_ids = {clip.clip_id for clip in evaluated.clips}
    groups = [[clips[clip_id] for clip_id in group if clip_id in clips] for group in evaluated.duplicates]
    leaking = [
        group
        for group in groups
        if any(clip.clip_id in evaluated_ids for clip in group) and len({clip.split for clip in group}) > 1
    ]
    if leaking:
        count = sum(clip.clip_id in evaluated_ids for group in leaking for clip in group)
        listed = [" = ".join(f"{clip.clip_id} ({clip.gloss}, {clip.split})" for clip in group) for group in leaking]
        show = "shows the same recording as a clip" if count == 1 else "show the same recordings as clips"
        yield Caveat(
            title="The same recording in two splits",
            caution=True,
            text=f"{count} of the {report.top1.n} clips {show} of another split: {_list(listed, 'groups')}. Under the "
            "same gloss, such a clip is easier than a new one; under another gloss, it can be right only by chance.",
        )


def _signer_caveats(report: Report, clips: EvaluationClips) -> Iterator[Caveat]:
    if report.provenance.split in TRAINING_SPLITS or report.provenance.protocol == CROSS_VALIDATION:
        return
    trained = {clip.signer for clip in clips.manifest.training_clips} - {""}
    known = sum(clip.signer in trained for clip in clips.clips)
    if known:
        yield Caveat(
            title="Known signers",
            text=f"{known} of the {report.top1.n} clips {'is' if known == 1 else 'are'} by signers who are also in the "
            "training clips. The figures do not show how well the model recognises new signers; a cross-validation by "
            "signer does.",
        )


def _unsigned_caveats(report: Report) -> Iterator[Caveat]:
    if not report.nothing_signed:
        return
    listed = [f"{clip.clip_id} ({clip.gloss}): {clip.reason}" for clip in report.nothing_signed]
    right = {clip.clip_id for clip in report.clips if clip.correct}
    correct = sum(clip.clip_id in right for clip in report.nothing_signed)
    yield Caveat(
        title="Clips in which nothing is signed",
        text=f"To {len(listed)} of the {report.top1.n} clips the service answers that nothing is signed, and gives no "
        f"ranking: {_list(listed, 'clips')}. The figures count the ranking that the model would give; "
        f"{correct} of these {'is' if correct == 1 else 'are'} right.",
    )


def _card_caveats(report: Report, card: ModelCard) -> Iterator[Caveat]:
    on_card, counted = card.metrics, report.top1
    about = report.provenance
    if about.protocol != PUBLISHED or about.split != "val" or about.corpus_version:
        return
    if (on_card.val_correct, on_card.val_clips) != (counted.correct, counted.n):
        yield Caveat(
            title="The model's card has another accuracy",
            caution=True,
            text=f"When the model was published, its trainer counted {on_card.val_correct} of {on_card.val_clips} on "
            f"val; this evaluation counts {counted.correct} of {counted.n}. So the clips, the export or the decoding "
            "differ.",
        )


def _commit_caveats(report: Report) -> Iterator[Caveat]:
    if report.provenance.commit == "unknown":
        yield Caveat(
            title="The commit of the code is not known",
            text="Set SIGNET_COMMIT, and the report names the git commit of the evaluator.",
        )


def _list(items: list[str], kind: str) -> str:
    """The first items, and the number of the others."""
    more = len(items) - _LISTED
    return "; ".join(items[:_LISTED]) + (f"; and {more} more {kind}" if more > 0 else "")
