"""A small corpus whose glosses really differ, for training in seconds: each gloss is its own movement of the hands."""

from collections.abc import Callable

import numpy as np
import pytest

from services.trainer.runtime.threads import DEFAULT_THREADS, use_threads
from signet.datasets.snapshot import Dataset, assemble_snapshot, sample_clip
from signet.landmarks import JOINTS, LEFT_HAND, POSE_JOINTS, RIGHT_HAND, ClipRecord, Landmarks, dump
from signet.store import ObjectStore, keys

GLOSSES = ("book", "drink", "who")
FPS = 25.0


def moving_clip(clip_id: str, gloss: str, split: str, seed: int, **record: object) -> Landmarks:
    """About a second of a body whose right hand goes its gloss's way, a little differently for every seed."""
    random = np.random.default_rng(seed)
    frames = int(random.integers(22, 34))
    u = np.linspace(0, 1, frames)
    joints = np.zeros((frames, JOINTS, 3))
    joints[:, 11, :2], joints[:, 12, :2] = (0.75, 0.5), (0.5, 0.5)
    joints[:, 0, :2], joints[:, 13:15, :2], joints[:, 15:17, :2] = (0.625, 0.3), (0.6, 0.7), (0.6, 0.8)
    way = {"book": (np.cos(6 * u), np.sin(6 * u)), "drink": (u, -2 * u), "who": (-u, np.abs(u - 0.5))}[gloss]
    # Each clip has its own hand shape and place: clips that agree to a finger's breadth would be duplicates.
    place = np.random.default_rng([seed, 1]).uniform(-0.06, 0.06, 2)
    palm = random.normal(size=(21, 3)) * 0.008 + np.linspace(0, 0.08, 21)[:, None]
    for where, shift in ((LEFT_HAND, 0.2), (RIGHT_HAND, 0.0)):
        joints[:, where] = palm + 0.5
        joints[:, where, 0] += 0.2 * way[0][:, None] + shift + place[0]
        joints[:, where, 1] += 0.2 * way[1][:, None] + place[1]
    joints += random.normal(size=joints.shape) * 0.002
    presence = np.ones((frames, 3), np.uint8)
    presence[:, 1] = 0
    joints[:, LEFT_HAND] = np.nan
    known = {"corpus": "wlasl", "signer": str(seed % 4), "source_sha256": f"{seed:064x}", "extractor": "test", **record}
    return Landmarks(
        landmarks=joints.astype(np.float16),
        presence=presence,
        visibility=np.ones((frames, POSE_JOINTS), np.float16),
        timestamps=(np.arange(frames) / FPS).astype(np.float32),
        record=ClipRecord.model_validate(
            {
                "clip_id": clip_id, "gloss": gloss, "split": split, "fps": FPS, "width": 640, "height": 480,
                "frame_end": frames, **known,
            }
        ),
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """As the trainer itself."""
    use_threads(DEFAULT_THREADS)


@pytest.fixture
def clips() -> list[Landmarks]:
    """Six training and two val clips of each gloss."""
    return [
        moving_clip(f"{gloss}-{index}", gloss, "train" if index < 6 else "val", 10 * number + index)
        for number, gloss in enumerate(GLOSSES)
        for index in range(8)
    ]


@pytest.fixture
def small_dataset(clips: list[Landmarks]) -> Dataset:
    """The clips as a snapshot."""
    return assemble_snapshot("wlasl", [sample_clip(clip, clip.record.source_sha256) for clip in clips])


Fill = Callable[[ObjectStore], ObjectStore]


@pytest.fixture
def fill(clips: list[Landmarks]) -> Fill:
    """Puts the clips into a store, as the extractor does."""

    def put(store: ObjectStore) -> ObjectStore:
        for clip in clips:
            store.create(keys.clip("wlasl", clip.record.clip_id), dump(clip))
        return store

    return put
