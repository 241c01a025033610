"""The embeddings of training clips that a published model keeps, so that signs can be added to it without training."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from services.trainer.export.onnx import new_session
from services.trainer.model.heads import LOGIT_SCALE
from services.trainer.model.sign_model import SignModel
from signet.datasets.snapshot import TRAIN, Dataset, DatasetClip
from signet.sign_embeddings import MAX_VECTORS, SignEmbeddings, clip_vector


def make_sign_embeddings(model: SignModel, graph: bytes, dataset: Dataset) -> SignEmbeddings | None:
    """Run the exported graph on at most `MAX_VECTORS` training clips of each gloss, those with the first ids.

    Returns:
        None if the model has a linear head: it compares frames with no directions.
    """
    found = model.directions()
    if found is None:
        return None
    directions = found.detach().cpu().numpy().astype(np.float32)
    places = {gloss: place for place, gloss in enumerate(dataset.manifest.vocabulary)}
    clips = [clip for clip in _choose_clips(dataset.split(TRAIN)) if clip.gloss in places]
    session = new_session(graph)
    vectors = []
    for clip in clips:
        frames = dataset.clip_frames(clip)
        inputs = {"landmarks": frames[None], "lengths": np.array([len(frames)])}
        log_probs, embeddings = session.run(["log_probs", "embeddings"], inputs)
        vectors.append(clip_vector(log_probs[0], embeddings[0], directions.shape[1]))
    signs = np.array([places[clip.gloss] for clip in clips], np.int64)
    return SignEmbeddings(directions, np.array(vectors, np.float32), signs, LOGIT_SCALE)


def _choose_clips(clips: Sequence[DatasetClip]) -> list[DatasetClip]:
    by_gloss: dict[str, list[DatasetClip]] = defaultdict(list)
    for clip in sorted(clips, key=lambda clip: clip.clip_id):
        by_gloss[clip.gloss].append(clip)
    return [clip for chosen in by_gloss.values() for clip in chosen[:MAX_VECTORS]]
