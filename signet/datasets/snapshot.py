"""Dataset snapshots: an immutable, hashed choice of clips with their labels, and all their frames in one file.

The version of a snapshot is a hash of its content. So the same choice of the same clips is the same version, and a
report that names a version names its data exactly.
"""

import hashlib
import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from signet.datasets.duplicates import find_near_duplicates
from signet.datasets.groups import merge_groups
from signet.datasets.shard import decode_shard, encode_shard, shard_digest
from signet.errors import AlreadyExists, DataLoss, NotFound, quote
from signet.field_types import Gloss, Label, describe_first_fault
from signet.landmarks import (
    FRAME_RATE,
    SMOOTHING_SECONDS,
    ClipRecord,
    Landmarks,
    describe_sampling_difference,
    to_subframe_samples,
)
from signet.landmarks import load as load_landmarks
from signet.store import ObjectStore, keys

SCHEMA = "signet.dataset/1"

# Raise this number when `assemble_snapshot` gives another manifest or other frames for the same clips: when sampling,
# the search for duplicates (`signet.datasets.duplicates`, `signet.datasets.groups`) or the audit change. Snapshots that
# were noted under an older number are made again.
ASSEMBLY_VERSION = 1

TRAIN, VAL = "train", "val"

# Splits whose clips a model is trained on. Earlier versions also trained on clips of the splits "supplement" and
# "auxiliary". No new snapshot has these splits, but the clips of an old one must never count as unseen.
TRAINING_SPLITS = frozenset({TRAIN, "supplement", "auxiliary"})


class DatasetClip(BaseModel):
    """One clip of a snapshot.

    `sha256` is of the stored landmark tensor, `source_sha256` of the video that it came from. The clip's frames are
    `[start, start + frames)` of the shard.
    """

    model_config = ConfigDict(frozen=True)

    clip_id: Label
    gloss: Gloss
    split: Label
    signer: Label
    sha256: str
    source_sha256: str
    start: int = Field(ge=0)
    frames: int = Field(ge=0)


class Audit(BaseModel):
    """Facts about a snapshot that limit what an accuracy on it means."""

    model_config = ConfigDict(frozen=True)

    identical: tuple[tuple[str, ...], ...] = ()  # groups of clips made from bit-identical videos, by clip id
    # Groups of clips whose landmarks show the same recording (`signet.datasets.duplicates`), not all of them
    # bit-identical. This field and the next are empty in snapshots from before this search existed.
    near_identical: tuple[tuple[str, ...], ...] = ()
    multi_label: tuple[tuple[str, ...], ...] = ()  # groups of either kind whose clips have more than one gloss
    leaking: tuple[tuple[str, ...], ...] = ()  # groups of either kind with clips on both sides of a split
    # Whole groups of either kind that have clips outside the snapshot, such as training clips that were left out as
    # duplicates of held-out clips. Empty in snapshots that are older than this field.
    outside: tuple[tuple[str, ...], ...] = ()
    # The number of signers on both sides of the split: WLASL's official split is not signer-independent.
    shared_signers: int = 0

    @property
    def duplicates(self) -> tuple[tuple[str, ...], ...]:
        """Groups of clips that show the same recording, of either kind. They must stay on one side of a split."""
        return merge_groups((*self.identical, *self.near_identical))

    @property
    def all_duplicates(self) -> tuple[tuple[str, ...], ...]:
        """All groups of clips that show the same recording, including clips that are not in the snapshot."""
        return merge_groups((*self.duplicates, *self.outside))


