"""Select clips from a corpus of landmarks in the store, and make the dataset snapshot that a run trains on."""

import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from functools import partial
from typing import TypeVar

from signet.datasets import snapshot as dataset_snapshot
from signet.datasets.corpus import check_own_record, list_clips, list_corpora, read_clip, read_clip_record
from signet.datasets.snapshot import (
    TRAIN,
    VAL,
    Dataset,
    Manifest,
    SampledClip,
    assemble_snapshot,
    load_snapshot,
    publish_snapshot,
    sample_stored_clip,
)
from signet.errors import Conflict, DataLoss, NotFound, NotReady
from signet.landmarks import ClipRecord
from signet.store import ObjectInfo, ObjectStore, keys

_log = logging.getLogger(__name__)

# Readers wait for the store and compute little. Each is given a batch of clips: one by one, the threads would spend
# more time on handing over than on reading.
_READERS = 8
_BATCH = 32

# Raise this number when the same corpus and the same `SelectionLimits` give other clips than before. Snapshots that
# were made under an older number are made again.
SELECTION_VERSION = 1

Item = TypeVar("Item")


@dataclass(frozen=True)
class SelectionLimits:
    """How many clips of a corpus are selected."""

    glosses: int  # the number of glosses; 0 takes all
    samples_per_gloss: int  # training clips of each gloss at most; 0 takes all


def load_or_create_snapshot(store: ObjectStore, corpus: str, max_glosses: int, samples_per_gloss: int) -> Dataset:
    """The snapshot of a corpus under these limits (see `SelectionLimits`). It is made and stored if it does not exist.

    The glosses with the most clips are taken; each has at least one training clip. Training clips that show the
    recording of a held-out clip are left out. The same clips give the same version.

    The cache of this machine holds which snapshot a corpus gave. As long as the corpus is the same, that snapshot is
    loaded and no clip is read.

    Raises:
        NotReady: the corpus has no labelled training clips.
        Conflict: the clips were made by different extractors.
    """
    stored = list_clips(store, corpus)
    limits = SelectionLimits(max_glosses, samples_per_gloss)
    cache_key = _snapshot_cache_key(store, stored, limits)
    version = store.cache.get_note(cache_key)
    snapshot, damaged = None, False
    if re.fullmatch("[0-9a-f]{16}", version):
        try:
            snapshot = load_snapshot(store, corpus, version)
        except NotFound:
            _log.info("dataset %s/%s was deleted; it is made again", corpus, version)
        except DataLoss as error:
            _log.warning("%s It is made again.", error)
            damaged = True
    if snapshot is None:
        with ThreadPoolExecutor(_READERS) as readers:
            snapshot = _CorpusReader(store, corpus, [info.key for info in stored], readers).make_snapshot(limits)
        publish_snapshot(store, snapshot, repair=damaged)
        store.cache.put_note(cache_key, snapshot.manifest.version)
    manifest = snapshot.manifest
    _log.info(
        "dataset %s/%s: %d glosses, %d training and %d val clips",
        manifest.name,
        manifest.version,
        len(manifest.vocabulary),
        len(manifest.training_clips),
        len(snapshot.split(VAL)),
    )
    return snapshot


def select_clips(
    records: Sequence[ClipRecord], limits: SelectionLimits, leaking: frozenset[str] = frozenset()
) -> list[ClipRecord]:
    """The clips that a snapshot is made of, in the order of their ids.

    A training clip is left out if its id is among the `leaking` ones, which are known to show a held-out recording, or
    if its video has the same hash as that of a held-out clip.
    """
    labelled = sorted((record for record in records if record.gloss), key=lambda record: record.clip_id)
    held_out_videos = {record.source_sha256 for record in labelled if record.split != TRAIN} - {""}
    usable = [
        record
        for record in labelled
        if record.split != TRAIN or (record.source_sha256 not in held_out_videos and record.clip_id not in leaking)
    ]
    if len(usable) < len(labelled):
        _log.warning("%d training clips show a held-out recording and are left out", len(labelled) - len(usable))

    trained_glosses = {record.gloss for record in usable if record.split == TRAIN}
    if lost := sorted({record.gloss for record in labelled if record.split == TRAIN} - trained_glosses):
        _log.warning("left out, because all of their training clips show a held-out recording: %s", ", ".join(lost))
    clip_counts = Counter(record.gloss for record in labelled if record.gloss in trained_glosses)
    glosses = set(rank_by_clip_count(clip_counts)[: limits.glosses or None])

    training_clips: Counter[str] = Counter()
    selected = []
    for record in usable:
        if record.gloss not in glosses:
            continue
        if record.split == TRAIN:
            training_clips[record.gloss] += 1
            if limits.samples_per_gloss and training_clips[record.gloss] > limits.samples_per_gloss:
                continue
        selected.append(record)
    return selected


