"""A small corpus whose snapshot is stored, and what is stored of it: any change of the result needs a new version.

`python -m tests.signet.datasets.golden_corpus` writes the golden files of the current versions.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from services.trainer.data import snapshot as selected_clips
from signet.datasets import snapshot as dataset_snapshot
from signet.datasets.snapshot import Dataset, assemble_snapshot, sample_clip
from signet.landmarks import JOINTS, LEFT_HAND, PARTS, POSE_JOINTS, RIGHT_HAND, ClipRecord, Landmarks, dump
from signet.store import ObjectStore, keys

GOLDEN = Path(__file__).parent / "golden"

# Frame heights of noise that a second encoding of a recording has. The limit between duplicates and other takes, with
# hands that move, lies between the third and the fourth of them; with hands that are held still, it does so too.
MOVING_NOISE = (0.0, 0.02, 0.035, 0.037, 0.045, 0.08)
STILL_NOISE = (0.0, 0.005, 0.011, 0.0135, 0.018, 0.03)


def _scattered(count: int, seed: int) -> npt.NDArray[np.float64]:
    """Numbers in [-0.5, 0.5) that look random, and are the same on each machine."""
    return np.asarray((np.sin((np.arange(count) + 1) * 12.9898 + seed * 78.233) * 43758.5453) % 1 - 0.5)


def golden_clip(
    clip_id: str,
    gloss: str,
    split: str,
    recording: int,
    *,
    noise: float = 0.0,
    still: bool = False,
    start: float = 0.0,
    fps: float = 25.0,
    source: str = "",
    signer: str = "",
) -> Landmarks:
    """2 s of a recording from `start` on, with gaps of several lengths; `noise` is what this encoding of it adds."""
    times = np.arange(round(2 * fps)) / fps
    moments = start + times
    rate, phase = 0.4 + 0.3 * _scattered(8, recording).reshape(4, 2), 6 * _scattered(8, recording + 50).reshape(4, 2)
    joints = np.zeros((len(times), JOINTS, 3))
    joints[:, :POSE_JOINTS, :2] = (0.8, 0.5) + 0.3 * _scattered(2 * POSE_JOINTS, recording).reshape(-1, 2)
    joints[:, 11, :2], joints[:, 12, :2] = (0.98, 0.5), (0.62, 0.5)
    for side, (hand, elbow, wrist) in enumerate(((LEFT_HAND, 13, 15), (RIGHT_HAND, 14, 16))):
        angle = 2 * np.pi * moments[:, None, None] * rate[2 * side : 2 * side + 2] + phase[2 * side : 2 * side + 2]
        path = (0.01 if still else 0.12) * np.sin(angle).sum(axis=1) + joints[0, wrist, :2]
        shape = 0.08 * _scattered(63, recording + 7 * side).reshape(21, 3)
        joints[:, hand] = shape - shape[0]
        joints[:, hand, :2] += path[:, None]
        joints[:, wrist, :2], joints[:, elbow, :2] = path, (path + joints[0, elbow - 2, :2]) / 2
    joints += 2 * noise * _scattered(joints.size, len(clip_id) + sum(map(ord, clip_id))).reshape(joints.shape)
    presence = np.ones((len(times), len(PARTS)), np.uint8)
    # Gaps that are filled (0.2 s), and that are not (0.6 s).
    presence[(times > 0.5) & (times < 0.7), 1] = 0
    presence[(times > 1.2) & (times < 1.8), 2] = 0
    for index, where in enumerate(PARTS.values()):
        joints[presence[:, index] == 0, where] = np.nan
    visibility = np.ones((len(times), POSE_JOINTS), np.float16)
    record = ClipRecord(
        clip_id=clip_id, corpus="golden", gloss=gloss, split=split, signer=signer or f"signer-{recording % 5}",
        fps=fps, width=640, height=480, frame_end=len(times), extractor="golden",
        source_sha256=source or hashlib.sha256(clip_id.encode()).hexdigest(),
    )  # fmt: skip
    return Landmarks(joints.astype(np.float16), presence, visibility, times.astype(np.float32), record)


def golden_clips() -> list[Landmarks]:
    """Glosses with as many clips, duplicates of each kind, leaks, and a gloss that only duplicates could teach."""
    clips = [
        golden_clip(f"{gloss}-{index}", gloss, "val" if index > 3 else "train", 10 * number + index)
        for number, gloss in enumerate(("book", "chair", "drink"), 1)
        for index in range(6 if gloss == "drink" else 5)
    ]
    for kind, levels in (("moving", MOVING_NOISE), ("still", STILL_NOISE)):
        for index, noise in enumerate(levels):
            recording, still = 50 + 10 * (kind == "still") + index, kind == "still"
            clips.append(golden_clip(f"{kind}-{index}-a", kind, "val", recording, still=still))
            clips.append(golden_clip(f"{kind}-{index}-b", kind, "train", recording, noise=noise, still=still))
    same = hashlib.sha256(b"one video").hexdigest()
    return [
        *clips,
        # One recording three times: twice in one file, and once as another file of another frame rate.
        golden_clip("group-a", "book", "train", 80, source=same),
        golden_clip("group-b", "chair", "train", 80, source=same),
        golden_clip("group-c", "drink", "train", 80, fps=30.0),
        # Parts of one recording that have 65 % and 50 % in common.
        golden_clip("part-0", "book", "train", 81),
        golden_clip("part-1", "book", "train", 81, start=0.7),
        golden_clip("part-2", "book", "train", 81, start=-1.0),
        # The only training clip of its gloss shows a held-out recording.
        golden_clip("leak-a", "book", "val", 90),
        golden_clip("leak-b", "leaked", "train", 90, noise=0.001),
        golden_clip("no-gloss", "", "train", 91),
        golden_clip("untaught", "untaught", "val", 92),
    ]


def describe(made: Dataset) -> dict[str, object]:
    """A snapshot's manifest without hashes of floats, which differ between processors, and figures of its frames."""
    manifest = made.manifest.model_dump(mode="json", by_alias=True, exclude={"version", "shard_sha256"})
    for clip in manifest["clips"]:
        del clip["sha256"]
    figures = []
    for clip in made.manifest.clips:
        instants = made.clip_samples(clip)
        weights = _scattered(instants.size, 1).reshape(instants.shape)
        figures.append([int(np.isnan(instants).sum()), round(float((np.nan_to_num(instants) * weights).sum()), 6)])
    return {"manifest": manifest, "frames": figures}


