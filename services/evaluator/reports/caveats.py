"""What a reader must know before believing a report: said in plain words, in the report itself."""

from services.evaluator.reports.clips import UNFINISHED, EvaluationClips
from services.evaluator.reports.report import PUBLISHED, Note, Report
from signet.datasets.snapshot import TRAINING_SPLITS
from signet.heldout import CROSS_VALIDATION
from signet.registry import ModelCard

# Below this, one clip more or less is worth more than three points.
_FEW_CLIPS = 30

# Of fewer seeds the deviation says nothing, and a lucky one may be what is quoted.
LEAST_SEEDS = 3

_LISTED = 5


def notes(report: Report, material: EvaluationClips, card: ModelCard | None) -> tuple[Note, ...]:
    """Every reservation that applies to a report; `card` is that of a published model."""
    found = [_selection(report), *_seeds(report), _size(report), *_corpus(report, material), *_twins(report, material)]
    found += [*_signers(report, material), *(_card(report, card) if card else []), *_commit(report)]
    return tuple(found)


def _selection(report: Report) -> Note:
    about = report.provenance
    split = about.split
    if split in TRAINING_SPLITS:
        return Note(
            title="Trained on this split",
            caution=True,
            text="The model has seen these very clips: the figures say how well it remembers, not how well it "
            "recognises. To judge it, evaluate it on a split that it was not trained on.",
        )
    if about.selected and about.protocol == CROSS_VALIDATION:
        return Note(
            title="Selected on the clips that were held out",
            caution=True,
            text="In each fold the weights were chosen by how they did on that fold's own held-out clips "
            f"({about.selected_on}), so the figures are optimistic. Train with a fixed number of epochs instead, and "
            "no target to stop at.",
        )
    if about.selected:
        return Note(
            title="Selected on this split",
            caution=True,
            text="The checkpoint was chosen among others by its accuracy on this very split, so the figures are "
            "optimistic. To judge it, evaluate it on a split that no choice has looked at, or cross-validate by signer "
            "and quote the mean over seeds.",
        )
    if about.protocol == CROSS_VALIDATION:
        return Note(
            title="Not trained and not selected on what is held out",
            text=f"Each of the {about.folds} folds was held out in its turn, with all clips of its signers and all "
            "twins of its clips, and no weight and no choice of a checkpoint depends on what its models say of it. "
            "That holds only as long as nobody tunes a setting by these figures.",
        )
    return Note(
        title="Not trained and not selected on this split",
        text=f"No weight and no choice of a checkpoint depends on the split {split!r}. That holds only as long as "
        "nobody tunes a setting by these figures; a training is judged by the mean over at least three seeds.",
    )


def _seeds(report: Report) -> list[Note]:
    across = report.across_seeds
    if across is None:
        return []
    found = []
    if len(across.seeds) < LEAST_SEEDS:
        count = "One seed" if len(across.seeds) == 1 else f"{len(across.seeds)} seeds"
        found.append(
            Note(
                title=f"{count}: not enough to judge a training",
                caution=True,
                text=f"The same training begun with another seed may end some points away. Train {LEAST_SEEDS} seeds "
                f"or more (`--seeds {LEAST_SEEDS}`), and quote their mean and deviation.",
            )
        )
    if across.incomplete:
        found.append(
            Note(
                title="Seeds that were not finished are left out",
                caution=True,
                text=f"Of seed {', '.join(map(str, across.incomplete))} a fold is missing. Leaving out seeds by how "
                "they did would be choosing; finish the run.",
            )
        )
    return found


def _size(report: Report) -> Note:
    top1 = report.top1
    text = (
        f"{top1.n} clips. Top-1 lies between {100 * top1.low:.0f} and {100 * top1.high:.0f} % with 95 % confidence: a "
        "model that scores somewhere else in that interval may be just as good."
    )
    if report.across_seeds and len(report.across_seeds.seeds) > 1:
        text += " More seeds make the mean surer for these clips; only more clips make it surer for others."
    few = top1.n < _FEW_CLIPS
    return Note(title="Few clips: read the interval, not the figure" if few else "How sure", text=text)


