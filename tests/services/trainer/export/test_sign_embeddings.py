"""What a published model keeps of its training clips: their embeddings by the exported graph, sign by sign."""

from collections import Counter

import numpy as np
import torch

from services.trainer.config.train_config import TrainConfig
from services.trainer.export.onnx import new_session, to_onnx
from services.trainer.export.sign_embeddings import make_sign_embeddings
from services.trainer.model.build import new_model
from signet.datasets.snapshot import TRAIN, Dataset
from signet.sign_embeddings import MAX_VECTORS, clip_vector, dump_embeddings, load_embeddings


def test_each_sign_of_the_training_has_the_vectors_of_its_clips(small_dataset: Dataset) -> None:
    vocabulary = small_dataset.manifest.vocabulary
    torch.manual_seed(0)
    model = new_model(TrainConfig(hidden_dim=6, branches=2), len(vocabulary)).eval()
    graph = to_onnx(model)
    kept = make_sign_embeddings(model, graph, small_dataset)
    assert kept is not None
    assert kept.directions.shape == (len(vocabulary), 2, 12)
    assert kept.logit_scale == 12.0
    clips = Counter(clip.gloss for clip in small_dataset.split(TRAIN))
    found = Counter(vocabulary[sign] for sign in kept.signs)
    assert found == {gloss: min(count, MAX_VECTORS) for gloss, count in clips.items()}
    first = min(small_dataset.split(TRAIN), key=lambda clip: clip.clip_id)
    frames = small_dataset.clip_frames(first)
    outputs = new_session(graph).run(
        ["log_probs", "embeddings"], {"landmarks": frames[None], "lengths": np.array([len(frames)])}
    )
    vector = clip_vector(outputs[0][0], outputs[1][0], 2)
    assert np.abs(kept.vectors[kept.signs == vocabulary.index(first.gloss)] - vector).max(axis=(1, 2)).min() < 1e-6
    assert load_embeddings(dump_embeddings(kept), "m/1", len(vocabulary)).trained == len(vocabulary)


def test_a_linear_head_has_no_embeddings(small_dataset: Dataset) -> None:
    config = TrainConfig(hidden_dim=6, branches=2, head="linear")
    model = new_model(config, len(small_dataset.manifest.vocabulary)).eval()
    assert make_sign_embeddings(model, to_onnx(model), small_dataset) is None