def describe_assembly() -> dict[str, object]:
    """What `assemble_snapshot` makes of the whole corpus, with a known duplicate that is not in it."""
    sampled = [sample_clip(clip, clip.record.source_sha256) for clip in golden_clips() if clip.record.gloss]
    return describe(assemble_snapshot("golden", sampled, [("elsewhere", "group-a", "nowhere")]))


CHOICES = ((0, 0), (2, 0), (3, 2))


def describe_selections(store: ObjectStore) -> dict[str, object]:
    """Which clips `signet train` selects of the corpus under some limits, and the duplicates that it left out."""
    for clip in golden_clips():
        store.put(keys.clip("golden", clip.record.clip_id), dump(clip))
    found: dict[str, object] = {}
    for glosses, samples in CHOICES:
        manifest = selected_clips.load_or_create_snapshot(store, "golden", glosses, samples).manifest
        clips = [f"{clip.clip_id} {clip.gloss} {clip.split}" for clip in manifest.clips]
        found[f"{glosses} glosses, {samples} samples"] = {"clips": clips, "outside": manifest.audit.outside}
    parsed: dict[str, object] = json.loads(json.dumps(found))
    return parsed


def assembly_file() -> Path:
    """The golden file of the current `ASSEMBLY_VERSION`."""
    return GOLDEN / f"assembly-{dataset_snapshot.ASSEMBLY_VERSION}.json"


def selection_file() -> Path:
    """The golden file of the current `SELECTION_VERSION`."""
    return GOLDEN / f"selection-{selected_clips.SELECTION_VERSION}.json"


if __name__ == "__main__":
    import tempfile

    from signet.store import DirectoryStore

    GOLDEN.mkdir(exist_ok=True)
    assembly_file().write_text(json.dumps(describe_assembly(), indent=1) + "\n")
    with tempfile.TemporaryDirectory() as folder:
        selection_file().write_text(
            json.dumps(describe_selections(DirectoryStore(Path(folder) / "store")), indent=1) + "\n"
        )
