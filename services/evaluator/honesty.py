"""What a reader must know before believing a report: said in plain words, in the report itself."""

from services.evaluator.report import Note, Report
from signet.dataset import Manifest
from signet.registry import ModelCard

# Below this, one clip more or less is worth more than three points.
_FEW_CLIPS = 30


def notes(report: Report, manifest: Manifest, card: ModelCard) -> tuple[Note, ...]:
    """Every reservation that applies to a report."""
    found = [_selection(report, card), _size(report), *_twins(report, manifest), *_signers(report, manifest)]
    found += [*_card(report, card), *_commit(report)]
    return tuple(found)


def _selection(report: Report, card: ModelCard) -> Note:
    split = report.provenance.split
    if split == "train":
        return Note(
            title="Trained on this split",
            caution=True,
            text="The model has seen these very clips: the figures say how well it remembers, not how well it "
            "recognises. To judge it, evaluate it on a split that it was not trained on.",
        )
    if split == card.selected_on:
        return Note(
            title="Selected on this split",
            caution=True,
            text="The checkpoint was chosen among others by its accuracy on this very split, so the figures are "
            "optimistic. To judge it, evaluate it on a split that no choice has looked at, or cross-validate by signer "
            "and quote the mean over seeds.",
        )
    return Note(
        title="Not trained and not selected on this split",
        text=f"No weight and no choice of a checkpoint depends on the split {split!r}. That holds only as long as "
        "nobody tunes a setting by these figures; a training is judged by the mean over at least three seeds.",
    )


def _size(report: Report) -> Note:
    top1 = report.top1
    text = (
        f"{top1.n} clips. Top-1 lies between {100 * top1.low:.0f} and {100 * top1.high:.0f} % with 95 % confidence: a "
        "model that scores somewhere else in that interval may be just as good."
    )
    few = top1.n < _FEW_CLIPS
    return Note(title="Few clips: read the interval, not the figure" if few else "How sure", text=text)


def _twins(report: Report, manifest: Manifest) -> list[Note]:
    glosses = {clip.clip_id: clip for clip in manifest.clips}
    split = report.provenance.split
    leaking = [group for group in manifest.audit.leaking if any(glosses[clip_id].split == split for clip_id in group)]
    if not leaking:
        return []
    here = sum(glosses[clip_id].split == split for group in leaking for clip_id in group)
    named = "; ".join(
        " = ".join(f"{clip_id} ({glosses[clip_id].gloss}, {glosses[clip_id].split})" for clip_id in group)
        for group in leaking[:5]
    )
    more = f"; and {len(leaking) - 5} more groups" if len(leaking) > 5 else ""
    return [
        Note(
            title="The same video on both sides",
            caution=True,
            text=f"{here} of the {report.top1.n} clips {_is(here)} bit-identical to clips of another split: "
            f"{named}{more}. Under the same gloss they are free points; under another they cannot be right by anything "
            "but chance.",
        )
    ]


def _signers(report: Report, manifest: Manifest) -> list[Note]:
    split = report.provenance.split
    if split == "train" or not manifest.audit.shared_signers:
        return []
    trained = {clip.signer for clip in manifest.clips if clip.split == "train" and clip.signer}
    seen = sum(clip.signer in trained for clip in manifest.clips if clip.split == split)
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
    if report.provenance.split != "val" or (claimed.val_correct, claimed.val_clips) == (found.correct, found.n):
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