class Manifest(BaseModel):
    """manifest.json: a snapshot without its frames."""

    model_config = ConfigDict(frozen=True)

    schema_version: str = Field(default=SCHEMA, alias="schema")
    name: Label
    version: Label
    corpus: Label
    extractor: Label  # how the clips were extracted. All clips of a snapshot have the same extractor.
    frame_rate: float
    # `signet.landmarks.SMOOTHING_SECONDS` of its frames. Older manifests lack it: their frames were not smoothed.
    smoothing_seconds: float = 0.0
    vocabulary: tuple[Gloss, ...]  # class c of a model is vocabulary[c - 1]; class 0 is the blank
    clips: tuple[DatasetClip, ...]
    shard_sha256: str
    audit: Audit

    @property
    def sampling_difference(self) -> str:
        """How the sampling of its clips differs from today's, in words; "" if it does not."""
        return describe_sampling_difference(self.frame_rate, self.smoothing_seconds)

    @property
    def training_clips(self) -> tuple[DatasetClip, ...]:
        """The clips that a model is trained on, in the manifest's order."""
        return tuple(clip for clip in self.clips if clip.split in TRAINING_SPLITS)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A snapshot in memory, or mapped into memory from a file of this machine."""

    manifest: Manifest  # its clips, labels and audit
    # float32 [N, S, 75, 3]; the frames of all clips, one clip after the other. Each frame has S samples, evenly spaced
    # from this frame to the next (`signet.landmarks.to_subframe_samples`); a model sees the first. NaN where a part is
    # absent. Old snapshots have S = 1. In a snapshot that was loaded, samples take memory only when they are read, and
    # the system can take this memory back.
    samples: npt.NDArray[np.float32]

    @property
    def frames(self) -> npt.NDArray[np.float32]:
        """The model inputs of all clips, one clip after the other: float32 [N, 75, 3]."""
        return self.samples[:, 0]

    def clip_samples(self, clip: DatasetClip) -> npt.NDArray[np.float32]:
        """The samples from which training draws the frames of a clip: float32 [T, S, 75, 3]."""
        return self.samples[clip.start : clip.start + clip.frames]

    def clip_frames(self, clip: DatasetClip) -> npt.NDArray[np.float32]:
        """The model input of a clip: float32 [T, 75, 3]."""
        return self.clip_samples(clip)[:, 0]

    def split(self, split: str) -> list[DatasetClip]:
        """The clips of one split, in the manifest's order."""
        return [clip for clip in self.manifest.clips if clip.split == split]

    def label(self, clip: DatasetClip) -> int:
        """The class of a clip: 1..C."""
        return self._classes[clip.gloss]

    @cached_property
    def _classes(self) -> Mapping[str, int]:
        return {gloss: index for index, gloss in enumerate(self.manifest.vocabulary, start=1)}


@dataclass(frozen=True, eq=False)
class SampledClip:
    """The part of a clip that a snapshot keeps: its record, the sha256 of its bytes, and its samples [T', S, 75, 3]."""

    record: ClipRecord
    sha256: str
    samples: npt.NDArray[np.float32]


def sample_clip(clip: Landmarks, sha256: str) -> SampledClip:
    """Sample a clip for a snapshot; `sha256` is of its stored bytes."""
    return SampledClip(clip.record, sha256, to_subframe_samples(clip))


def sample_stored_clip(data: bytes, name: str) -> SampledClip:
    """Sample a clip for a snapshot from its stored bytes; `name` is its name in an error.

    Raises:
        InvalidLandmarks: the bytes are not a landmark tensor v1.
    """
    return sample_clip(load_landmarks(data, name), hashlib.sha256(data).hexdigest())


def assemble_snapshot(
    name: str, sampled: Iterable[SampledClip], known_duplicates: Iterable[Sequence[str]] = ()
) -> Dataset:
    """Make a snapshot of at least one clip, with the clips in the order of their ids.

    `known_duplicates` are groups of ids of clips that are known to show the same recording, in addition to those that
    are found here. They may name clips that are not in the snapshot.
    """
    ordered = sorted(sampled, key=lambda source: source.record.clip_id)
    ends = np.cumsum([len(source.samples) for source in ordered]).tolist()
    clips = [
        DatasetClip(
            clip_id=source.record.clip_id,
            gloss=source.record.gloss,
            split=source.record.split,
            signer=source.record.signer,
            sha256=source.sha256,
            source_sha256=source.record.source_sha256,
            start=end - len(source.samples),
            frames=len(source.samples),
        )
        for source, end in zip(ordered, ends, strict=True)
    ]
    shard = np.concatenate([source.samples for source in ordered])
    vocabulary = tuple(sorted({clip.gloss for clip in clips}))
    content = {
        "schema": SCHEMA,
        "frame_rate": FRAME_RATE,
        "smoothing_seconds": SMOOTHING_SECONDS,
        "vocabulary": vocabulary,
        "clips": [[clip.clip_id, clip.gloss, clip.split, clip.signer, clip.sha256] for clip in clips],
        "shard": shard_digest(shard),
    }
    if ASSEMBLY_VERSION > 1:
        # An older snapshot of the same clips may have another audit. The hash of version 1 does not name it.
        content["assembly"] = ASSEMBLY_VERSION
    version = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    manifest = Manifest(
        name=name,
        version=version,
        corpus=ordered[0].record.corpus,
        extractor=ordered[0].record.extractor,
        frame_rate=FRAME_RATE,
        smoothing_seconds=SMOOTHING_SECONDS,
        vocabulary=vocabulary,
        clips=tuple(clips),
        shard_sha256=str(content["shard"]),
        audit=_audit(clips, shard[:, 0], known_duplicates),
    )
    return Dataset(manifest, shard)


