"""The output of a model for one clip."""

import numpy as np
import pytest
import torch

from services.trainer.config.train_config import TrainConfig
from services.trainer.inspection.posteriors import FramePosteriors, compute_posteriors, frame_seconds, part_presence
from services.trainer.model.build import new_model
from signet.decoding import ContinuousDecoder, penalise_blank
from signet.landmarks import LEFT_HAND, POSE, RIGHT_HAND, to_model_input
from tests.services.trainer.conftest import moving_clip

VOCABULARY = ("book", "drink", "who")
FRAMES = to_model_input(moving_clip("c1", "who", "val", 3))


def compute(gloss: str, blank_penalty: float = 1.0) -> FramePosteriors:
    torch.manual_seed(0)
    model = new_model(TrainConfig(hidden_dim=4), 3).eval()
    return compute_posteriors(model, ContinuousDecoder(blank_penalty=blank_penalty), VOCABULARY, "c1", FRAMES, gloss)


def test_the_blank_penalty_is_subtracted_once() -> None:
    plain, penalised = compute("who", 0.0), compute("who", 2.0)
    assert plain.log_probs.shape == (len(FRAMES), 4)
    np.testing.assert_allclose(np.exp(plain.log_probs).sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(penalised.log_probs, penalise_blank(plain.log_probs, 2.0), atol=1e-5)


@pytest.mark.parametrize(("gloss", "truth"), [("book", 1), ("who", 3), ("unknown", None), ("", None)])
def test_the_truth_is_the_class_of_the_gloss(gloss: str, truth: int | None) -> None:
    posteriors = compute(gloss)
    assert posteriors.truth == truth
    likeliest = int(posteriors.posterior.argmax()) + 1
    assert posteriors.aligned == (truth or likeliest)


def test_glosses_are_ranked_by_their_posterior() -> None:
    posteriors = compute("who")
    glosses, probabilities = zip(*posteriors.ranking, strict=True)
    assert set(glosses) == set(VOCABULARY)
    assert list(probabilities) == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1)
    assert dict(posteriors.ranking)["drink"] == posteriors.posterior[1]


def test_classes_are_written_as_glosses() -> None:
    assert compute("who").format_glosses((1, 3, 1)) == "book · who · book"
    assert compute("who").format_glosses(()) == "nothing"


def test_presence_is_that_of_pose_left_and_right_hand() -> None:
    frames = np.zeros((4, 75, 3), np.float32)
    for frame, part in enumerate((POSE, LEFT_HAND, RIGHT_HAND)):
        frames[frame, part] = np.nan
    assert part_presence(frames).tolist() == [
        [False, True, True],
        [True, False, True],
        [True, True, False],
        [True, True, True],
    ]


def test_a_model_sees_ten_frames_a_second() -> None:
    assert frame_seconds(15) == 1.5
