"""The accuracy of a training on real clips: 20 glosses of WLASL, from landmarks to figures on val."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from services.trainer.config.train_config import TrainConfig
from services.trainer.data.snapshot import load_or_create_snapshot
from services.trainer.training.loop import Training
from signet.landmarks import JOINTS, ClipRecord, Landmarks, dump
from signet.store import DirectoryStore, keys

pytestmark = pytest.mark.clips


def real_clips(wlasl: Path) -> list[Landmarks]:
    """The landmarks of stock MediaPipe Holistic of all clips, in the units of Signet: frame heights."""
    if not (wlasl / "holistic/index.csv").is_file():
        pytest.skip("no landmarks of real clips here: WLASL has no holistic/index.csv")
    described = {
        instance["video_id"]: (entry["gloss"], instance)
        for entry in json.loads((wlasl / "WLASL_v0.3.json").read_text())
        for instance in entry["instances"]
    }
    frames = np.load(wlasl / "holistic/frames.npz")
    parts = [frames["pose"], frames["left_hand"], frames["right_hand"]]
    clips = []
    with (wlasl / "holistic/index.csv").open() as file:
        for row in csv.DictReader(file):
            gloss, instance = described[row["video_id"]]
            start, count = int(row["start"]), int(row["frames"])
            found = [part[start : start + count] for part in parts]
            joints = np.concatenate([part[..., :3] for part in found], axis=1).astype(np.float32)
            assert joints.shape == (count, JOINTS, 3)
            joints[..., ::2] *= int(row["width"]) / int(row["height"])
            clips.append(
                Landmarks(
                    landmarks=joints.astype(np.float16),
                    presence=np.stack([~np.isnan(part[:, 0, 0]) for part in found], axis=1).astype(np.uint8),
                    visibility=found[0][..., 3],
                    timestamps=(np.arange(count) / float(row["fps"])).astype(np.float32),
                    record=ClipRecord.model_validate(
                        {
                            "clip_id": row["video_id"], "corpus": "wlasl", "gloss": gloss, "split": instance["split"],
                            "signer": str(instance["signer_id"]), "fps": float(row["fps"]), "width": int(row["width"]),
                            "height": int(row["height"]), "frame_end": count, "extractor": "stock",
                            "source_sha256": f"{int(row['video_id']):064x}",
                        }
                    ),
                )
            )  # fmt: skip
    return clips


def test_twenty_glosses_of_real_clips_are_learned(wlasl: Path, tmp_path: Path) -> None:
    """157 training clips, 37 val clips. With 30 epochs, seeds 0 to 3 recognised 32, 33, 31 and 29 of the val clips.

    Chance is 2 clips. The bound is 75 %, 28 clips.
    """
    store = DirectoryStore(tmp_path / "store")
    for clip in real_clips(wlasl):
        store.create(keys.clip("wlasl", clip.record.clip_id), dump(clip))
    dataset = load_or_create_snapshot(store, "wlasl", 20, 0)
    assert len(dataset.split("val")) == 37
    config = TrainConfig(preset="phase1", num_epochs=30, seed=0)
    *_, last = Training(dataset, config, torch.device("cpu")).epochs()
    assert last.val.correct >= 0.75 * last.val.clips
    # Every decoder finds most signs, and the model does not answer with blanks.
    assert last.val.continuous_correct is not None
    assert last.val.continuous_correct >= 0.65 * last.val.clips
    assert last.val.top5 >= 0.9 * last.val.clips
