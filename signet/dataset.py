"""Dataset snapshots: an immutable, hashed choice of clips with their labels, and all their frames in one file.

A snapshot's version is the hash of what it holds, so the same choice of the same clips is the same version, and a
report that names a version names its data exactly.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from signet import layout
from signet.errors import AlreadyExists, DataLoss, NotFound
from signet.landmarks import FRAME_RATE, Landmarks, to_model_input
from signet.store import ObjectStore

SCHEMA = "signet.dataset/1"


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
    # Those of them that stand on both sides of a split.
    leaking: tuple[tuple[str, ...], ...] = ()
    # Signers that stand on both sides: WLASL's official split is not signer-independent.
    shared_signers: int = 0


class Manifest(BaseModel):
    """What a snapshot is."""

    model_config = ConfigDict(frozen=True)

    schema_version: str = Field(default=SCHEMA, alias="schema")
    name: str
    version: str
    corpus: str
    # How the clips were extracted; one value, since a changed extractor is never mixed with an old one.
    extractor: str
    frame_rate: float
    # Class c of a model is vocabulary[c - 1]; class 0 is the blank.
    vocabulary: tuple[str, ...]
    clips: tuple[DatasetClip, ...]
    shard_sha256: str
    audit: Audit


@dataclass(frozen=True, eq=False)
class Dataset:
    """A snapshot in memory.

    Attributes:
        manifest: what it is.
        frames: float32 [N, 75, 3]; all clips' model inputs, one after the other; NaN where a part is absent.
    """

    manifest: Manifest
    frames: npt.NDArray[np.float32]

    def clip_frames(self, clip: DatasetClip) -> npt.NDArray[np.float32]:
        """One clip's model input: float32 [T, 75, 3]."""
        return self.frames[clip.start : clip.start + clip.frames]

    def split(self, split: str) -> list[DatasetClip]:
        """The clips of one split, in the manifest's order."""
        return [clip for clip in self.manifest.clips if clip.split == split]

    def label(self, clip: DatasetClip) -> int:
        """The clip's class, 1..C."""
        return self.manifest.vocabulary.index(clip.gloss) + 1


@dataclass(frozen=True)
class SourceClip:
    """A stored clip that is to become part of a snapshot: its landmarks, and the hash of its stored bytes."""

    landmarks: Landmarks
    sha256: str


def build(name: str, sources: Sequence[SourceClip]) -> Dataset:
    """Make a snapshot of these clips, in the order of their ids."""
    ordered = sorted(sources, key=lambda source: source.landmarks.record.clip_id)
    records = {source.landmarks.record.clip_id: source.landmarks.record for source in ordered}
    inputs = {source.landmarks.record.clip_id: to_model_input(source.landmarks) for source in ordered}

    clips, start = [], 0
    for source in ordered:
        record = source.landmarks.record
        frames = len(inputs[record.clip_id])
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
    shard = np.concatenate([inputs[clip.clip_id] for clip in clips])
    vocabulary = tuple(sorted({clip.gloss for clip in clips}))
    content = {
        "schema": SCHEMA,
        "frame_rate": FRAME_RATE,
        "vocabulary": vocabulary,
        "clips": [[clip.clip_id, clip.gloss, clip.split, clip.signer, clip.sha256] for clip in clips],
        "shard": hashlib.sha256(_encode(shard)).hexdigest(),
    }
    version = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    manifest = Manifest(
        name=name,
        version=version,
        corpus=next(iter(records.values())).corpus,
        extractor=next(iter(records.values())).extractor,
        frame_rate=FRAME_RATE,
        vocabulary=vocabulary,
        clips=tuple(clips),
        shard_sha256=str(content["shard"]),
        audit=_audit(clips),
    )
    return Dataset(manifest, shard)


def publish(store: ObjectStore, dataset: Dataset) -> None:
    """Store a snapshot: its frames first, its manifest last. One that is there already is left as it is."""
    name, version = dataset.manifest.name, dataset.manifest.version
    if store.stat(layout.dataset_manifest(name, version)):
        return
    store.put(layout.dataset_shard(name, version), _encode(dataset.frames))
    try:
        store.create(
            layout.dataset_manifest(name, version), dataset.manifest.model_dump_json(by_alias=True, indent=1).encode()
        )
    except AlreadyExists:
        return  # another run made the very same snapshot meanwhile


def load(store: ObjectStore, name: str, version: str) -> Dataset:
    """Read a snapshot back.

    Raises:
        NotFound: there is none of this name and version.
        DataLoss: its frames are not those that its manifest names.
    """
    key = layout.dataset_manifest(name, version)
    try:
        manifest = Manifest.model_validate_json(store.get(key))
    except NotFound:
        raise NotFound(f"{store.url}: no dataset {name!r} of version {version!r}. `signet train` makes one.") from None
    except ValidationError as error:
        raise DataLoss(f"{store.url}/{key}: not a dataset manifest ({error.error_count()} faults).") from error
    shard = store.get(layout.dataset_shard(name, version))
    if hashlib.sha256(shard).hexdigest() != manifest.shard_sha256:
        raise DataLoss(f"{store.url}: the frames of dataset {name}/{version} are damaged. Delete it and train again.")
    try:
        return Dataset(manifest, load_safetensors(shard)["frames"])
    except (SafetensorError, KeyError) as error:
        raise DataLoss(f"{store.url}: the frames of dataset {name}/{version} cannot be read ({error}).") from error


def _encode(frames: npt.NDArray[np.float32]) -> bytes:
    return save_safetensors({"frames": np.ascontiguousarray(frames)})


def _audit(clips: Sequence[DatasetClip]) -> Audit:
    by_source: dict[str, list[DatasetClip]] = {}
    for clip in clips:
        by_source.setdefault(clip.source_sha256 or clip.sha256, []).append(clip)
    twins = [group for group in by_source.values() if len(group) > 1]
    signers = {split: {clip.signer for clip in clips if clip.split == split} for split in ("train", "val", "test")}
    return Audit(
        identical=tuple(tuple(clip.clip_id for clip in group) for group in twins),
        leaking=tuple(
            tuple(clip.clip_id for clip in group) for group in twins if len({clip.split for clip in group}) > 1
        ),
        shared_signers=len(signers["train"] & (signers["val"] | signers["test"])),
    )
