"""What a model says of one clip, frame by frame, as the pages show it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from services.trainer.model.recogniser import Recogniser
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
class Reading:
    """One clip as a model reads it.

    Attributes:
        clip_id: the clip.
        vocabulary: class c is vocabulary[c - 1].
        truth: its gloss's class, 1..C; None where it has none, or one that the model does not know.
        log_probs: float64 [T, C + 1], the blank's penalty taken off.
        present: bool [T, 3]: pose, left hand, right hand, as the model is given them: short gaps are filled.
        continuous: what the model's continuous decoder reads.
    """

    clip_id: str
    vocabulary: tuple[str, ...]
    truth: int | None
    log_probs: npt.NDArray[np.float64]
    present: npt.NDArray[np.bool_]
    continuous: tuple[int, ...]

    @property
    def frames(self) -> int:
        """T."""
        return len(self.log_probs)

    @property
    def posterior(self) -> npt.NDArray[np.float64]:
        """p(c | clip, exactly one sign), float64 [C]."""
        return single_sign_posterior(self.log_probs)

    @property
    def guesses(self) -> list[tuple[str, float]]:
        """Every gloss with that probability, the likeliest first."""
        posterior = self.posterior
        return [(self.vocabulary[c], float(posterior[c])) for c in np.argsort(-posterior, kind="stable")]

    @property
    def greedy(self) -> tuple[int, ...]:
        """The classes of the best path."""
        return tuple(best_path(self.log_probs))

    @property
    def aligned(self) -> int:
        """The class that is aligned: the truth, or the likeliest where that is not known."""
        return self.truth if self.truth is not None else int(self.posterior.argmax()) + 1

    @property
    def alignment(self) -> Alignment:
        """When it is signed, were it the one sign of the clip: the most probable path."""
        return align(self.log_probs, [self.aligned])

    @property
    def occupation(self) -> npt.NDArray[np.float64]:
        """How probable it is that each frame belongs to it, over all paths: float64 [T]."""
        return occupation(self.log_probs, [self.aligned])[:, 0]

    def named(self, signs: Sequence[int]) -> str:
        """Signs as people read them; "nothing" for none."""
        return " · ".join(self.vocabulary[c - 1] for c in signs) or "nothing"


@torch.no_grad()
def read(
    model: Recogniser,
    decoder: ContinuousDecoder,
    vocabulary: tuple[str, ...],
    clip_id: str,
    frames: Frames,
    gloss: str,
) -> Reading:
    """Read one clip.

    Args:
        model: in evaluation mode, on the CPU.
        decoder: the model's own; its blank penalty holds for everything here.
        vocabulary: the model's.
        clip_id: how the clip is called.
        frames: its model input, float32 [T, 75, 3].
        gloss: its true gloss; "" if nobody knows.
    """
    heard = model(torch.from_numpy(np.array(frames))[None], torch.tensor([len(frames)]))[0].numpy()
    (continuous,) = decoder.decode(heard[None])
    return Reading(
        clip_id=clip_id,
        vocabulary=vocabulary,
        truth=vocabulary.index(gloss) + 1 if gloss in vocabulary else None,
        log_probs=penalise_blank(heard, decoder.blank_penalty),
        present=presence(frames),
        continuous=continuous,
    )


def presence(frames: Frames) -> npt.NDArray[np.bool_]:
    """Which parts there are in each frame of a model input [T, 75, 3]: bool [T, 3]: pose, left hand, right hand."""
    first_joints = frames[:, [POSE.start, LEFT_HAND.start, RIGHT_HAND.start], 0]
    return np.asarray(~np.isnan(first_joints))


def seconds(frame: float) -> float:
    """When a frame of a model input begins, from the clip's first one."""
    return frame / FRAME_RATE