def publish_snapshot(store: ObjectStore, dataset: Dataset, *, repair: bool = False) -> None:
    """Store a snapshot: its frames first, its manifest last.

    A stored snapshot of this version is left as it is. With `repair` it is overwritten, because it is damaged.
    """
    name, version = dataset.manifest.name, dataset.manifest.version
    key = keys.dataset_manifest(name, version)
    if not repair and store.stat(key):
        return
    store.put(keys.dataset_shard(name, version), encode_shard(dataset.samples))
    manifest = dataset.manifest.model_dump_json(by_alias=True, indent=1).encode()
    if repair:
        return store.put(key, manifest)
    try:
        store.create(key, manifest)
    except AlreadyExists:
        return  # another run stored the same snapshot meanwhile


def read_snapshot_manifest(store: ObjectStore, name: str, version: str) -> Manifest:
    """Read the manifest of a snapshot.

    Raises:
        NotFound: there is no snapshot of this name and version.
        DataLoss: its manifest cannot be read.
    """
    key = keys.dataset_manifest(name, version)
    try:
        return Manifest.model_validate_json(store.get(key))
    except NotFound:
        raise NotFound(
            f"{store.url}: no dataset {quote(name)} of version {quote(version)}. `signet train` makes one."
        ) from None
    except ValidationError as error:
        raise DataLoss(f"{store.url}/{key}: not a dataset manifest ({describe_first_fault(error)}).") from error


def load_snapshot(store: ObjectStore, name: str, version: str) -> Dataset:
    """Read a snapshot. Its frames are mapped from a file of this machine, which is fetched if it is missing.

    Raises:
        NotFound: there is no snapshot of this name and version.
        DataLoss: its manifest or its frames are damaged or gone.
    """
    manifest = read_snapshot_manifest(store, name, version)
    try:
        samples = decode_shard(store.get_mapped(keys.dataset_shard(name, version), manifest.shard_sha256))
        _check_frames(manifest, len(samples))
        return Dataset(manifest, samples)
    except (DataLoss, NotFound) as error:
        raise DataLoss(
            f"{store.url}: the frames of dataset {name}/{version} are damaged or gone. Train again to make them again."
        ) from error
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise DataLoss(f"{store.url}: the frames of dataset {name}/{version} cannot be read ({error}).") from error


def _check_frames(manifest: Manifest, frames: int) -> None:
    """Raise a ValueError if a clip of the manifest lies outside these frames of its shard."""
    for clip in manifest.clips:
        if clip.start + clip.frames > frames:
            raise ValueError(f"clip {clip.clip_id} ends at frame {clip.start + clip.frames} of {frames}")


def _audit(
    clips: Sequence[DatasetClip], frames: npt.NDArray[np.float32], known_duplicates: Iterable[Sequence[str]]
) -> Audit:
    by_source: dict[str, list[str]] = {}
    for clip in clips:
        by_source.setdefault(clip.source_sha256 or clip.sha256, []).append(clip.clip_id)
    identical = tuple(tuple(group) for group in by_source.values() if len(group) > 1)
    near = [
        (clips[pair.first].clip_id, clips[pair.second].clip_id)
        for pair in find_near_duplicates(frames, [clip.frames for clip in clips])
    ]
    by_id = {clip.clip_id: clip for clip in clips}
    groups = merge_groups((*identical, *near, *known_duplicates))
    present = [tuple(clip_id for clip_id in group if clip_id in by_id) for group in groups]
    duplicates = sorted(group for group in present if len(group) > 1)
    bit_identical = {frozenset(group) for group in identical}
    trained = {clip.signer for clip in clips if clip.split in TRAINING_SPLITS}
    held_out = {clip.signer for clip in clips if clip.split in {VAL, "test"}}
    return Audit(
        identical=identical,
        near_identical=tuple(group for group in duplicates if frozenset(group) not in bit_identical),
        multi_label=tuple(group for group in duplicates if len({by_id[clip_id].gloss for clip_id in group}) > 1),
        leaking=tuple(group for group in duplicates if len({by_id[clip_id].split for clip_id in group}) > 1),
        outside=tuple(group for group, inside in zip(groups, present, strict=True) if 0 < len(inside) < len(group)),
        shared_signers=len(trained & held_out),
    )
