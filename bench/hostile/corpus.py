"""A small corpus and the model that is attacked: synthetic landmarks, a really trained model, and short clips."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import av
import numpy as np

from bench.hostile.videos import encode
from services.extractor.sources.wlasl import read_wlasl
from signet.landmarks import JOINTS, LEFT_HAND, POSE_JOINTS, RIGHT_HAND, ClipRecord, Landmarks, dump
from signet.store import DirectoryStore, keys

CORPUS = "attacked"
GLOSSES = ("book", "drink", "who")
MODEL = "signet"
# The number of clips in the small folder of WLASL: the shortest of so many small files.
CLIPS = 3
_CANDIDATES = 60
_CLIPS_PER_GLOSS = 8
_TRAIN_SECONDS = 300


def moving_clip(clip_id: str, gloss: str, split: str, seed: int, frames: int = 26) -> Landmarks:
    """A body whose right hand moves as its gloss says, a little differently for each seed. 25 frames a second."""
    random = np.random.default_rng(seed)
    u = np.linspace(0, 1, frames)
    joints = np.zeros((frames, JOINTS, 3))
    joints[:, 11, :2], joints[:, 12, :2] = (0.75, 0.5), (0.5, 0.5)
    joints[:, 0, :2], joints[:, 13:15, :2], joints[:, 15:17, :2] = (0.625, 0.3), (0.6, 0.7), (0.6, 0.8)
    path = {"book": (np.cos(6 * u), np.sin(6 * u)), "drink": (u, -2 * u), "who": (-u, np.abs(u - 0.5))}[gloss]
    palm = random.normal(size=(21, 3)) * 0.008 + np.linspace(0, 0.08, 21)[:, None]
    joints[:, RIGHT_HAND] = palm + 0.5
    joints[:, RIGHT_HAND, :2] += 0.2 * np.stack(path, -1)[:, None] + random.uniform(-0.06, 0.06, 2)
    joints += random.normal(size=joints.shape) * 0.002
    joints[:, LEFT_HAND] = np.nan
    record = ClipRecord(
        clip_id=clip_id, corpus=CORPUS, gloss=gloss, split=split, signer=str(seed % 4), fps=25, width=640, height=480,
        source_sha256=f"{seed:064x}", frame_end=frames, extractor="bench",
    )  # fmt: skip
    return Landmarks(
        joints.astype(np.float16),
        np.tile(np.array([1, 0, 1], np.uint8), (frames, 1)),
        np.ones((frames, POSE_JOINTS), np.float16),
        (np.arange(frames) / 25).astype(np.float32),
        record,
    )


def store_clips(store: DirectoryStore) -> None:
    """Store the synthetic corpus: six training and two val clips of each gloss."""
    for number, gloss in enumerate(GLOSSES):
        for index in range(_CLIPS_PER_GLOSS):
            split = "train" if index < _CLIPS_PER_GLOSS - 2 else "val"
            clip = moving_clip(f"{gloss}-{index}", gloss, split, 100 * number + index)
            store.create(keys.clip(CORPUS, clip.record.clip_id), dump(clip))


def train_tiny_model(store: DirectoryStore, epochs: int = 3) -> None:
    """Train a model on the synthetic corpus with `signet train`, and publish it."""
    command = [sys.executable, "-m", "services.cli", "train", "--preset", "tiny", "--store", store.url]
    command += ["--corpus", CORPUS, "--device", "cpu", "--num-epochs", str(epochs), "--train-past-target"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TRAIN_SECONDS, check=False)
    if done.returncode:
        raise SystemExit(f"the model that is to be attacked could not be trained:\n{done.stdout}{done.stderr}")


def _frames(path: Path) -> int:
    """The number of frames of a video; 0 if it is none."""
    try:
        with av.open(str(path)) as file:
            return int(file.streams.video[0].frames)
    except (av.FFmpegError, IndexError):
        return 0


def make_wlasl(folder: Path, wlasl: Path | None) -> list[Path]:
    """Make a folder as WLASL's, with its smallest real clips, or with synthetic clips if there is no WLASL.

    Returns:
        The clips, the smallest first.
    """
    (folder / "clips").mkdir(parents=True)
    entries = []
    if wlasl is None:
        for number in range(CLIPS):
            (folder / f"clips/{number:05}.mp4").write_bytes(encode("a.mp4", frames=20 + number))
            entries.append((GLOSSES[number % len(GLOSSES)], f"{number:05}"))
    else:
        corpus = read_wlasl(wlasl)
        paths = [(clip, corpus.path(clip)) for clip in corpus.instances if clip.is_whole and corpus.has(clip)]
        small = sorted(paths, key=lambda item: (item[1].stat().st_size, item[0].clip_id))[:_CANDIDATES]
        short = sorted((frames, clip.clip_id, clip, path) for clip, path in small if (frames := _frames(path)))
        for _, _, clip, path in short[:CLIPS]:
            shutil.copyfile(path, folder / f"clips/{clip.clip_id}.mp4")
            entries.append((clip.gloss, clip.clip_id))
    instance = {"split": "train", "signer_id": 0, "frame_start": 1, "frame_end": -1, "bbox": [0, 0, 1, 1]}
    metadata = [{"gloss": gloss, "instances": [{**instance, "video_id": video_id}]} for gloss, video_id in entries]
    (folder / "WLASL_v0.3.json").write_text(json.dumps(metadata))
    return [folder / f"clips/{video_id}.mp4" for _, video_id in entries]
