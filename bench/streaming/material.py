"""The models of a cross-validation, and signing of another language."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from services.extractor.importing.pose_format.reader import read_pose_file
from services.trainer.config.train_config import TrainConfig
from services.trainer.data.members import plan_members
from services.trainer.export.onnx import to_onnx
from services.trainer.model.build import restore_model
from signet.datasets.snapshot import read_snapshot_manifest
from signet.errors import NotFound
from signet.landmarks import Landmarks, load
from signet.landmarks.body import Frames
from signet.statistics.vocabulary_score import find_rejection
from signet.store import ObjectStore, keys
from signet.streaming import RecognitionModel
from signet.streaming.evaluation.sequences import TimedFrame


class ExportedModel:
    """An exported model on one core."""

    def __init__(self, graph: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._takes_dominance = graph_takes_dominance(self._session)

    def __call__(self, windows: Sequence[Frames], dominance: Sequence[float]) -> list[npt.NDArray[np.float32]]:
        """Log-probabilities [T, C + 1] of each window."""
        longest = max(map(len, windows))
        landmarks = np.full((len(windows), longest, 75, 3), np.nan, np.float32)
        for row, window in zip(landmarks, windows, strict=True):
            row[: len(window)] = window
        inputs = {"landmarks": landmarks, "lengths": np.array([len(window) for window in windows])}
        if self._takes_dominance:
            inputs["dominance"] = np.array(dominance, np.float32)
        (answers,) = self._session.run(["log_probs"], inputs)
        return [answer[: len(window)] for answer, window in zip(answers, windows, strict=True)]


def graph_takes_dominance(session: onnxruntime.InferenceSession) -> bool:
    """Whether a graph has the optional input `dominance`."""
    names = [given.name for given in (*session.get_inputs(), *session.get_overridable_initializers())]
    return "dominance" in names


@dataclass(frozen=True, eq=False)
class FoldModel:
    """One model of a cross-validation."""

    fold: int
    seed: int
    model: RecognitionModel
    graph: ExportedModel
    clips: tuple[Landmarks, ...]  # by signers that it was not trained on


def read_fold_models(store: ObjectStore, run_id: str, threshold: float | None = None) -> Iterator[FoldModel]:
    """The finished models of a run of `signet train --folds`, seed by seed.

    Raises:
        NotFound: the run has no finished model.
    """
    config = TrainConfig.stored(json.loads(store.get(keys.run(run_id, "config.json"))))
    progress = json.loads(store.get(keys.run(run_id, "progress.json")))
    manifest = read_snapshot_manifest(store, progress["dataset_name"], progress["dataset_version"])
    done = {(member["fold"], member["seed"]) for member in progress["members"] if member["done"]}
    clips = [load(store.get(info.key), info.key) for info in store.list(keys.clips(manifest.corpus))]
    by_id = {clip.record.clip_id: clip for clip in clips}
    members = plan_members(manifest, config)
    complete = {
        seed for seed in {member.seed for member in members} if all(m.key in done for m in members if m.seed == seed)
    }
    if not complete:
        raise NotFound(f"run {run_id}: no seed has all its folds. Continue it with `signet train --resume {run_id}`.")
    vocabulary = tuple(manifest.vocabulary)
    rejection = find_rejection(len(vocabulary), config.recombination > 0)
    score = None if rejection is None else rejection.score
    model = RecognitionModel(vocabulary, config.decoder, score, threshold)
    for member in members:
        if member.seed in complete:
            data = store.get(keys.run(run_id, f"members/{member.fold}-{member.seed}/weights.safetensors"))
            graph = ExportedModel(to_onnx(restore_model(config, len(vocabulary), data, f"run {run_id}")))
            yield FoldModel(member.fold, member.seed, model, graph, tuple(by_id[c.clip_id] for c in member.held_out))


def read_pose_files(folder: Path) -> list[list[TimedFrame]]:
    """The frames of all `.pose` files of a folder, with their times.

    Raises:
        NotFound: the folder has no such file.
    """
    streams = []
    for path in sorted(folder.glob("*.pose")):
        raw, _ = read_pose_file(path)
        joints = np.concatenate([raw.pose, raw.hands.reshape(raw.frames, -1, 3)], axis=1)
        aspect = raw.size.aspect if raw.size else 1.0
        joints = joints * np.array([aspect, 1.0, aspect], np.float32)
        times = raw.numbers / (raw.fps or 25.0)
        streams.append([(float(time), frame) for time, frame in zip(times, joints, strict=True)])
    if not streams:
        raise NotFound(f"{folder}: has no .pose file. Name a folder of continuous signing.")
    return streams
