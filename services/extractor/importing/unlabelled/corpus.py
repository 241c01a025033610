"""Makes a source of recordings whose files say little.

All recordings are read once to derive what the files do not say. They are read again when they are stored, so that a
corpus need not fit into memory.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from services.extractor.importing.source import ClipLandmarks, FrameSize, ImportOptions, LandmarkClip, LandmarkSource
from services.extractor.importing.unlabelled import assumptions
from services.extractor.importing.unlabelled.copies import Copies, find_copies
from services.extractor.importing.unlabelled.first_reading import RecordingFinding, read_all
from services.extractor.importing.unlabelled.raw import Recording, mirror, to_fractions, to_joints, to_timestamps
from services.extractor.importing.unlabelled.sides import SideVerdict, correct_sides
from services.extractor.importing.unlabelled.splits import ClipLabels, assign_splits, describe_strangers, read_splits
from services.extractor.quality.measurement import measure_quality
from services.extractor.sources.failure import ClipFailure
from signet.errors import ClipError, InvalidInput

# The number of names in a message.
_MOST_NAMED = 5
# The number of warnings in the record of a clip, which has a limited size.
_MOST_WARNINGS, _MOST_WARNING_CHARACTERS = 5, 200


@dataclass(frozen=True)
class _Settings:
    """What holds for one recording when it is read again."""

    pixels: bool
    size: FrameSize
    fps: float
    sides: SideVerdict
    mirrored: bool
    warnings: tuple[str, ...]


def make_source(
    kind: str,
    corpus: str,
    recordings: Sequence[Recording],
    options: ImportOptions,
    *,
    failures: Iterable[ClipFailure] = (),
    notes: Iterable[str] = (),
) -> LandmarkSource:
    """Make a source of recordings.

    Args:
        kind: short name of the kind of file.
        corpus: default name of the corpus.
        recordings: the recordings. Their clip ids are different.
        options: what the user says about them.
        failures: what the reader could not use.
        notes: what the reader assumed.

    Raises:
        NotFound: the file of splits does not exist.
        InvalidInput: no recording can be used, or the file of splits cannot be used.
    """
    given = read_splits(options.splits) if options.splits else {}
    findings, unreadable = read_all(recordings, options)
    broken = (*failures, *unreadable)
    if not findings:
        reasons = " ".join(failure.message for failure in broken[:_MOST_NAMED])
        raise InvalidInput(f"{corpus}: no recording can be used. {reasons}")
    usable = [
        replace(each, gloss=_labels_given(each, given).gloss or each.gloss)
        for each in recordings
        if each.clip_id in findings
    ]
    rate, rate_notes = assumptions.choose_rate([*findings.values()], options)
    settings = {clip_id: _settle(finding, rate, options) for clip_id, finding in findings.items()}
    copies, leads = _compare(usable, findings, settings)
    labels, label_notes = _label(usable, copies, given, options)
    all_findings = [*findings.values()]
    return LandmarkSource(
        kind=kind,
        sha256=_hash(usable, findings, settings),
        clips=tuple(_clip(each, settings[each.clip_id], labels[each.clip_id]) for each in usable),
        corpus=corpus,
        failures=broken,
        notes=(
            *notes,
            *assumptions.describe_size(all_findings, options),
            *rate_notes,
            *assumptions.describe_sides(all_findings, leads, options),
            *assumptions.describe_losses(all_findings),
            *assumptions.describe_faults((each.name, findings[each.clip_id].faults) for each in usable),
            *assumptions.describe_copies(copies, len(usable)),
            *label_notes,
        ),
        with_quality=True,
    )


def _settle(finding: RecordingFinding, rate: float, options: ImportOptions) -> _Settings:
    return _Settings(
        pixels=finding.pixels,
        size=finding.size,
        fps=options.fps or finding.fps or rate,
        sides=finding.sides,
        mirrored=bool(options.mirrored),
        warnings=tuple(_to_label(fault) for fault in finding.faults[:_MOST_WARNINGS]),
    )


def _to_label(text: str) -> str:
    """A text that the record of a clip can hold: short, and with control characters of file names escaped."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)[:_MOST_WARNING_CHARACTERS]


