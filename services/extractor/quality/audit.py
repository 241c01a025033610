"""Audits a stored corpus: the findings about each clip, the copies among the clips, and the signers' leading hands.

Each clip is read once. What is kept of it is small: its record, its numbers, and its landmarks at the frame rate of a
model, which the search for copies needs.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from services.extractor.quality.copies import MAX_MIRRORED_CLIPS, CopyCandidate, CopyGroup, find_copies
from services.extractor.quality.findings import KINDS, ClipFinding, FindingKind, find_faults, sort_findings
from services.extractor.quality.measurement import measure_quality
from services.extractor.quality.signers import LeftSigner, describe_mirrored_corpus, find_left_signers, is_left
from signet.datasets.corpus import check_own_record, list_clips, read_clip, read_clip_record
from signet.errors import NotFound, quote
from signet.landmarks import ClipLength, ClipQuality, ClipRecord, load, to_model_input, why_nothing_is_signed
from signet.store import ObjectStore

# A finding names this many of the other clips of a group of copies.
_NAMED_COPIES = 3


@dataclass(frozen=True, eq=False)
class AuditedClip:
    """A clip, its numbers, and what they say."""

    key: str  # of the stored clip
    record: ClipRecord
    quality: ClipQuality
    length: ClipLength
    findings: tuple[ClipFinding, ...]  # the most severe first

    @property
    def severity(self) -> int:
        """The severities of all findings together: 0 if nothing is wrong."""
        return sum(finding.kind.severity for finding in self.findings)


@dataclass(frozen=True, eq=False)
class CorpusAudit:
    """The result of an audit.

    Attributes:
        corpus: name of the corpus.
        clips: all audited clips, the worst first.
        copies: groups of clips that show the same recording.
        left_signers: signers who sign with the left hand.
        notes: remarks about the whole corpus.
    """

    corpus: str
    clips: tuple[AuditedClip, ...]
    copies: tuple[CopyGroup, ...]
    left_signers: tuple[LeftSigner, ...]
    notes: tuple[str, ...]

    @property
    def flagged(self) -> list[AuditedClip]:
        """The clips with a finding, the worst first."""
        return [clip for clip in self.clips if clip.findings]

    @property
    def counts(self) -> list[tuple[FindingKind, int]]:
        """The kinds of findings that occur, and how many clips have each, the most severe kind first."""
        counted = Counter(kind for clip in self.clips for kind in {finding.kind.key for finding in clip.findings})
        return [(kind, counted[key]) for key, kind in KINDS.items() if counted[key]]


def audit_corpus(
    store: ObjectStore,
    corpus: str,
    *,
    glosses: Sequence[str] = (),
    splits: Sequence[str] = (),
    on_progress: Callable[[str, int, int], None] = lambda *_: None,
) -> CorpusAudit:
    """Audit the stored clips of a corpus.

    Args:
        store: the store, which is only read.
        corpus: name of the corpus.
        glosses: only clips of these glosses; empty takes all.
        splits: only clips of these splits; empty takes all.
        on_progress: called with what is done, and how many clips of how many are finished.

    Raises:
        NotFound: the corpus has no such clip.
    """
    objects = list_clips(store, corpus)
    clips: list[AuditedClip] = []
    candidates: list[CopyCandidate] = []
    for count, info in enumerate(objects):
        on_progress("reading clips", count, len(objects))
        if (glosses or splits) and not _is_chosen(read_clip_record(store, info.key), glosses, splits):
            continue
        read = read_clip(store, info.key, lambda key: _audit_clip(store.get(key), key))
        if read is not None:
            clips.append(read[0])
            candidates.append(read[1])
    if not clips:
        raise NotFound(_explain_no_clip(store.url, corpus, len(objects)))
    copies, mirrored = find_copies(candidates, lambda step: on_progress(step, len(clips), len(clips)))
    left_signers = find_left_signers((clip.record.signer, clip.quality.left_dominance) for clip in clips)
    audited = _add_findings(clips, copies, left_signers)
    notes = list(_notes(clips, len(objects)))
    if not mirrored:
        notes.append(
            f"Mirrored copies are searched for in at most {MAX_MIRRORED_CLIPS} clips. Choose some with --gloss."
        )
    return CorpusAudit(corpus, tuple(sorted(audited, key=_order)), tuple(copies), tuple(left_signers), tuple(notes))


def _is_chosen(record: ClipRecord | None, glosses: Sequence[str], splits: Sequence[str]) -> bool:
    if record is None:
        return False
    return (not glosses or record.gloss in glosses) and (not splits or record.split in splits)


def _audit_clip(data: bytes, key: str) -> tuple[AuditedClip, CopyCandidate]:
    clip = load(data, key)
    check_own_record(clip.record, key)
    quality = clip.record.quality or measure_quality(clip)
    frames = to_model_input(clip)
    findings = find_faults(clip.record, quality, why_nothing_is_signed(frames))
    return AuditedClip(key, clip.record, quality, clip.length, findings), CopyCandidate(clip.record, frames)


def _add_findings(
    clips: Sequence[AuditedClip], copies: Sequence[CopyGroup], left_signers: Sequence[LeftSigner]
) -> Iterator[AuditedClip]:
    """The clips with the findings that need other clips: copies, and leading hands."""
    further: defaultdict[str, list[ClipFinding]] = defaultdict(list)
    for group in copies:
        for record in group.clips:
            others = [other for other in group.clips if other.clip_id != record.clip_id]
            if different := [other for other in others if other.gloss != record.gloss]:
                further[record.clip_id].append(
                    ClipFinding(KINDS["several_glosses"], f"{group.kind} as {_name_clips(different, 'gloss')}")
                )
            if different := [other for other in others if other.split != record.split]:
                further[record.clip_id].append(
                    ClipFinding(KINDS["several_splits"], f"{group.kind} as {_name_clips(different, 'split')}")
                )
    left_handed = {signer.signer: signer for signer in left_signers}
    for clip in clips:
        if is_left(clip.quality.left_dominance):
            signer = left_handed.get(clip.record.signer)
            measured = (
                f"signer {signer.signer} does so in {signer.left} of {signer.one_handed} one-handed clips"
                if signer
                else "only the left hand signs in this clip"
            )
            further[clip.record.clip_id].append(ClipFinding(KINDS["left_handed"], measured))
        added = further.get(clip.record.clip_id)
        yield replace(clip, findings=sort_findings([*clip.findings, *added])) if added else clip


def _name_clips(records: Sequence[ClipRecord], field: str) -> str:
    """The first clips of a group of copies, with the field in which they differ."""
    named = [f"{record.clip_id} ({getattr(record, field) or 'none'})" for record in records[:_NAMED_COPIES]]
    more = len(records) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")


def _order(clip: AuditedClip) -> tuple[int, int, float, str]:
    """Worst first: by severity, then number of findings, then share of frames with a hand, then id."""
    return -clip.severity, -len(clip.findings), clip.quality.any_hand, clip.record.clip_id


def _notes(clips: Sequence[AuditedClip], stored: int) -> Iterator[str]:
    if remark := describe_mirrored_corpus(clip.quality.left_dominance for clip in clips):
        yield remark
    if len(clips) < stored:
        yield f"{len(clips)} of the {stored} stored clips were audited. Copies among the others were not searched for."
    without_pose = sum(clip.quality.pose == 0 for clip in clips)
    if without_pose:
        yield (
            f"{without_pose} clips have no body at all, as landmarks of hands alone. The size and the place of the "
            "signer and the leading hand are unknown in them."
        )
    unmeasured = sum(clip.quality.frame_rate is None for clip in clips)
    if unmeasured:
        yield f"The frames of the videos of {unmeasured} clips are not known, so their missing frames were not counted."


def _explain_no_clip(url: str, corpus: str, stored: int) -> str:
    if stored:
        return f"{url}: none of the {stored} clips of the corpus {quote(corpus)} has the chosen gloss and split."
    return f"{url}: the corpus {quote(corpus)} has no clips. Make some with `signet extract`, or name it with --corpus."