def _corpus(report: Report, material: EvaluationClips) -> list[Note]:
    """Of clips that are not the snapshot's own: where they come from, and which were left out."""
    if not material.corpus_version:
        return []
    about, manifest = report.provenance, material.manifest
    state = (
        "no extraction of it has come to its end, so that clips may be missing"
        if material.corpus_version == UNFINISHED
        else f"version {material.corpus_version}"
    )
    text = (
        f"The model's dataset has no split {about.split!r}. These clips were taken from the corpus {manifest.corpus!r} "
        f"({state}): all of this split whose gloss is one of the model's {about.glosses}, and whose recording the "
        "model was not trained on."
    )
    if report.outside_vocabulary:
        text += f" {report.outside_vocabulary} clips of other glosses were passed over."
    found = [Note(title="Clips that came later", caution=material.corpus_version == UNFINISHED, text=text)]
    if report.left_out:
        listed = "; ".join(f"{one.clip_id} ({one.gloss}) = {', '.join(one.twins)}" for one in report.left_out[:_LISTED])
        more = len(report.left_out) - _LISTED
        found.append(
            Note(
                title="Twins of training clips are left out",
                text=f"{len(report.left_out)} clips of the split show recordings that the model was trained on, and "
                f"are not counted: {listed}{f'; and {more} more' if more > 0 else ''}.",
            )
        )
    return found


def _twins(report: Report, material: EvaluationClips) -> list[Note]:
    about = report.provenance
    if about.protocol == CROSS_VALIDATION:
        return []  # twins are never parted by a fold
    clips = {clip.clip_id: clip for clip in (*material.manifest.clips, *material.clips)}
    here = {clip.clip_id for clip in material.clips}
    kept = [[clip_id for clip_id in group if clip_id in clips] for group in material.twins]
    leaking = [group for group in kept if here & set(group) and len({clips[clip_id].split for clip_id in group}) > 1]
    if not leaking:
        return []
    count = sum(clip_id in here for group in leaking for clip_id in group)
    named = "; ".join(
        " = ".join(f"{clip_id} ({clips[clip_id].gloss}, {clips[clip_id].split})" for clip_id in group)
        for group in leaking[:_LISTED]
    )
    more = f"; and {len(leaking) - _LISTED} more groups" if len(leaking) > _LISTED else ""
    show = "shows the same recording as a clip" if count == 1 else "show the same recordings as clips"
    return [
        Note(
            title="The same recording on both sides",
            caution=True,
            text=f"{count} of the {report.top1.n} clips {show} of another split: {named}{more}. Under the same gloss "
            "they are free points; under another they cannot be right by anything but chance.",
        )
    ]


def _signers(report: Report, material: EvaluationClips) -> list[Note]:
    if report.provenance.split in TRAINING_SPLITS or report.provenance.protocol == CROSS_VALIDATION:
        return []
    seen = sum(clip.signer in material.trained_signers for clip in material.clips)
    if not seen:
        return []
    return [
        Note(
            title="Known signers",
            text=f"{seen} of the {report.top1.n} clips {_is(seen)} by signers who are also in train. The figures do "
            "not say how well the model recognises people whom it has never seen; cross-validation by signer does.",
        )
    ]


def _card(report: Report, card: ModelCard) -> list[Note]:
    claimed, found = card.metrics, report.top1
    about = report.provenance
    if about.protocol != PUBLISHED or about.split != "val" or about.corpus_version:
        return []
    if (claimed.val_correct, claimed.val_clips) == (found.correct, found.n):
        return []
    return [
        Note(
            title="The card says something else",
            caution=True,
            text=f"When the model was published, its trainer counted {claimed.val_correct} of {claimed.val_clips} on "
            f"val; this evaluation counts {found.correct} of {found.n}. Where the two disagree, the clips, the export "
            "or the decoding are not the same.",
        )
    ]


def _commit(report: Report) -> list[Note]:
    if report.provenance.commit != "unknown":
        return []
    return [
        Note(
            title="The commit of the code is not known",
            text="This evaluator was not told which commit it is. Set SIGNET_COMMIT, and the report names it.",
        )
    ]


def _is(count: int) -> str:
    return "is" if count == 1 else "are"
