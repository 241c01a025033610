"""The clips that a model is evaluated on: a split of its own snapshot, or one that came into the corpus later."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.evaluator.reports.report import LeftOut
from services.evaluator.reports.statistics import synonyms
from signet import landmarks
from signet.datasets import corpus
from signet.datasets.duplicates import find_near_duplicates
from signet.datasets.groups import merge_groups
from signet.datasets.snapshot import Dataset, DatasetClip, Manifest, SampledClip, SourceClip, assemble_snapshot
from signet.errors import Conflict, InvalidInput
from signet.store import ObjectStore, keys

Frames = npt.NDArray[np.float32]

# The corpus has no manifest as long as no extraction of it has come to its end.
UNFINISHED = "unfinished"

# DecodedClip a clip is waiting for the store, not computing.
_READERS = 8


@dataclass(frozen=True, eq=False)
class EvaluationClips:
    """What a model is evaluated on.

    Attributes:
        clips: the clips of the split, one or more.
        inputs: their model inputs, each float32 [T, 75, 3].
        manifest: the snapshot that the model was trained on.
        twins: groups of clips, by id, that show the same recording, among these and the snapshot's.
        synonyms: see `services.evaluator.reports.statistics.synonyms`.
        corpus_version: of the corpus that the clips were taken from; empty if they are the snapshot's.
        clips_version: a hash of them; empty if they are the snapshot's.
        left_out: clips of the split whose recording the model was trained on.
        outside_vocabulary: how many clips of the split have a gloss that the model does not know.
    """

    clips: tuple[DatasetClip, ...]
    inputs: tuple[Frames, ...]
    manifest: Manifest
    twins: tuple[tuple[str, ...], ...]
    synonyms: Mapping[str, frozenset[str]]
    corpus_version: str = ""
    clips_version: str = ""
    left_out: tuple[LeftOut, ...] = ()
    outside_vocabulary: int = 0

    @property
    def trained_signers(self) -> frozenset[str]:
        """The known signers of the clips that the model learnt from."""
        return frozenset(clip.signer for clip in self.manifest.training_clips if clip.signer)


def load_split(store: ObjectStore, snapshot: Dataset, split: str) -> EvaluationClips:
    """A split of the snapshot; where that has none, the same split of the corpus that it was taken from.

    So clips that are extracted after a training, such as the official test clips, can be evaluated by the model that
    never knew of them.

    Raises:
        InvalidInput: neither has a clip of this split whose gloss is in the vocabulary.
        Conflict: the corpus's clips were extracted otherwise than the snapshot's.
    """
    known = set(snapshot.manifest.vocabulary)
    there = snapshot.split(split)
    clips = [clip for clip in there if clip.gloss in known]
    if not clips:
        return _of_corpus(store, snapshot, split)
    twins = snapshot.manifest.audit.duplicates
    return EvaluationClips(
        clips=tuple(clips),
        inputs=tuple(snapshot.clip_frames(clip) for clip in clips),
        manifest=snapshot.manifest,
        twins=twins,
        synonyms=synonyms(twins, {clip.clip_id: clip.gloss for clip in snapshot.manifest.clips}),
        outside_vocabulary=len(there) - len(clips),
    )


def _of_corpus(store: ObjectStore, snapshot: Dataset, split: str) -> EvaluationClips:
    manifest = snapshot.manifest
    known = set(manifest.vocabulary)
    stored = [info.key for info in store.list(keys.clips(manifest.corpus))] if manifest.corpus else []
    with ThreadPoolExecutor(_READERS) as readers:
        heads = readers.map(lambda key: store.get_head(key, landmarks.HEADER_BYTES), stored)
        records = [landmarks.read_record(head, key) for head, key in zip(heads, stored, strict=True)]
        # A snapshot has a split or it has none; but a clip may have been moved from one to another since.
        trained = {clip.clip_id for clip in manifest.clips}
        there = [record for record in records if record.split == split and record.clip_id not in trained]
        wanted = [record for record in there if record.gloss in known]
        if not wanted:
            raise _none(store, manifest, split, len(there))
        made_by = sorted({record.extractor for record in wanted} - {manifest.extractor})
        if made_by:
            raise Conflict(
                f"{store.url}: the {split} clips of corpus {manifest.corpus!r} were made by {', '.join(made_by)}, and "
                f"the model was trained on landmarks made by {manifest.extractor}. Extract all clips again with one "
                "extractor, into a corpus of another name, and train again."
            )
        sampled = list(readers.map(lambda record: _read(store, manifest.corpus, record.clip_id), wanted))
    new = assemble_snapshot(manifest.corpus, sampled)
    twins = _twins(snapshot, new)
    glosses = {clip.clip_id: clip.gloss for clip in (*manifest.clips, *new.manifest.clips)}
    training = {clip.clip_id for clip in manifest.training_clips}
    left_out = {
        clip_id: tuple(one for one in group if one in training)
        for group in twins
        for clip_id in group
        if clip_id not in trained and training & set(group)
    }
    clips = tuple(clip for clip in new.manifest.clips if clip.clip_id not in left_out)
    if not clips:
        raise InvalidInput(
            f"split {split!r}: all {len(left_out)} clips of corpus {manifest.corpus!r} show recordings that the model "
            "was trained on, so that there is nothing to evaluate."
        )
    finished = corpus.read_manifest(store, manifest.corpus)
    return EvaluationClips(
        clips=clips,
        inputs=tuple(new.clip_frames(clip) for clip in clips),
        manifest=manifest,
        twins=twins,
        synonyms=synonyms(twins, glosses),
        corpus_version=finished.version if finished else UNFINISHED,
        clips_version=hashlib.sha256("".join(clip.clip_id + clip.sha256 for clip in clips).encode()).hexdigest()[:16],
        left_out=tuple(
            LeftOut(clip_id=clip_id, gloss=glosses[clip_id], twins=of) for clip_id, of in sorted(left_out.items())
        ),
        outside_vocabulary=len(there) - len(wanted),
    )


def _twins(snapshot: Dataset, new: Dataset) -> tuple[tuple[str, ...], ...]:
    """Groups that show the same recording, among the snapshot's clips and the new ones together."""
    clips = [*snapshot.manifest.clips, *new.manifest.clips]
    near = find_near_duplicates(np.concatenate([snapshot.frames, new.frames]), [clip.frames for clip in clips])
    by_source: dict[str, list[str]] = {}
    for clip in clips:
        if clip.source_sha256:
            by_source.setdefault(clip.source_sha256, []).append(clip.clip_id)
    pairs = [(clips[twin.first].clip_id, clips[twin.second].clip_id) for twin in near]
    return merge_groups([*by_source.values(), *pairs, *snapshot.manifest.audit.duplicates])


def _read(store: ObjectStore, name: str, clip_id: str) -> SampledClip:
    key = keys.clip(name, clip_id)
    data = store.get(key)
    return SourceClip(landmarks.load(data, key), hashlib.sha256(data).hexdigest()).sampled()


def _none(store: ObjectStore, manifest: Manifest, split: str, there: int) -> InvalidInput:
    splits = Counter(clip.split for clip in manifest.clips)
    listed = ", ".join(f"{name or '(none)'} ({count} clips)" for name, count in sorted(splits.items()))
    fault = f"{there} clips, none of a gloss that the model knows" if there else "none either"
    return InvalidInput(
        f"split {split!r}: dataset {manifest.name}/{manifest.version} has none; it has {listed}. Corpus "
        f"{manifest.corpus!r} in {store.url} has {fault}. Extract the clips first: `signet extract --split {split}`."
    )
