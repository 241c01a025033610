"""Assigns own videos to train and val if nobody did: the same videos always get the same splits.

About a fifth of the clips of each gloss with four clips or more is held out (val), at least one. Clips that belong
together stay on one side: those of one signer, if signers are known; files with the same bytes; and files of one gloss
whose names are those of copies (`duplicate_names`). Each gloss keeps a clip in train. Clips that are in the store keep
their split, so videos can be added.

Imported recordings have a rule of their own (`importing.unlabelled.splits`): their signers are seldom known, and
the same recordings must get the same splits in every store.

If the clips of a gloss cannot be divided without dividing a signer's clips, the signer is divided, and a note says so.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from services.extractor.sources.corpus import VideoCorpus
from services.extractor.sources.instances import Instance
from services.extractor.sources.own.duplicate_names import group_copies
from services.extractor.sources.wording import count, name_some
from signet.datasets.groups import merge_groups
from signet.errors import ClipError

# A gloss with fewer clips has none in val: the model needs them.
MIN_CLIPS_TO_HOLD_OUT = 4
_HELD_OUT_SHARE = 0.2

_TRAIN, _VAL = "train", "val"


def assign_splits(corpus: VideoCorpus, stored: Mapping[str, str], sha256: Callable[[Path], str]) -> VideoCorpus:
    """The corpus with a split for each clip that has a file, and a note that says how many clips are where.

    Args:
        corpus: a corpus without splits.
        stored: the splits of its clips that are in the store, by clip id.
        sha256: the hash of a file; it may raise `ClipError`.
    """
    clips = [instance for instance in corpus.instances if corpus.has(instance)]
    copies, notes = group_copies(corpus.folder, [(clip, corpus.path(clip)) for clip in clips])
    together = [*copies, *_groups_of_same_bytes(corpus, clips, sha256)]
    splits = _choose(clips, together, {})
    if any(splits[clip_id] != split for clip_id, split in stored.items() if clip_id in splits):
        splits = _choose(clips, together, {clip_id: split for clip_id, split in stored.items() if clip_id in splits})
    notes += _describe(clips, splits)
    instances = tuple(replace(clip, split=splits.get(clip.clip_id, _TRAIN)) for clip in corpus.instances)
    return replace(corpus, instances=instances, notes=(*corpus.notes, *notes), has_splits=True)


def _groups_of_same_bytes(
    corpus: VideoCorpus, clips: Sequence[Instance], sha256: Callable[[Path], str]
) -> list[tuple[str, ...]]:
    """Groups of clips whose files are equal. Only files of equal size are read."""
    by_size: dict[int, list[Instance]] = {}
    for clip in clips:
        try:
            by_size.setdefault(corpus.path(clip).stat().st_size, []).append(clip)
        except OSError:
            continue  # deleted since it was listed; the extraction reports it
    by_hash: dict[str, list[str]] = {}
    for same_size in by_size.values():
        if len({corpus.path(clip) for clip in same_size}) == 1:
            by_hash[f"one file {same_size[0].clip_id}"] = [clip.clip_id for clip in same_size]
            continue
        for clip in same_size:
            try:
                by_hash.setdefault(sha256(corpus.path(clip)), []).append(clip.clip_id)
            except ClipError:
                continue
    return [tuple(group) for group in by_hash.values() if len(group) > 1]


@dataclass(frozen=True)
class _Bundle:
    """Clips that stay on one side, and their number by gloss."""

    clips: tuple[Instance, ...]
    glosses: Counter[str]

    @property
    def rank(self) -> bytes:
        """Orders bundles that are equally suitable: by chance, and always in the same way."""
        return hashlib.sha256(min(clip.clip_id for clip in self.clips).encode()).digest()


def _choose(clips: Sequence[Instance], together: Iterable[Sequence[str]], stored: Mapping[str, str]) -> dict[str, str]:
    """The split of each clip, by clip id."""
    together = list(together)
    by_signer: dict[str, list[str]] = {}
    for clip in clips:
        if clip.signer:
            by_signer.setdefault(clip.signer, []).append(clip.clip_id)
    splits = dict(stored)
    wanted = {
        gloss: max(1, round(_HELD_OUT_SHARE * number))
        for gloss, number in Counter(clip.gloss for clip in clips).items()
        if number >= MIN_CLIPS_TO_HOLD_OUT
    }
    if len(by_signer) > 1:
        _hold_out(_bundles(clips, [*together, *by_signer.values()], stored), clips, wanted, splits)
        wanted = dict.fromkeys(wanted, 1)
    _hold_out(_bundles(clips, together, stored), clips, wanted, splits)
    return {clip.clip_id: splits.get(clip.clip_id, _TRAIN) for clip in clips}


def _bundles(clips: Sequence[Instance], together: Iterable[Sequence[str]], stored: Mapping[str, str]) -> list[_Bundle]:
    """The bundles, without those whose clips are stored on both sides."""
    by_id = {clip.clip_id: clip for clip in clips}
    groups = merge_groups(together)
    single = by_id.keys() - {clip_id for group in groups for clip_id in group}
    bundles = []
    for group in [*groups, *((clip_id,) for clip_id in sorted(single))]:
        members = tuple(by_id[clip_id] for clip_id in group)
        if len({stored[clip_id] for clip_id in group if clip_id in stored}) < 2:
            bundles.append(_Bundle(members, Counter(clip.gloss for clip in members)))
    return bundles


def _hold_out(
    bundles: Sequence[_Bundle], clips: Sequence[Instance], wanted: Mapping[str, int], splits: dict[str, str]
) -> None:
    """Add bundles to val until each gloss has the wanted number of clips there, as far as that is possible."""
    total = Counter(clip.gloss for clip in clips)
    by_gloss: dict[str, list[_Bundle]] = {}
    for bundle in bundles:
        decided = {splits[clip.clip_id] for clip in bundle.clips if clip.clip_id in splits}
        if _VAL in decided:
            splits.update((clip.clip_id, _VAL) for clip in bundle.clips)
        if not decided:
            for gloss in bundle.glosses:
                by_gloss.setdefault(gloss, []).append(bundle)
    held_out = Counter(clip.gloss for clip in clips if splits.get(clip.clip_id) == _VAL)
    for gloss in sorted(by_gloss.keys() & wanted.keys(), key=lambda gloss: (len(by_gloss[gloss]), gloss)):
        while held_out[gloss] < wanted[gloss]:
            missing = wanted[gloss] - held_out[gloss]
            possible = [
                bundle
                for bundle in by_gloss[gloss]
                if bundle.clips[0].clip_id not in splits
                and (not held_out[gloss] or bundle.glosses[gloss] <= missing)
                and all(held_out[each] + number < total[each] for each, number in bundle.glosses.items())
            ]
            if not possible:
                break
            best = min(possible, key=lambda bundle: (_excess(bundle, held_out, wanted), len(bundle.clips), bundle.rank))
            splits.update((clip.clip_id, _VAL) for clip in best.clips)
            held_out.update(best.glosses)


def _excess(bundle: _Bundle, held_out: Counter[str], wanted: Mapping[str, int]) -> int:
    """The number of clips that would be held out in excess, with this bundle."""
    return sum(max(0, held_out[gloss] + number - wanted.get(gloss, 0)) for gloss, number in bundle.glosses.items())


def _describe(clips: Sequence[Instance], splits: Mapping[str, str]) -> list[str]:
    """What was chosen, and how to choose otherwise."""
    numbers = Counter(splits.values())
    held_out = {clip.gloss for clip in clips if splits[clip.clip_id] == _VAL}
    total = Counter(clip.gloss for clip in clips)
    notes = [
        f"splits were assigned: {numbers[_TRAIN]} clips train, {numbers[_VAL]} val, about a fifth of each gloss. To "
        "choose them yourself, give a table with a column split (--table), or folders train/<gloss>/ and val/<gloss>/"
    ]
    few = sorted(gloss for gloss in total.keys() - held_out if total[gloss] < MIN_CLIPS_TO_HOLD_OUT)
    if few:
        notes.append(
            f"glosses with fewer than {MIN_CLIPS_TO_HOLD_OUT} clips have none in val, so they are not measured: "
            f"{name_some(few)}"
        )
    undivided = sorted(gloss for gloss in total.keys() - held_out if total[gloss] >= MIN_CLIPS_TO_HOLD_OUT)
    if undivided:
        notes.append(
            f"no clip is held out of {name_some(undivided)}, because all of their clips belong together (equal files, "
            "or names of copies)"
        )
    sides: dict[str, set[str]] = {}
    for clip in clips:
        if clip.signer:
            sides.setdefault(clip.signer, set()).add(splits[clip.clip_id])
    divided = sorted(signer for signer, found in sides.items() if len(found) > 1)
    if divided:
        notes.append(
            f"{count(divided, 'signer')} in train and in val ({name_some(divided)}), because the clips cannot be "
            "divided by signers. The accuracy on val does not tell how new signers are recognised"
        )
    return notes