def rank_by_clip_count(clip_counts: Mapping[str, int]) -> list[str]:
    """Glosses by their number of clips, the most first; glosses with equal numbers by name."""
    return sorted(clip_counts, key=lambda gloss: (-clip_counts[gloss], gloss))


class _CorpusReader:
    """Reads the clips of a corpus with these keys, each when it is first needed."""

    def __init__(self, store: ObjectStore, corpus: str, clip_keys: Sequence[str], readers: ThreadPoolExecutor) -> None:
        self._store, self._corpus, self._clip_keys, self._readers = store, corpus, clip_keys, readers
        self._sampled: dict[str, SampledClip] = {}
        self._records: dict[str, ClipRecord] = {}  # of the clips that are not damaged, by clip id

    def make_snapshot(self, limits: SelectionLimits) -> Dataset:
        """The snapshot of the clips that `select_clips` selects and that show no held-out recording."""
        if not (limits.glosses or limits.samples_per_gloss):
            # Nearly all clips are needed: read each once, instead of its header first.
            self._read_clips(self._clip_keys)
            self._records = {clip_id: clip.record for clip_id, clip in self._sampled.items()}
        else:
            records = self._read_all(partial(read_clip_record, self._store), self._clip_keys)
            self._records = {record.clip_id: record for record in records if record is not None}
        leaking: frozenset[str] = frozenset()
        duplicates: tuple[tuple[str, ...], ...] = ()
        while True:
            selected = select_clips(tuple(self._records.values()), limits, leaking)
            self._check(selected)
            missing = [record.clip_id for record in selected if record.clip_id not in self._sampled]
            self._read_clips([keys.clip(self._corpus, clip_id) for clip_id in missing])
            damaged = [clip_id for clip_id in missing if clip_id not in self._sampled]
            if damaged:
                # Other clips may take the place of the damaged ones.
                for clip_id in damaged:
                    del self._records[clip_id]
                continue
            clips = [self._sampled[record.clip_id] for record in selected]
            snapshot = assemble_snapshot(self._corpus, clips, duplicates)
            # Near-duplicates are found by their landmarks. When leaking clips are removed, other clips take their
            # place. These may have duplicates of their own, so the search is repeated.
            new_leaking = _find_leaking(snapshot.manifest)
            if not new_leaking:
                return snapshot
            leaking |= new_leaking
            duplicates = snapshot.manifest.audit.all_duplicates

    def _read_clips(self, clip_keys: Sequence[str]) -> None:
        """Sample clips. Damaged ones are logged and left out."""
        clips = self._read_all(lambda key: read_clip(self._store, key, self._sample_clip), clip_keys)
        self._sampled.update((clip.record.clip_id, clip) for clip in clips if clip is not None)

    def _sample_clip(self, key: str) -> SampledClip:
        clip = sample_stored_clip(self._store.get(key), key)
        check_own_record(clip.record, key)
        return clip

    def _read_all(self, read: Callable[[str], Item], clip_keys: Sequence[str]) -> Iterator[Item]:
        """Apply `read` to all keys in the reader threads; the results come in the order of the keys."""
        batches = [clip_keys[start : start + _BATCH] for start in range(0, len(clip_keys), _BATCH)]
        for batch in self._readers.map(lambda batch: [read(key) for key in batch], batches):
            yield from batch

    def _check(self, selected: Sequence[ClipRecord]) -> None:
        if not selected:
            others = [name for name in list_corpora(self._store) if name != self._corpus]
            advice = f" The store has other corpora: --corpus {' or '.join(others)}." if others else ""
            raise NotReady(
                f"{self._store.url}: corpus {self._corpus!r} holds {len(self._clip_keys)} clips, and none of them is a "
                f"labelled training clip. Extract or import some first: `signet extract`, `signet import`.{advice}"
            )
        extractors = sorted({record.extractor for record in selected})
        if len(extractors) > 1:
            raise Conflict(
                f"{self._store.url}: the clips of corpus {self._corpus!r} were made by different extractors "
                f"({', '.join(extractors)}). Extract them again into a corpus of another name."
            )


def _find_leaking(manifest: Manifest) -> frozenset[str]:
    """The ids of the training clips that show the recording of a held-out clip."""
    training = {clip.clip_id for clip in manifest.training_clips}
    return frozenset(clip_id for group in manifest.audit.leaking for clip_id in group if clip_id in training)


def _snapshot_cache_key(store: ObjectStore, stored: Sequence[ObjectInfo], limits: SelectionLimits) -> str:
    """The cache key of the version of the snapshot that this corpus gave under these limits.

    It covers everything that decides the snapshot: the rules' versions, the limits, and each clip's key, size and etag.
    """
    listing = [[info.key, info.size, info.etag] for info in stored]
    parts = [SELECTION_VERSION, dataset_snapshot.ASSEMBLY_VERSION, store.url, *astuple(limits), listing]
    return f"snapshot-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}"
