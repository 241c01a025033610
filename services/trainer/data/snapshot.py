"""From a corpus of landmarks in the store to the dataset snapshot that a run trains on."""

import hashlib
import json
import logging
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from functools import cached_property
from itertools import islice
from typing import TypeVar

from services.trainer.data import gloss_ranking as supply
from signet import landmarks
from signet.datasets import snapshot as dataset_snapshot
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

# Reading a clip is waiting for the store, not computing.
_READERS = 8
# Clips that a reader is asked for at a time, and how many such requests are ahead of what is done with the clips. One
# by one, threads would spend more time on each other than on a clip.
_TOGETHER, _AHEAD = 32, 12

# Raise this number when the same corpus and the same `Choice` give other clips than before. Snapshots that were noted
# under an older number are made again.
CHOICE_VERSION = 1

Item = TypeVar("Item")
Found = TypeVar("Found")


def take(store: ObjectStore, corpus: str, max_glosses: int, samples_per_gloss: int) -> Dataset:
    """Choose clips, snapshot them, and store the snapshot; the same clips give the same version.

    Glosses are those with the most clips in the store; each has at least one training clip, or it is left out. Training
    clips that show the same recording as a held-out clip are left out too: twins stay on one side.

    Which snapshot it was is noted on this machine. As long as the corpus is the same, the next one who takes it reads
    that snapshot, and not ten thousand clips.

    Args:
        store: where landmarks are and the snapshot goes.
        corpus: the landmarks' corpus.
        max_glosses: how many glosses; 0 takes all.
        samples_per_gloss: training clips of each gloss at most; 0 takes all.

    Raises:
        NotReady: the corpus has no labelled training clips.
        Conflict: the clips were made by different extractors.
    """
    stored = list(store.list(keys.clips(corpus)))
    choice = Choice(max_glosses, samples_per_gloss)
    cache_key = _snapshot_cache_key(store, stored, choice)
    version = store.cache.noted(cache_key)
    damaged = False
    if re.fullmatch("[0-9a-f]{16}", version):
        try:
            return _logged(load_snapshot(store, corpus, version))
        except NotFound:
            _log.info("dataset %s/%s was deleted; making it again", corpus, version)
        except DataLoss as error:
            _log.warning("%s Making it again.", error)
            damaged = True
    with ThreadPoolExecutor(_READERS) as readers:
        found = _Corpus(store, corpus, [info.key for info in stored], readers)
        snapshot = found.choice(choice)
    publish_snapshot(store, snapshot, repair=damaged)
    store.cache.note(cache_key, snapshot.manifest.version)
    return _logged(snapshot)


@dataclass(frozen=True)
class Choice:
    """Which clips of a corpus are wanted.

    Attributes:
        glosses: how many; 0 takes all.
        samples: training clips of each gloss at most; 0 takes all.
    """

    glosses: int
    samples: int


def choose(records: Sequence[ClipRecord], choice: Choice, apart: frozenset[str] = frozenset()) -> list[ClipRecord]:
    """The clips that a snapshot is made of, in the order of their ids.

    Args:
        records: the corpus.
        choice: which are wanted.
        apart: ids of training clips that are known to show a held-out recording. They are left out, as are training
            clips whose video has the same hash as that of a held-out clip.
    """
    labelled = sorted((record for record in records if record.gloss), key=lambda record: record.clip_id)
    held_out = {record.source_sha256 for record in labelled if record.split != TRAIN and record.source_sha256}
    usable = [
        record
        for record in labelled
        if record.split != TRAIN or (record.source_sha256 not in held_out and record.clip_id not in apart)
    ]
    if len(usable) < len(labelled):
        _log.warning(
            "%d training clips show a recording that is held out, and are left out",
            len(labelled) - len(usable),
        )

    trained = Counter(record.gloss for record in usable if record.split == TRAIN)
    clips = Counter(record.gloss for record in labelled if record.gloss in trained)
    glosses = set(supply.ranked(clips)[: choice.glosses or None])

    taken: Counter[str] = Counter()
    chosen = []
    for record in usable:
        if record.split == TRAIN:
            taken[record.gloss] += 1
            if choice.samples and taken[record.gloss] > choice.samples:
                continue
        if record.gloss in glosses:
            chosen.append(record)
    return chosen


