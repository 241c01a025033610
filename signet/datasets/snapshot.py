"""Dataset snapshots: an immutable, hashed choice of clips with their labels, and all they look like in one file.

A snapshot's version is the hash of what it holds, so the same choice of the same clips is the same version, and a
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
from signet.errors import AlreadyExists, DataLoss, NotFound
from signet.landmarks import (
    FRAME_RATE,
    JOINTS,
    SMOOTHING_SECONDS,
    ClipRecord,
    Landmarks,
    describe_sampling_difference,
    to_subframe_samples,
)
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

    clip_id: str
    gloss: str
    split: str
    signer: str
    sha256: str
    source_sha256: str
    start: int
    frames: int


class Audit(BaseModel):
    """What a reader must know before believing an accuracy on this snapshot."""

    model_config = ConfigDict(frozen=True)

    # Groups of clips made from bit-identical videos, by clip id.
    identical: tuple[tuple[str, ...], ...] = ()
    # Groups of clips whose landmarks show the same recording (`signet.datasets.duplicates`), not all of them
    # bit-identical. This field and the next are empty in snapshots from before this search existed.
    near_identical: tuple[tuple[str, ...], ...] = ()
    # Groups of either kind whose clips have more than one gloss.
    multi_label: tuple[tuple[str, ...], ...] = ()
    # Groups of either kind that stand on both sides of a split.
    leaking: tuple[tuple[str, ...], ...] = ()
    # Whole groups of either kind some of whose clips are not in the snapshot, such as training clips that were left out
    # because of what they show. Empty in snapshots from before these were kept.
    outside: tuple[tuple[str, ...], ...] = ()
    # Signers that stand on both sides: WLASL's official split is not signer-independent.
    shared_signers: int = 0

    @property
    def duplicates(self) -> tuple[tuple[str, ...], ...]:
        """Groups of clips that show the same recording, of either kind: what must not be parted."""
        return merge_groups((*self.identical, *self.near_identical))

    @property
    def all_duplicates(self) -> tuple[tuple[str, ...], ...]:
        """All groups of clips that show the same recording, clips that are not in the snapshot included."""
        return merge_groups((*self.duplicates, *self.outside))


class Manifest(BaseModel):
    """What a snapshot is."""

    model_config = ConfigDict(frozen=True)

    schema_version: str = Field(default=SCHEMA, alias="schema")
    name: str
    version: str
    corpus: str
    # How its clips were extracted; one value, since a changed extractor is never mixed with an old one.
    extractor: str
    frame_rate: float
    # `signet.landmarks.SMOOTHING_SECONDS` of its frames. Snapshots from before there was any have none.
    smoothing_seconds: float = 0.0
    # Class c of a model is vocabulary[c - 1]; class 0 is the blank.
    vocabulary: tuple[str, ...]
    clips: tuple[DatasetClip, ...]
    shard_sha256: str
    audit: Audit

    @property
    def sampling_difference(self) -> str:
        """How its clips were sampled otherwise than they are here; "" if they were not."""
        return describe_sampling_difference(self.frame_rate, self.smoothing_seconds)

    @property
    def training_clips(self) -> tuple[DatasetClip, ...]:
        """The clips that a model is trained on, in the manifest's order."""
        return tuple(clip for clip in self.clips if clip.split in TRAINING_SPLITS)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A snapshot in memory, or mapped into it from a file of this machine.

    Attributes:
        manifest: what it is.
        samples: float32 [N, S, 75, 3]; the frames of all clips, one clip after the other. Each frame has S samples,
            evenly spaced from this frame to the next (`signet.landmarks.to_subframe_samples`); a model sees the first.
            NaN where a part is absent. Old snapshots have S = 1. In a snapshot that was loaded, samples take memory
            only when they are read, and the system can take this memory back.
    """

    manifest: Manifest
    samples: npt.NDArray[np.float32]

    @property
    def frames(self) -> npt.NDArray[np.float32]:
        """All clips' model inputs, one after the other: float32 [N, 75, 3]."""
        return self.samples[:, 0]

    def clip_samples(self, clip: DatasetClip) -> npt.NDArray[np.float32]:
        """What training draws a clip's frames from: float32 [T, S, 75, 3]."""
        return self.samples[clip.start : clip.start + clip.frames]

    def clip_frames(self, clip: DatasetClip) -> npt.NDArray[np.float32]:
        """One clip's model input: float32 [T, 75, 3]."""
        return self.clip_samples(clip)[:, 0]

    def split(self, split: str) -> list[DatasetClip]:
        """The clips of one split, in the manifest's order."""
        return [clip for clip in self.manifest.clips if clip.split == split]

    def label(self, clip: DatasetClip) -> int:
        """The clip's class: 1..C."""
        return self._classes[clip.gloss]

    @cached_property
    def _classes(self) -> Mapping[str, int]:
        return {gloss: index for index, gloss in enumerate(self.manifest.vocabulary, start=1)}


