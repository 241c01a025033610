"""What a model says about one clip, frame by frame."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from services.trainer.model.sign_model import SignModel
from signet.decoding import (
    Alignment,
    ContinuousDecoder,
    align,
    best_path,
    occupation,
    penalise_blank,
    single_sign_posterior,
)
from signet.landmarks import FRAME_RATE, LEFT_HAND, POSE, RIGHT_HAND

Frames = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class FramePosteriors:
    """The output of a model for one clip."""

    clip_id: str
    vocabulary: tuple[str, ...]  # class c is vocabulary[c - 1]
    truth: int | None  # class of the clip's gloss, 1..C; None if it has no gloss, or one that the model does not know
    log_probs: npt.NDArray[np.float64]  # float64 [T, C + 1]; the blank penalty is subtracted
    # bool [T, 3]; pose, left hand, right hand in the model input, in which short gaps are filled.
    present: npt.NDArray[np.bool_]
    continuous: tuple[int, ...]  # classes that the model's continuous decoder finds

    @property
    def frames(self) -> int:
        """T."""
        return len(self.log_probs)

    @property
    def posterior(self) -> npt.NDArray[np.float64]:
        """p(c | clip, exactly one sign), float64 [C]."""
        return single_sign_posterior(self.log_probs)

    @property
    def ranking(self) -> list[tuple[str, float]]:
        """All glosses with their posterior, the most probable first."""
        posterior = self.posterior
        return [(self.vocabulary[c], float(posterior[c])) for c in np.argsort(-posterior, kind="stable")]

    @property
    def greedy(self) -> tuple[int, ...]:
        """Classes on the best path."""
        return tuple(best_path(self.log_probs))

    @property
    def aligned(self) -> int:
        """The class to align: the truth, or the most probable class if the truth is not known."""
        return self.truth if self.truth is not None else int(self.posterior.argmax()) + 1

    @property
    def alignment(self) -> Alignment:
        """The most probable path on which the clip holds the aligned class and nothing else."""
        return align(self.log_probs, [self.aligned])

    @property
    def occupation(self) -> npt.NDArray[np.float64]:
        """The probability, over all such paths, that a frame belongs to the aligned class: float64 [T]."""
        return occupation(self.log_probs, [self.aligned])[:, 0]

    def format_glosses(self, classes: Sequence[int]) -> str:
        """The glosses of some classes for people; "nothing" for none."""
        return " · ".join(self.vocabulary[c - 1] for c in classes) or "nothing"


@torch.no_grad()
def compute_posteriors(
    model: SignModel,
    decoder: ContinuousDecoder,
    vocabulary: tuple[str, ...],
    clip_id: str,
    frames: Frames,
    gloss: str,
) -> FramePosteriors:
    """Run a model on one clip.

    Args:
        model: the model, in evaluation mode on the CPU.
        decoder: the model's decoder; its blank penalty is subtracted.
        vocabulary: the model's vocabulary.
        clip_id: id of the clip.
        frames: the model input, float32 [T, 75, 3].
        gloss: the true gloss; "" if it is not known.
    """
    log_probs = model(torch.from_numpy(np.array(frames))[None], torch.tensor([len(frames)]))[0].numpy()
    (continuous,) = decoder.decode(log_probs[None])
    return FramePosteriors(
        clip_id=clip_id,
        vocabulary=vocabulary,
        truth=vocabulary.index(gloss) + 1 if gloss in vocabulary else None,
        log_probs=penalise_blank(log_probs, decoder.blank_penalty),
        present=part_presence(frames),
        continuous=continuous,
    )


def part_presence(frames: Frames) -> npt.NDArray[np.bool_]:
    """The parts in each frame of a model input [T, 75, 3]: bool [T, 3]; pose, left hand, right hand."""
    first_joints = frames[:, [POSE.start, LEFT_HAND.start, RIGHT_HAND.start], 0]
    return np.asarray(~np.isnan(first_joints))


def frame_seconds(frame: float) -> float:
    """The time of a frame of a model input, in seconds after the first frame."""
    return frame / FRAME_RATE
