"""How the trained signs are recognised before and after an enrolment."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.evaluator.serving.loaded_model import LoadedModel
from signet.datasets.snapshot import VAL, load_snapshot
from signet.decoding import BLANK, best_path, penalise_blank, single_sign_scores
from signet.errors import DataLoss, NotFound
from signet.registry import Metrics, ModelCard
from signet.sign_embeddings import SignEmbeddings
from signet.store import ObjectStore

ON_VAL = "val"
ON_EMBEDDINGS = "embeddings"

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class TrainedFigures:
    """The clips of trained signs that are recognised among all signs."""

    measured_on: (
        str  # `ON_VAL`: the val clips of the model's snapshot; `ON_EMBEDDINGS`: the kept vectors of training clips
    )
    clips: int
    before: int  # clips that the parent recognises
    after: int  # clips that the new version recognises
    metrics: Metrics | None  # for the card of the new version; None if there were no val clips


def measure_trained_signs(
    store: ObjectStore,
    card: ModelCard,
    models: tuple[LoadedModel, LoadedModel],
    kept: SignEmbeddings,
    directions: tuple[Floats, Floats],
) -> TrainedFigures:
    """Measure on the val clips of the snapshot. Without them, measure on the kept vectors, which is optimistic.

    Args:
        store: may have the snapshot.
        card: of the parent.
        models: the parent and the new version.
        kept: the embeddings of the new version.
        directions: float32 [C, N, D] of the parent and of the new version.
    """
    try:
        snapshot = load_snapshot(store, card.dataset_name, card.dataset_version)
    except (NotFound, DataLoss):
        return _measure_on_vectors(kept, directions)
    places = {gloss: place for place, gloss in enumerate(card.vocabulary[: kept.trained])}
    clips = [clip for clip in snapshot.split(VAL) if clip.gloss in places]
    if not clips:
        return _measure_on_vectors(kept, directions)
    inputs = [snapshot.clip_frames(clip) for clip in clips]
    classes = [places[clip.gloss] + 1 for clip in clips]
    # Not `decode_all`: its beam search takes ten times as long as the rest.
    before, after = (
        [penalise_blank(answer, card.blank_penalty) for answer in model.log_probs(inputs)] for model in models
    )
    correct = _count_correct(after, classes)
    blanks = sum(int((answer.argmax(axis=-1) == BLANK).sum()) for answer in after)
    return TrainedFigures(
        measured_on=ON_VAL,
        clips=len(clips),
        before=_count_correct(before, classes),
        after=correct,
        metrics=Metrics(
            val_clips=len(clips),
            val_correct=correct,
            val_greedy_correct=sum(best_path(answer) == [c] for answer, c in zip(after, classes, strict=True)),
            blank_ratio=blanks / sum(map(len, after)),
            epoch=card.metrics.epoch,
        ),
    )


def _count_correct(answers: Sequence[npt.NDArray[np.float64]], classes: Sequence[int]) -> int:
    """The clips whose most probable single sign is the right one. Each answer is log-probabilities [T, C + 1]."""
    found = [int(single_sign_scores(answer).argmax()) + 1 for answer in answers]
    return sum(one == c for one, c in zip(found, classes, strict=True))


def _measure_on_vectors(kept: SignEmbeddings, directions: tuple[Floats, Floats]) -> TrainedFigures:
    trained = kept.signs < kept.trained
    vectors, signs = kept.vectors[trained].reshape(int(trained.sum()), -1), kept.signs[trained]
    before, after = (
        int(((vectors @ known.reshape(len(known), -1).T).argmax(axis=1) == signs).sum()) for known in directions
    )
    return TrainedFigures(ON_EMBEDDINGS, len(vectors), before, after, None)
