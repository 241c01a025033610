"""The result of a model on isolated clips.

A clip is evaluated in three ways. The exact posterior over single signs ranks the glosses (`correct`, `top5`).
The model's `ContinuousDecoder` does not know that there is one sign, and should find exactly that sign
(`continuous_correct`). So should the best path (`greedy_correct`), which is the weakest and cheapest decoder. The
difference between the first figure and the last two measures blank collapse.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from services.trainer.data.batches import Clips
from services.trainer.model.sign_model import SignModel, length_mask
from signet.decoding import BLANK, ContinuousDecoder
from signet.statistics.counts import TOP_K

# The continuous decoder runs in every tenth epoch and in the last. It is a beam search in numpy, and takes 30 ms for 37
# clips of 20 glosses, 50 ms for 130 of 100, 3 s for 2,200 of 2,000: up to half of a short epoch.
CONTINUOUS_EVERY = 10

# The number of padded frames that are computed at a time: 60 MB with 2,000 glosses, and half of that with few.
PADDED_FRAMES = 4096


@dataclass(frozen=True, eq=False)
class ClipPredictions:
    """A model's predictions clip by clip, in the order of the clips."""

    labels: npt.NDArray[np.int64]  # int64 [M], the true classes 1..C
    recognised: npt.NDArray[np.bool_]  # bool [M], whether the true class is ranked first
    log_posterior: npt.NDArray[np.float32]  # float32 [M, C], log p(c | clip, exactly one sign)
    greedy: tuple[tuple[int, ...], ...]  # the classes on the best path of each clip
    blank_ratio: npt.NDArray[np.float32]  # float32 [M], the share of each clip's frames whose best class is the blank
    # The classes that the continuous decoder found in each clip; None if it did not run.
    continuous: tuple[tuple[int, ...], ...] | None


@dataclass(frozen=True)
class Score:
    """A model's result on isolated clips. History and result store these counts under the same names."""

    loss: float  # the mean CTC loss per clip, nats
    clips: int  # the number of clips
    correct: int  # clips whose sign is ranked first by exact decoding
    top5: int  # clips whose sign is among the first five
    greedy_correct: int  # clips whose best path is exactly their one sign
    empty: int  # clips whose best path holds no sign
    blank_ratio: float  # the share of frames whose best class is the blank
    # Clips in which the continuous decoder finds exactly their one sign; None if it did not run.
    continuous_correct: int | None = None
    continuous_empty: int | None = None  # clips in which it finds no sign; None if it did not run
    # Clip by clip, if they were requested.
    predictions: ClipPredictions | None = field(default=None, compare=False, repr=False)


NO_SCORE = Score(float("nan"), 0, 0, 0, 0, 0, float("nan"))


@torch.no_grad()
def evaluate(
    model: SignModel,
    clips: Clips,
    decoder: ContinuousDecoder,
    parts: int = 1,
    *,
    continuous: bool = True,
    predictions: bool = False,
) -> Score:
    """Recognise every clip as the served model does: with the same penalty and the same decoding.

    Args:
        model: its mode is restored afterwards.
        clips: any number.
        decoder: the model's own. Its blank penalty is used for exact and greedy decoding too.
        parts: the smallest number of parts in which the clips are computed, so that they fit the memory.
        continuous: whether the continuous decoder runs. See `CONTINUOUS_EVERY`.
        predictions: whether to keep the predictions clip by clip.
    """
    if not len(clips):
        return NO_SCORE
    with evaluation_mode(model):
        groups = [
            (rows, _evaluate_group(model, clips.select(rows), decoder, continuous))
            for rows in _group_by_length(clips, math.ceil(len(clips) / parts))
        ]
    order = np.argsort(np.concatenate([rows.cpu().numpy() for rows, _ in groups]))
    figures = np.concatenate([group.figures for _, group in groups], axis=1)[:, order]
    loss, guess, rank, emitted, first, blanks = figures
    labels = clips.labels.cpu().numpy()
    sequences = [signs for _, group in groups for signs in group.continuous]
    decoded = tuple(sequences[place] for place in order) if continuous else None
    by_clip = None
    if predictions:
        posterior = torch.cat([group.log_posterior for _, group in groups]).cpu().numpy()
        paths = [signs for _, group in groups for signs in group.best_paths()]
        by_clip = ClipPredictions(
            labels=labels,
            recognised=guess == labels,
            log_posterior=posterior[order],
            greedy=tuple(paths[place] for place in order),
            blank_ratio=(blanks / clips.lengths.cpu().numpy()).astype(np.float32),
            continuous=decoded,
        )
    return Score(
        loss=float(loss.mean()),
        clips=len(labels),
        correct=int((guess == labels).sum()),
        top5=int((rank < TOP_K).sum()),
        greedy_correct=int(((emitted == 1) & (first == labels)).sum()),
        empty=int((emitted == 0).sum()),
        blank_ratio=float(blanks.sum()) / int(clips.lengths.sum()),
        continuous_correct=None
        if decoded is None
        else sum(signs == (label,) for signs, label in zip(decoded, labels, strict=True)),
        continuous_empty=None if decoded is None else sum(not signs for signs in decoded),
        predictions=by_clip,
    )


