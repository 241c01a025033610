"""Further clips of a snapshot's glosses, also auxiliary ones, from another corpus: never judged by (`--supplement`).

Hands that others have extracted from clips that are not to be had any more are worth having, but no measure: what is
held out stays what the run's own corpus holds. Nothing that shows a held-out recording may come in by this door, and
what shows a recording of the vocabulary not as that of an auxiliary gloss, or it would be told from itself. Twins
are found within the other corpus, where one extractor made all clips, and carried over by the clips' ids: between
landmarks of two extractors `signet.datasets.duplicates` finds none.
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from services.trainer.data import gloss_ranking as supply
from signet.datasets.groups import with_duplicates
from signet.datasets.snapshot import LEARNT, SUPPLEMENT, TRAIN, DatasetClip, Manifest, SampledClip, assemble_snapshot
from signet.errors import NotReady
from signet.landmarks import ClipRecord
from signet.store import ObjectStore

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Supplement:
    """What another corpus adds.

    Attributes:
        clips: in the order of their ids, with the split `SUPPLEMENT`.
        twins: groups of ids, of these, of the snapshot's own clips and of others, that show the same recording.
    """

    clips: tuple[SampledClip, ...]
    twins: tuple[tuple[str, ...], ...]


def of(
    store: ObjectStore,
    corpus: str,
    records: Sequence[ClipRecord],
    own: Manifest,
    known: frozenset[str],
    auxiliary: int,
    read: Callable[[Sequence[ClipRecord]], list[SampledClip]],
) -> Supplement:
    """Choose what a corpus adds to a snapshot: its training clips of the same glosses that the other one lacks.

    Where the snapshot has fewer auxiliary glosses than are wanted, further ones are those with the most clips here.

    Left out are clips that show the recording of a held-out clip, of either corpus where their gloss is auxiliary; and,
    where a held-out clip is not in this corpus, so that its twins cannot be told, all clips by its signer.

    Args:
        store: where the corpora are.
        corpus: the supplement's name.
        records: all of its clips.
        own: the snapshot.
        known: ids of all clips of the snapshot's corpus.
        auxiliary: how many auxiliary glosses are wanted in all.
        read: reads clips of the supplement.

    Raises:
        NotReady: it adds nothing.
    """
    vocabulary = frozenset(own.vocabulary)
    held_out = [clip for clip in own.asked if clip.split not in LEARNT]
    there = {record.clip_id for record in records if record.gloss in vocabulary}
    untold = {clip.signer for clip in held_out if clip.clip_id not in there}
    further = [record for record in records if record.split == TRAIN and record.clip_id not in known]
    usable = [record for record in further if not untold or (record.signer and record.signer not in untold)]

    glosses = vocabulary.union(own.auxiliary)
    glosses = glosses.union(_next(usable, glosses, auxiliary - len(own.auxiliary)))
    same = [record for record in records if record.gloss in glosses]
    sampled = {clip.record.clip_id: clip for clip in read(same)}
    found = assemble_snapshot(corpus, sampled.values()).manifest.audit.duplicates if sampled else ()
    twins = (*found, *own.audit.all_duplicates)

    barred = _Recordings.of(held_out, twins)
    # What a corpus holds out of another gloss is what the next run may be judged by.
    apart = [record for record in same if record.gloss in vocabulary or record.split != TRAIN]
    barred_elsewhere = _Recordings.of([*own.asked, *apart], twins)
    chosen = [
        record
        for record in usable
        if record.gloss in glosses and record not in (barred if record.gloss in vocabulary else barred_elsewhere)
    ]
    left_out = sum(record.gloss in glosses for record in further) - len(chosen)
    reason = "may show the recording of a held-out clip, or under another gloss one of the vocabulary"
    if not chosen:
        raise NotReady(
            f"{store.url}: --supplement {corpus} adds no training clip of the {len(glosses)} glosses"
            + (f": all {left_out} {reason}." if left_out else ".")
            + " Import more clips of them into it, or leave it out."
        )
    if left_out:
        _log.warning("%d clips of %s %s, and are left out", left_out, corpus, reason)
    added = [sampled[record.clip_id] for record in chosen]
    return Supplement(
        tuple(replace(one, record=one.record.model_copy(update={"split": SUPPLEMENT})) for one in added), twins
    )


def _next(records: Sequence[ClipRecord], glosses: frozenset[str], count: int) -> list[str]:
    """So many glosses beside these, those with the most of the clips."""
    clips = Counter(record.gloss for record in records if record.gloss and record.gloss not in glosses)
    return supply.ranked(clips)[: max(0, count)]


@dataclass(frozen=True)
class _Recordings:
    """What some clips show, by the ids of all clips that are known to show it, and by the hashes of its videos."""

    ids: frozenset[str]
    videos: frozenset[str]

    @classmethod
    def of(cls, clips: Sequence[DatasetClip | ClipRecord], twins: Sequence[Sequence[str]]) -> "_Recordings":
        """Those of clips, of which these groups of ids show the same."""
        ids = with_duplicates((clip.clip_id for clip in clips), twins)
        return cls(frozenset(ids), frozenset(clip.source_sha256 for clip in clips) - {""})

    def __contains__(self, record: ClipRecord) -> bool:
        return record.clip_id in self.ids or record.source_sha256 in self.videos


def beside(
    clips: Sequence[DatasetClip], held_out: Sequence[DatasetClip], twins: Sequence[Sequence[str]]
) -> tuple[DatasetClip, ...]:
    """Of clips that are never judged those that may be learnt from while some signers are held out: of known others.

    Args:
        clips: a supplement's, or of auxiliary glosses.
        held_out: a fold's.
        twins: groups of ids that show the same recording.
    """
    signers = {clip.signer for clip in held_out} | {""}
    barred = with_duplicates((clip.clip_id for clip in held_out), twins)
    return tuple(clip for clip in clips if clip.signer not in signers and clip.clip_id not in barred)