def _compare(
    recordings: Sequence[Recording], findings: Mapping[str, RecordingFinding], settings: Mapping[str, _Settings]
) -> tuple[Copies, list[float]]:
    """Copies among the recordings, and how much the left hand leads in each recording where that is known."""
    frames = {}
    leads = []
    for clip_id, finding in findings.items():
        if finding.sample is None:
            continue
        clip = finding.sample.at_rate(clip_id, settings[clip_id].fps)
        lead = measure_quality(clip).left_dominance
        if lead is not None:
            leads.append(lead)
        frames[clip_id] = clip.landmarks
    names = {recording.clip_id: (recording.gloss, recording.name) for recording in recordings}
    aspect = next(iter(settings.values())).size.aspect
    return find_copies(names, frames, aspect), leads


def _labels_given(recording: Recording, given: Mapping[str, ClipLabels]) -> ClipLabels:
    """What the file of splits says about a recording."""
    return given.get(recording.name) or given.get(recording.clip_id) or ClipLabels()


def _label(
    recordings: Sequence[Recording], copies: Copies, given: Mapping[str, ClipLabels], options: ImportOptions
) -> tuple[dict[str, ClipLabels], list[str]]:
    """Gloss, split and signer of each recording, and notes about them."""
    said = {each.clip_id: _labels_given(each, given) for each in recordings}
    glosses = {each.clip_id: each.gloss for each in recordings}
    known = {each.clip_id: said[each.clip_id].split or each.split for each in recordings}
    assigned = assign_splits(glosses, copies.groups)
    labels = {
        each.clip_id: ClipLabels(
            glosses[each.clip_id],
            known[each.clip_id] or assigned[each.clip_id],
            said[each.clip_id].signer or each.signer,
        )
        for each in recordings
    }
    notes = []
    if silent := [clip_id for clip_id, split in known.items() if not split]:
        notes.append(assumptions.describe_splits(Counter(assigned[clip_id] for clip_id in silent), len(known)))
    if torn := [group for group in copies.groups if len({labels[clip_id].split for clip_id in group}) > 1]:
        notes.append(
            f"splits: {len(torn)} recordings have copies in several splits, for example {', '.join(torn[0][:2])}. "
            "Figures on the held-out clips look better than they are"
        )
    if not any(label.signer for label in labels.values()):
        notes.append(
            "signers are unknown, so held-out clips may show a signer of the training clips. --splits names them"
        )
    names = {each.name for each in recordings} | {each.clip_id for each in recordings}
    return labels, [*notes, *describe_strangers(options.splits, given, names)]


def _clip(recording: Recording, settings: _Settings, labels: ClipLabels) -> LandmarkClip:
    def read() -> ClipLandmarks:
        raw = recording.read()
        if settings.pixels:
            raw = to_fractions(raw, settings.size)
        raw = correct_sides(raw, settings.sides)
        if settings.mirrored:
            raw = mirror(raw)
        times = to_timestamps(raw.times, raw.numbers, settings.fps)
        if (np.diff(times) <= 0).any():
            raise ClipError("times", f"{recording.name}: the times of its frames do not increase.")
        return ClipLandmarks(
            to_joints(raw, settings.size.aspect), raw.visibility, times, raw.source_sha256, settings.warnings
        )

    return LandmarkClip(
        clip_id=recording.clip_id,
        gloss=labels.gloss,
        split=labels.split,
        signer=labels.signer,
        fps=settings.fps,
        width=settings.size.width,
        height=settings.size.height,
        read=read,
    )


def _hash(
    recordings: Sequence[Recording], findings: Mapping[str, RecordingFinding], settings: Mapping[str, _Settings]
) -> str:
    """Hash of all files and of every setting that changes the landmarks."""
    digest = hashlib.sha256()
    for recording in sorted(recordings, key=lambda each: each.clip_id):
        own = replace(settings[recording.clip_id], warnings=())
        line = [recording.clip_id, recording.name, findings[recording.clip_id].source_sha256, repr(own)]
        digest.update(json.dumps(line).encode() + b"\n")
    return digest.hexdigest()