@contextmanager
def evaluation_mode(model: SignModel) -> Iterator[None]:
    """Switch dropout off within this context."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


@dataclass(frozen=True, eq=False)
class _GroupResult:
    """The results of clips that were computed together.

    Attributes:
        figures: float64 [6, M]: loss, predicted class, rank of the true class from 0, signs on the best path, the first
            of these signs, and frames whose best class is the blank.
        log_posterior: [M, C], on the device.
        path_signs: int64, the signs on the best paths, one clip after the other, on the device.
        continuous: the signs that the continuous decoder found; empty if it did not run.
    """

    figures: npt.NDArray[np.float64]
    log_posterior: Tensor
    path_signs: Tensor
    continuous: list[tuple[int, ...]]

    def best_paths(self) -> Iterator[tuple[int, ...]]:
        """The signs on each clip's best path."""
        counts = self.figures[3].astype(int).tolist()
        return (tuple(signs.tolist()) for signs in torch.split(self.path_signs.cpu(), counts))


def _evaluate_group(model: SignModel, clips: Clips, decoder: ContinuousDecoder, continuous: bool) -> _GroupResult:
    """All results of some clips, without a loop over the clips."""
    lengths, truth = clips.lengths, clips.labels[:, None]
    log_probs = model.log_probs(model.features(*clips.padded(), lengths), lengths)
    decoded = decoder.decode(log_probs.cpu().numpy(), lengths.cpu().numpy()) if continuous else []
    # The CTC loss of a single sign is minus its exact score, which needs only the blank and the true class.
    index = torch.cat([torch.zeros_like(truth), truth], dim=1)[:, None].expand(-1, log_probs.shape[1], -1)
    loss = -single_sign_scores(log_probs.gather(2, index).double(), lengths)[:, 0]

    # Normalising again would add the same number to all classes, and change neither posterior nor best path.
    log_probs[..., BLANK] -= decoder.blank_penalty
    scores = single_sign_scores(log_probs, lengths)
    rank = (scores > scores.gather(1, truth - 1)).sum(dim=1)
    path = log_probs.argmax(dim=2)
    inside = length_mask(path, lengths)
    before = torch.nn.functional.pad(path[:, :-1], (1, 0), value=BLANK)
    begins = inside & (path != BLANK) & (path != before)
    first = path.gather(1, begins.int().argmax(dim=1, keepdim=True))[:, 0]
    blanks = (inside & (path == BLANK)).sum(dim=1)
    figures = torch.stack([loss, *(x.double() for x in (scores.argmax(dim=1) + 1, rank, begins.sum(1), first, blanks))])
    return _GroupResult(figures.cpu().numpy(), scores.log_softmax(dim=1).float(), path[begins], decoded)


def _group_by_length(clips: Clips, largest: int) -> Iterator[Tensor]:
    """The rows of clips of similar length, the shortest first, in groups that are computed together.

    A group has at most `largest` clips and `PADDED_FRAMES` padded frames.
    """
    lengths = clips.lengths.cpu().numpy()
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        # The padded frames of a group of 1, 2, 3 clips and so on.
        padded = lengths[order[start:]] * np.arange(1, len(order) - start + 1)
        end = start + min(largest, max(1, int(np.searchsorted(padded, PADDED_FRAMES, side="right"))))
        yield torch.from_numpy(order[start:end]).to(clips.starts.device)
        start = end


@torch.no_grad()
def single_sign_scores(log_probs: Tensor, lengths: Tensor) -> Tensor:
    """Log p([c] | x) for every gloss: `signet.decoding.single_sign_scores`, in torch.

    With d(t) = log p(c at t) - log p(blank at t), the runs of c that end at t have the weight
    u(t) = exp(d(t)) · (1 + u(t - 1)) relative to the path of blanks alone; `runs` holds log u.

    Args:
        log_probs: float32 or float64 [B, T, C + 1], finite within the clips; lower precisions are raised to float32.
        lengths: [B], frames, at least 1.

    Returns:
        float64 [B, C].
    """
    raised = log_probs if log_probs.dtype == torch.float64 else log_probs.float()
    outside = ~length_mask(raised, lengths)
    runs = (raised[..., 1:] - raised[..., :1]).masked_fill_(outside[..., None], -torch.inf)
    zero, grown = runs.new_zeros(()), torch.empty_like(runs[:, 0])
    for before, now in pairwise(runs.unbind(1)):
        now.add_(torch.logaddexp(before, zero, out=grown))
    # The blanks of a long clip add up to thousands of nats. In float32 the differences between glosses would vanish.
    blanks = raised[..., BLANK].double().masked_fill(outside, 0).sum(1, keepdim=True)
    return blanks + runs.logsumexp(1)