@dataclass(frozen=True)
class SourceClip:
    """A stored clip that is to become part of a snapshot: its landmarks, and the hash of its stored bytes."""

    landmarks: Landmarks
    sha256: str

    def sampled(self) -> "SampledClip":
        """What a snapshot keeps of it, a fraction of its size."""
        return SampledClip(self.landmarks.record, self.sha256, to_subframe_samples(self.landmarks))


@dataclass(frozen=True, eq=False)
class SampledClip:
    """What a snapshot keeps of a clip: its record, the hash of its stored bytes, and its instants [T', S, 75, 3]."""

    record: ClipRecord
    sha256: str
    samples: npt.NDArray[np.float32]


def build_snapshot(name: str, sources: Iterable[SourceClip]) -> Dataset:
    """Make a snapshot of these clips, in the order of their ids; at least one."""
    return assemble_snapshot(name, [source.sampled() for source in sources])


def assemble_snapshot(
    name: str, sampled: Iterable[SampledClip], known_duplicates: Iterable[Sequence[str]] = ()
) -> Dataset:
    """Make a snapshot of these clips, in the order of their ids; at least one.

    Args:
        name: the snapshot's.
        sampled: the clips.
        known_duplicates: groups of ids of clips that are known to show the same recording, in addition to those
            that are found here; they may name clips that are not in the snapshot.
    """
    ordered = sorted(sampled, key=lambda source: source.record.clip_id)
    clips, start = [], 0
    for source in ordered:
        record = source.record
        frames = len(source.samples)
        clips.append(
            DatasetClip(
                clip_id=record.clip_id,
                gloss=record.gloss,
                split=record.split,
                signer=record.signer,
                sha256=source.sha256,
                source_sha256=record.source_sha256,
                start=start,
                frames=frames,
            )
        )
        start += frames
    shard = np.concatenate([source.samples for source in ordered])
    vocabulary = tuple(sorted({clip.gloss for clip in clips}))
    content = {
        "schema": SCHEMA,
        "frame_rate": FRAME_RATE,
        "smoothing_seconds": SMOOTHING_SECONDS,
        "vocabulary": vocabulary,
        "clips": [[clip.clip_id, clip.gloss, clip.split, clip.signer, clip.sha256] for clip in clips],
        "shard": _digest(shard),
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

    Args:
        store: where it goes.
        dataset: the snapshot.
        repair: write over one that is there already, because it is damaged; otherwise that is left as it is.
    """
    name, version = dataset.manifest.name, dataset.manifest.version
    key = keys.dataset_manifest(name, version)
    if not repair and store.stat(key):
        return
    store.put(keys.dataset_shard(name, version), _encode(dataset.samples))
    manifest = dataset.manifest.model_dump_json(by_alias=True, indent=1).encode()
    if repair:
        return store.put(key, manifest)
    try:
        store.create(key, manifest)
    except AlreadyExists:
        return  # another run made the very same snapshot meanwhile


def read_snapshot_manifest(store: ObjectStore, name: str, version: str) -> Manifest:
    """What a snapshot is, without its frames.

    Raises:
        NotFound: there is none of this name and version.
        DataLoss: its manifest cannot be read.
    """
    key = keys.dataset_manifest(name, version)
    try:
        return Manifest.model_validate_json(store.get(key))
    except NotFound:
        raise NotFound(f"{store.url}: no dataset {name!r} of version {version!r}. `signet train` makes one.") from None
    except ValidationError as error:
        raise DataLoss(f"{store.url}/{key}: not a dataset manifest ({error.error_count()} faults).") from error


def load_snapshot(store: ObjectStore, name: str, version: str) -> Dataset:
    """Read a snapshot back; its frames are mapped from a file of this machine, which is fetched if it is not there.

    Raises:
        NotFound: there is none of this name and version.
        DataLoss: its frames are not those that its manifest names.
    """
    manifest = read_snapshot_manifest(store, name, version)
    try:
        return Dataset(manifest, _decode(store.get_mapped(keys.dataset_shard(name, version), manifest.shard_sha256)))
    except (DataLoss, NotFound) as error:
        raise DataLoss(
            f"{store.url}: the frames of dataset {name}/{version} are damaged or gone. Train again: it makes them anew."
        ) from error
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise DataLoss(f"{store.url}: the frames of dataset {name}/{version} cannot be read ({error}).") from error


# A shard is safetensors with the one tensor "frames", which holds the instants. It is written and read here without
# that library, which would copy hundreds of megabytes several times and cannot read from a memory map of ours. A file
# is the header's length as uint64, the header as JSON, padded with spaces to a multiple of 8, and the tensors:
# https://huggingface.co/docs/safetensors.
def _header(samples: npt.NDArray[np.float32]) -> bytes:
    entry = {"dtype": "F32", "shape": samples.shape, "data_offsets": [0, samples.nbytes]}
    text = json.dumps({"frames": entry}, separators=(",", ":"))
    text += " " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text.encode()


def _encode(samples: npt.NDArray[np.float32]) -> bytes:
    return b"".join((_header(samples), _bytes(samples)))


def _digest(samples: npt.NDArray[np.float32]) -> str:
    digest = hashlib.sha256(_header(samples))
    digest.update(_bytes(samples))
    return digest.hexdigest()


def _bytes(samples: npt.NDArray[np.float32]) -> memoryview:
    return np.ascontiguousarray(samples, "<f4").data.cast("B")


def _decode(shard: memoryview) -> npt.NDArray[np.float32]:
    """What is in a shard's own memory: float32 [N, S, 75, 3]."""
    (length,) = struct.unpack("<Q", shard[:8])
    entry = json.loads(bytes(shard[8 : 8 + length]))["frames"]
    frames, *samples = entry["shape"][:-2]
    if entry["dtype"] != "F32" or entry["shape"][-2:] != [JOINTS, 3] or len(samples) > 1:
        raise ValueError(f"{entry['dtype']} {entry['shape']} instead of F32 [N, S, {JOINTS}, 3]")
    start, end = entry["data_offsets"]
    return np.frombuffer(shard[8 + length + start : 8 + length + end], "<f4").reshape(
        (frames, *(samples or [1]), JOINTS, 3)
    )


def _audit(
    clips: Sequence[DatasetClip], frames: npt.NDArray[np.float32], known_duplicates: Iterable[Sequence[str]]
) -> Audit:
    by_source: dict[str, list[str]] = {}
    for clip in clips:
        by_source.setdefault(clip.source_sha256 or clip.sha256, []).append(clip.clip_id)
    identical = tuple(tuple(group) for group in by_source.values() if len(group) > 1)
    near = [
        (clips[twin.first].clip_id, clips[twin.second].clip_id)
        for twin in find_near_duplicates(frames, [clip.frames for clip in clips])
    ]
    known = {frozenset(group) for group in identical}
    by_id = {clip.clip_id: clip for clip in clips}
    groups = merge_groups((*identical, *near, *known_duplicates))
    here = [tuple(one for one in group if one in by_id) for group in groups]
    twins = sorted(group for group in here if len(group) > 1)
    outside = tuple(group for group, there in zip(groups, here, strict=True) if 0 < len(there) < len(group))
    trained = {clip.signer for clip in clips if clip.split in TRAINING_SPLITS}
    held_out = {clip.signer for clip in clips if clip.split in {VAL, "test"}}
    return Audit(
        identical=identical,
        near_identical=tuple(group for group in twins if frozenset(group) not in known),
        multi_label=tuple(group for group in twins if len({by_id[one].gloss for one in group}) > 1),
        leaking=tuple(group for group in twins if len({_side(by_id[one]) for one in group}) > 1),
        outside=outside,
        shared_signers=len(trained & held_out),
    )


def _side(clip: DatasetClip) -> str:
    """The split on whose side a clip stands."""
    return TRAIN if clip.split in TRAINING_SPLITS else clip.split
