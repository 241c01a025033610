"""The clips that a model is evaluated on: a split of its snapshot, or later clips of the corpus."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from services.evaluator.reports.report import LeftOut
from services.evaluator.reports.statistics import find_synonyms
from signet.datasets import corpus
from signet.datasets.duplicates import find_near_duplicates
from signet.datasets.groups import merge_groups
from signet.datasets.snapshot import Dataset, DatasetClip, Manifest, SampledClip, assemble_snapshot, sample_stored_clip
from signet.errors import Conflict, InvalidInput, quote
from signet.landmarks import ClipRecord, Landmarks, load
from signet.store import ObjectStore, keys

Frames = npt.NDArray[np.float32]

# The version of a corpus that has no manifest, because no extraction of it has ended.
UNFINISHED = "unfinished"

# Clips are read in parallel, because each read waits for the store.
_READERS = 8

# At most so many clips of a corpus are considered as unknown signs.
_UNKNOWN_CLIPS = 1000


@dataclass(frozen=True, eq=False)
class EvaluationClips:
    """The clips of one evaluation."""

    clips: tuple[DatasetClip, ...]  # the clips of the split, one or more
    inputs: tuple[Frames, ...]  # their model inputs, each float32 [T, 75, 3]; empty if the model does not run
    manifest: Manifest  # the manifest of the snapshot that the model was trained on
    # Groups of clips, by id, that show the same recording, among these clips and the snapshot's.
    duplicates: tuple[tuple[str, ...], ...]
    synonyms: Mapping[str, frozenset[str]]  # see `services.evaluator.reports.statistics.find_synonyms`
    # Version of the corpus that the clips were taken from; empty if the snapshot has the clips.
    corpus_version: str = ""
    clips_version: str = ""  # a hash of clips that were taken from the corpus; empty if the snapshot has the clips
    left_out: tuple[LeftOut, ...] = ()  # clips of the split that show a recording that the model was trained on
    outside_vocabulary: int = 0  # number of clips of the split whose gloss is not in the vocabulary


def load_split(store: ObjectStore, snapshot: Dataset, split: str) -> EvaluationClips:
    """Load a split of the snapshot; if the snapshot does not have it, load the split of its corpus.

    This evaluates a model on clips that were extracted after its training, such as the official test clips.

    Raises:
        InvalidInput: neither has a clip of this split whose gloss is in the vocabulary.
        Conflict: the clips and the model have different extractors.
    """
    manifest = snapshot.manifest
    vocabulary = set(manifest.vocabulary)
    in_split = snapshot.split(split)
    clips = [clip for clip in in_split if clip.gloss in vocabulary]
    if not clips:
        return _load_split_from_corpus(store, snapshot, split)
    duplicates = manifest.audit.duplicates
    return EvaluationClips(
        clips=tuple(clips),
        inputs=tuple(snapshot.clip_frames(clip) for clip in clips),
        manifest=manifest,
        duplicates=duplicates,
        synonyms=find_synonyms(duplicates, {clip.clip_id: clip.gloss for clip in manifest.clips}),
        outside_vocabulary=len(in_split) - len(clips),
    )


def _load_split_from_corpus(store: ObjectStore, snapshot: Dataset, split: str) -> EvaluationClips:
    manifest = snapshot.manifest
    # A clip of the snapshot is left out even if the corpus has moved it to this split since.
    in_snapshot = {clip.clip_id for clip in manifest.clips}
    with ThreadPoolExecutor(_READERS) as readers:
        stored = [info.key for info in corpus.list_clips(store, manifest.corpus)] if manifest.corpus else []
        records = [
            record for record in readers.map(partial(corpus.read_clip_record, store), stored) if record is not None
        ]
        in_split = [record for record in records if record.split == split and record.clip_id not in in_snapshot]
        wanted = [record for record in in_split if record.gloss in set(manifest.vocabulary)]
        if not wanted:
            raise _no_clips(store, manifest, split, len(in_split))
        _check_extractor(store, manifest, split, wanted)
        wanted_keys = [keys.clip(manifest.corpus, record.clip_id) for record in wanted]
        sampled = [clip for clip in readers.map(partial(_sample_clip, store), wanted_keys) if clip is not None]
        if not sampled:
            raise _no_clips(store, manifest, split, len(in_split))
    new = assemble_snapshot(manifest.corpus, sampled)
    duplicates = _find_duplicates(snapshot, new)
    glosses = {clip.clip_id: clip.gloss for clip in (*manifest.clips, *new.manifest.clips)}
    left_out = _find_training_duplicates(manifest, duplicates)
    clips = tuple(clip for clip in new.manifest.clips if clip.clip_id not in left_out)
    if not clips:
        raise InvalidInput(
            f"split {quote(split)}: all {len(left_out)} clips of corpus {quote(manifest.corpus)} show recordings that "
            "the model was trained on, so there is nothing to evaluate. Extract other clips."
        )
    finished = corpus.read_manifest(store, manifest.corpus)
    return EvaluationClips(
        clips=clips,
        inputs=tuple(new.clip_frames(clip) for clip in clips),
        manifest=manifest,
        duplicates=duplicates,
        synonyms=find_synonyms(duplicates, glosses),
        corpus_version=finished.version if finished else UNFINISHED,
        clips_version=hashlib.sha256("".join(clip.clip_id + clip.sha256 for clip in clips).encode()).hexdigest()[:16],
        left_out=tuple(
            LeftOut(clip_id=clip_id, gloss=glosses[clip_id], training_clips=training_clips)
            for clip_id, training_clips in sorted(left_out.items())
        ),
        outside_vocabulary=len(in_split) - len(wanted),
    )


def load_landmarks(store: ObjectStore, clips: EvaluationClips) -> tuple[Landmarks, ...]:
    """The landmarks of the clips, from the snapshot's corpus.

    Clips that are no longer in the corpus are left out, and those that have another gloss or another extractor there.
    """
    manifest = clips.manifest
    if not manifest.corpus:
        return ()
    stored = {keys.clip_id(manifest.corpus, info.key): info.key for info in corpus.list_clips(store, manifest.corpus)}
    glosses = {clip.clip_id: clip.gloss for clip in clips.clips}
    with ThreadPoolExecutor(_READERS) as readers:
        found = readers.map(partial(_read_landmarks, store), [stored[name] for name in glosses if name in stored])
        return tuple(
            clip
            for clip in found
            if clip is not None
            and clip.record.extractor == manifest.extractor
            and clip.record.gloss == glosses.get(clip.record.clip_id)
        )


def load_unknown_signs(
    store: ObjectStore, manifest: Manifest, split: str, vocabulary: Sequence[str]
) -> tuple[Landmarks, ...]:
    """Clips of this split whose gloss is not in the vocabulary, from the snapshot's corpus.

    Clips of another extractor are left out, and clips that show the same recording as a clip of the snapshot, because
    the sign may have two glosses. Of a large corpus, `_UNKNOWN_CLIPS` clips are considered, chosen by their keys' hash.
    """
    if not manifest.corpus:
        return ()
    in_snapshot = {clip.clip_id for clip in manifest.clips}
    recordings = {clip.source_sha256 for clip in manifest.clips} - {""}
    known = {*manifest.vocabulary, *vocabulary}
    listed = [info.key for info in corpus.list_clips(store, manifest.corpus)]
    stored = [key for key in listed if keys.clip_id(manifest.corpus, key) not in in_snapshot]
    stored = sorted(stored, key=lambda key: hashlib.sha256(key.encode()).digest())[:_UNKNOWN_CLIPS]
    with ThreadPoolExecutor(_READERS) as readers:
        wanted = [
            key
            for key, record in zip(stored, readers.map(partial(corpus.read_clip_record, store), stored), strict=True)
            if record is not None
            and record.split == split
            and record.gloss not in known
            and record.extractor == manifest.extractor
            and record.source_sha256 not in recordings
        ]
        return tuple(clip for clip in readers.map(partial(_read_landmarks, store), wanted) if clip is not None)


def _check_extractor(store: ObjectStore, manifest: Manifest, split: str, records: Sequence[ClipRecord]) -> None:
    extractors = sorted({record.extractor for record in records} - {manifest.extractor})
    if extractors:
        raise Conflict(
            f"{store.url}: the {split} clips of corpus {quote(manifest.corpus)} were made by {', '.join(extractors)}, "
            f"and the model was trained on landmarks made by {manifest.extractor}. Extract all clips again with one "
            "extractor, into a corpus of another name, and train again."
        )


def _find_duplicates(snapshot: Dataset, new: Dataset) -> tuple[tuple[str, ...], ...]:
    """Groups that show the same recording, among the clips of the snapshot and the new clips together."""
    clips = [*snapshot.manifest.clips, *new.manifest.clips]
    near = find_near_duplicates(np.concatenate([snapshot.frames, new.frames]), [clip.frames for clip in clips])
    by_source: dict[str, list[str]] = {}
    for clip in clips:
        if clip.source_sha256:
            by_source.setdefault(clip.source_sha256, []).append(clip.clip_id)
    pairs = [(clips[pair.first].clip_id, clips[pair.second].clip_id) for pair in near]
    return merge_groups([*by_source.values(), *pairs, *snapshot.manifest.audit.duplicates])


def _find_training_duplicates(manifest: Manifest, duplicates: Sequence[tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Clips outside the snapshot that show the same recording as training clips: their ids, and those clips' ids."""
    in_snapshot = {clip.clip_id for clip in manifest.clips}
    training = {clip.clip_id for clip in manifest.training_clips}
    return {
        clip_id: tuple(other for other in group if other in training)
        for group in duplicates
        for clip_id in group
        if clip_id not in in_snapshot and training & set(group)
    }


def _sample_clip(store: ObjectStore, key: str) -> SampledClip | None:
    """A sampled clip; None if it is damaged."""
    return corpus.read_clip(store, key, lambda key: sample_stored_clip(store.get(key), key))


def _read_landmarks(store: ObjectStore, key: str) -> Landmarks | None:
    """The landmarks of a clip; None if it is damaged."""
    return corpus.read_clip(store, key, lambda key: load(store.get(key), key))


def _no_clips(store: ObjectStore, manifest: Manifest, split: str, outside_vocabulary: int) -> InvalidInput:
    splits = Counter(clip.split for clip in manifest.clips)
    listed = ", ".join(f"{name or '(none)'} ({count} clips)" for name, count in sorted(splits.items()))
    others = "none either"
    if outside_vocabulary:
        others = f"{outside_vocabulary} clips, but none of the vocabulary's glosses"
    return InvalidInput(
        f"split {quote(split)}: dataset {manifest.name}/{manifest.version} has none; it has {listed}. Corpus "
        f"{quote(manifest.corpus)} in {store.url} has {others}. Extract the clips first: "
        f"`signet extract --split {split}`."
    )
