"""From a corpus of landmarks in the store to the dataset snapshot that a run trains on."""

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from signet import dataset, landmarks, layout
from signet.dataset import Dataset, SourceClip
from signet.errors import Conflict, NotReady
from signet.landmarks import ClipRecord
from signet.store import ObjectStore

_log = logging.getLogger(__name__)

# Reading a clip is waiting for the store, not computing.
_READERS = 8

TRAIN, VAL = "train", "val"


def take(store: ObjectStore, corpus: str, max_glosses: int, samples_per_gloss: int) -> Dataset:
    """Choose clips, snapshot them, and store the snapshot; the same clips give the same version.

    Glosses are those with the most clips in the store; each has at least one training clip, or it is left out. Training
    clips that are bit-identical to a held-out clip are left out too: twins stay on one side.

    Args:
        store: where landmarks are and the snapshot goes.
        corpus: the landmarks' corpus.
        max_glosses: how many glosses; 0 takes all.
        samples_per_gloss: training clips of each gloss at most; 0 takes all.

    Raises:
        NotReady: the corpus has no labelled training clips.
        Conflict: its clips were made by different extractors.
    """
    keys = [info.key for info in store.list(layout.clips(corpus))]
    with ThreadPoolExecutor(_READERS) as readers:
        heads = readers.map(lambda key: store.get_head(key, landmarks.HEADER_BYTES), keys)
        records = [landmarks.read_record(head, key) for head, key in zip(heads, keys, strict=True)]
        chosen = choose(records, max_glosses, samples_per_gloss)
        if not chosen:
            raise NotReady(
                f"{store.url}: corpus {corpus!r} holds {len(keys)} clips and no labelled training clip among them. "
                "Extract some first: `signet extract`."
            )
        made_by = sorted({record.extractor for record in chosen})
        if len(made_by) > 1:
            raise Conflict(
                f"{store.url}: the clips of corpus {corpus!r} were made by different extractors "
                f"({', '.join(made_by)}). Extract them again into a corpus of another name."
            )
        sources = readers.map(lambda record: _read(store, layout.clip(corpus, record.clip_id)), chosen)
        snapshot = dataset.build(corpus, list(sources))
    dataset.publish(store, snapshot)
    _log.info(
        "dataset %s/%s: %d glosses, %d training and %d val clips",
        snapshot.manifest.name,
        snapshot.manifest.version,
        len(snapshot.manifest.vocabulary),
        len(snapshot.split(TRAIN)),
        len(snapshot.split(VAL)),
    )
    return snapshot


def choose(records: Sequence[ClipRecord], max_glosses: int, samples_per_gloss: int) -> list[ClipRecord]:
    """The clips that a snapshot is made of, in the order of their ids."""
    labelled = sorted((record for record in records if record.gloss), key=lambda record: record.clip_id)
    held_out = {record.source_sha256 for record in labelled if record.split != TRAIN and record.source_sha256}
    usable = [record for record in labelled if record.split != TRAIN or record.source_sha256 not in held_out]
    if len(usable) < len(labelled):
        _log.warning(
            "%d training clips are bit-identical to a held-out clip and are left out", len(labelled) - len(usable)
        )

    trained = Counter(record.gloss for record in usable if record.split == TRAIN)
    supply = Counter(record.gloss for record in labelled if record.gloss in trained)
    ranked = sorted(supply, key=lambda gloss: (-supply[gloss], gloss))
    glosses = set(ranked[:max_glosses] if max_glosses else ranked)

    taken: Counter[str] = Counter()
    chosen = []
    for record in usable:
        if record.gloss not in glosses:
            continue
        if record.split == TRAIN:
            taken[record.gloss] += 1
            if samples_per_gloss and taken[record.gloss] > samples_per_gloss:
                continue
        chosen.append(record)
    return chosen


def _read(store: ObjectStore, key: str) -> SourceClip:
    data = store.get(key)
    return SourceClip(landmarks.load(data, key), hashlib.sha256(data).hexdigest())