class _Corpus:
    """The clips of a corpus, each of which is read when it is first needed.

    Args:
        store: where it is.
        name: its name.
        keys: its clips'.
        readers: do the reading.
    """

    def __init__(self, store: ObjectStore, name: str, keys: Sequence[str], readers: ThreadPoolExecutor) -> None:
        self._store, self._name, self._keys, self._readers = store, name, keys, readers
        self._sampled: dict[str, SampledClip] = {}

    @cached_property
    def records(self) -> list[ClipRecord]:
        """What is known of each clip."""
        if len(self._sampled) == len(self._keys):
            return [one.record for one in self._sampled.values()]
        heads = _each(self._readers, lambda key: self._store.get_head(key, landmarks.HEADER_BYTES), self._keys)
        return [landmarks.read_record(head, key) for head, key in zip(heads, self._keys, strict=True)]

    def choice(self, choice: Choice) -> Dataset:
        """The snapshot of the clips that `choose` chooses, without those that `_leaking` names."""
        if not (choice.glosses or choice.samples):
            # Nearly all of them will be needed: each is read once, and not its head before.
            self._read_whole(self._keys)
        apart: frozenset[str] = frozenset()
        twins: tuple[tuple[str, ...], ...] = ()
        while True:
            chosen = choose(self.records, choice, apart)
            self._check(chosen)
            snapshot = assemble_snapshot(self._name, self.read(chosen), twins)
            # Twins that are not bit-identical show only when their landmarks are there. Without them others may be
            # chosen, and have twins of their own.
            leaking = _leaking(snapshot.manifest)
            if not leaking:
                return snapshot
            apart |= leaking
            twins = snapshot.manifest.audit.all_duplicates

    def read(self, records: Sequence[ClipRecord]) -> list[SampledClip]:
        """These clips, whole."""
        missing = [record.clip_id for record in records if record.clip_id not in self._sampled]
        self._read_whole([keys.clip(self._name, clip_id) for clip_id in missing])
        return [self._sampled[record.clip_id] for record in records]

    def _read_whole(self, keys: Iterable[str]) -> None:
        found = _each(self._readers, lambda key: _read(self._store, key), keys)
        self._sampled.update((one.record.clip_id, one) for one in found)

    def _check(self, chosen: Sequence[ClipRecord]) -> None:
        if not chosen:
            raise NotReady(
                f"{self._store.url}: corpus {self._name!r} holds {len(self._keys)} clips and no labelled training clip "
                "among them. Extract some first: `signet extract`, or `signet import`."
            )
        made_by = sorted({record.extractor for record in chosen})
        if len(made_by) > 1:
            raise Conflict(
                f"{self._store.url}: the clips of corpus {self._name!r} were made by different extractors "
                f"({', '.join(made_by)}). Extract them again into a corpus of another name."
            )


def _leaking(manifest: Manifest) -> frozenset[str]:
    """The ids of the training clips that show the recording of a held-out clip."""
    training = {clip.clip_id for clip in manifest.training_clips}
    return frozenset(clip_id for group in manifest.audit.leaking for clip_id in group if clip_id in training)


def _snapshot_cache_key(store: ObjectStore, stored: Sequence[ObjectInfo], choice: Choice) -> str:
    """The name of the note that says which snapshot this corpus and this choice gave before.

    It covers everything that decides the snapshot: the rules' versions, the choice, and each clip's key, size and etag.
    """
    listing = [[info.key, info.size, info.etag] for info in stored]
    parts = [CHOICE_VERSION, dataset_snapshot.ASSEMBLY_VERSION, store.url, *astuple(choice), listing]
    return f"snapshot-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}"


def _read(store: ObjectStore, key: str) -> SampledClip:
    return sample_stored_clip(store.get(key), key)


def _each(readers: ThreadPoolExecutor, read: Callable[[Item], Found], items: Iterable[Item]) -> Iterator[Found]:
    """What is read of each, in their order, with only so many read ahead as keep the readers busy."""

    def together(some: list[Item]) -> list[Found]:
        return [read(one) for one in some]

    left = iter(items)
    ahead = deque(readers.submit(together, some) for some in _some(left, _AHEAD))
    while ahead:
        found = ahead.popleft().result()
        ahead.extend(readers.submit(together, some) for some in _some(left, 1))
        yield from found


def _some(left: Iterator[Item], times: int) -> Iterator[list[Item]]:
    for _ in range(times):
        if some := list(islice(left, _TOGETHER)):
            yield some


def _logged(snapshot: Dataset) -> Dataset:
    """The snapshot, after a line about it in the log."""
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
