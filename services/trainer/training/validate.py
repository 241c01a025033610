"""How a model does on clips that it was not trained on: isolated, as continuous signing, and in sequences of clips.

An isolated clip is judged three ways. The exact posterior over single signs ranks the glosses (`correct`, `top5`). The
model's one `ContinuousDecoder`, which knows nothing of isolation, should find exactly that one sign too
(`continuous_correct`); so should the best path (`greedy_correct`), which is the poorest decoder and the cheapest. What
the last two fall short of the first measures blank collapse.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from services.trainer.data.batches import Clips
from services.trainer.model.recogniser import Recogniser, length_mask
from services.trainer.training.losses import single_sign_scores
from signet.decoding import BLANK, ContinuousDecoder
from signet.statistics.gloss_errors import GlossErrors, gloss_errors

# In which epochs the continuous decoder runs: every so many, and the last. It is a beam search in numpy, and takes 30
# ms for 37 clips of 20 glosses, 50 ms for 130 of 100, 3 s for 2,200 of 2,000 on a core that others use too: as much as
# the rest of an evaluation, and up to a half of a short epoch. Shared among ten epochs that is little, and the best
# path is there in each to see a collapse begin.
CONTINUOUS_EVERY = 10

# Clips in a sequence by which continuous signing is judged.
CONCATENATED = 3

# Padded frames that are measured and decoded at a time: some 60 MB with 2,000 glosses, and half of that with few.
_FRAMES = 4096

_TOP = 5


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model said of each clip, in the clips' order.

    Attributes:
        labels: int64 [M], the truth, classes 1..C.
        log_posterior: float32 [M, C], log p(c | clip, exactly one sign).
        greedy: of each clip, the classes on its best path.
        blank_ratio: float32 [M], of each clip's frames the share whose best class is the blank.
        continuous: of each clip, the classes that the continuous decoder found; None if it did not run.
    """

    labels: npt.NDArray[np.int64]
    log_posterior: npt.NDArray[np.float32]
    greedy: tuple[tuple[int, ...], ...]
    blank_ratio: npt.NDArray[np.float32]
    continuous: tuple[tuple[int, ...], ...] | None


@dataclass(frozen=True)
class Score:
    """A model's result on some clips.

    Attributes:
        loss: mean CTC loss per clip, nats.
        clips: how many.
        correct: recognised by exact decoding.
        top5: whose sign is among the five best.
        greedy_correct: whose best path is exactly their one sign.
        empty: whose best path holds no sign.
        blank_ratio: share of frames whose best class is the blank.
        correct_by_class: of each class, how many of how many.
        predicted: the classes that were predicted for any clip.
        continuous_correct: of which the continuous decoder says exactly their one sign; None if it did not run.
        continuous_empty: in which it finds no sign; None if it did not run.
        answers: clip by clip, where that was asked for.
    """

    loss: float
    clips: int
    correct: int
    top5: int
    greedy_correct: int
    empty: int
    blank_ratio: float
    correct_by_class: dict[int, tuple[int, int]]
    predicted: frozenset[int]
    continuous_correct: int | None = None
    continuous_empty: int | None = None
    answers: Answers | None = field(default=None, compare=False, repr=False)

    @property
    def collapsed(self) -> bool:
        """Blank collapse: every clip comes out empty."""
        return self.clips > 0 and self.empty == self.clips


NOTHING = Score(float("nan"), 0, 0, 0, 0, 0, float("nan"), {}, frozenset())


@dataclass(frozen=True)
class ConcatenationErrors:
    """Gloss errors on sequences of isolated clips, which were put together in two ways.

    Attributes:
        features: each clip measured by itself, then joined, as in training.
        landmarks: joined as a camera would have seen it, then measured: the model finds one body and one leading hand
            for all the signers of a sequence. This is the harder one, and the one that a stream of video is like.
    """

    features: GlossErrors
    landmarks: GlossErrors


@torch.no_grad()
def evaluate(
    model: Recogniser, clips: Clips, decoder: ContinuousDecoder, *, continuous: bool = True, answers: bool = False
) -> Score:
    """Recognise every clip as it will be served: the same penalty, the same decoding.

    Args:
        model: the model; it is put back into the mode that it was in.
        clips: any number.
        decoder: the model's own; its blank penalty holds for exact and greedy decoding too.
        continuous: whether it runs. See `CONTINUOUS_EVERY`.
        answers: whether to keep what was said of each clip.
    """
    if not len(clips):
        return NOTHING
    with _as_served(model):
        judged = [(rows, _judge(model, _chosen(clips, rows), decoder, continuous)) for rows in _of_like_length(clips)]

    order = np.argsort(np.concatenate([rows for rows, _ in judged]))
    loss, guess, rank, emitted, first, blanks = np.concatenate([part.figures for _, part in judged], axis=1)[:, order]
    labels = clips.labels.cpu().numpy()
    right = guess == labels
    heard = None
    if continuous:
        in_parts = [signs for _, part in judged for signs in part.continuous]
        heard = tuple(in_parts[place] for place in order)
    kept = None
    if answers:
        posterior = torch.cat([part.log_posterior for _, part in judged]).cpu().numpy()
        paths = [signs for _, part in judged for signs in part.paths()]
        share = (blanks / clips.lengths.cpu().numpy()).astype(np.float32)
        kept = Answers(labels, posterior[order], tuple(paths[place] for place in order), share, heard)
    return Score(
        loss=float(loss.mean()),
        clips=len(labels),
        correct=int(right.sum()),
        top5=int((rank < _TOP).sum()),
        greedy_correct=int(((emitted == 1) & (first == labels)).sum()),
        empty=int((emitted == 0).sum()),
        blank_ratio=float(blanks.sum()) / int(clips.lengths.sum()),
        correct_by_class={
            int(label): (int(right[labels == label].sum()), int((labels == label).sum())) for label in np.unique(labels)
        },
        predicted=frozenset(guess.astype(int).tolist()),
        continuous_correct=None
        if heard is None
        else sum(signs == (label,) for signs, label in zip(heard, labels, strict=True)),
        continuous_empty=None if heard is None else sum(not signs for signs in heard),
        answers=kept,
    )


def together(judged: Sequence[tuple[Score, int]]) -> Score:
    """The score of all clips from the scores, and numbers of frames, of their parts."""
    if len(judged) == 1:
        return judged[0][0]
    scores = [score for score, _ in judged]
    clips = sum(score.clips for score in scores)
    right: Counter[int] = Counter()
    total: Counter[int] = Counter()
    for score in scores:
        for label, (correct, count) in score.correct_by_class.items():
            right[label] += correct
            total[label] += count
    answers = [score.answers for score in scores if score.answers is not None]
    return Score(
        loss=sum(score.loss * score.clips for score in scores) / clips,
        clips=clips,
        correct=sum(score.correct for score in scores),
        top5=sum(score.top5 for score in scores),
        greedy_correct=sum(score.greedy_correct for score in scores),
        empty=sum(score.empty for score in scores),
        blank_ratio=sum(score.blank_ratio * frames for score, frames in judged) / sum(frames for _, frames in judged),
        correct_by_class={label: (right[label], total[label]) for label in sorted(total)},
        predicted=frozenset().union(*(score.predicted for score in scores)),
        continuous_correct=_added(score.continuous_correct for score in scores),
        continuous_empty=_added(score.continuous_empty for score in scores),
        answers=_joined(answers) if len(answers) == len(scores) else None,
    )


def _added(counts: Iterable[int | None]) -> int | None:
    """Their sum; None if one of them was not counted."""
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total


@torch.no_grad()
def concatenation_error_rate(
    model: Recogniser, clips: Clips, decoder: ContinuousDecoder, seed: int
) -> ConcatenationErrors:
    """Gloss errors on sequences of `CONCATENATED` clips: continuous signing by signers who never met.

    Every clip stands in one sequence, at random; what does not fill a sequence is left out.

    Args:
        model: the model; it is put back into the mode that it was in.
        clips: isolated clips.
        decoder: the model's own.
        seed: of the order; the same order for every model, device and way to put clips together.
    """
    sequences = len(clips) // CONCATENATED
    order = np.random.default_rng(seed).permutation(len(clips))[: sequences * CONCATENATED]
    longest = CONCATENATED * int(clips.lengths.max()) if sequences else 1
    at_a_time = CONCATENATED * max(1, _FRAMES // longest)
    features, landmarks = GlossErrors(), GlossErrors()
    with _as_served(model):
        for start in range(0, len(order), at_a_time):
            part = _chosen(clips, order[start : start + at_a_time])
            joined = _joined_clips(part)
            signed = part.labels.view(-1, CONCATENATED).tolist()
            seen = model.features(*joined.padded(), joined.lengths)
            landmarks += _errors(model, seen, joined.lengths, signed, decoder)
            own = model.features(*part.padded(), part.lengths)
            side_by_side = torch.zeros_like(seen)
            side_by_side[length_mask(seen, joined.lengths)] = own[length_mask(own, part.lengths)]
            features += _errors(model, side_by_side, joined.lengths, signed, decoder)
    return ConcatenationErrors(features, landmarks)


def _errors(
    model: Recogniser, features: Tensor, lengths: Tensor, signed: list[list[int]], decoder: ContinuousDecoder
) -> GlossErrors:
    """What is wrong with what the decoder finds in sequences [B, T, D], which hold these signs."""
    log_probs = model.log_probs(features, lengths).cpu().numpy()
    heard = decoder.decode(log_probs, lengths.cpu().numpy())
    return sum((gloss_errors(*pair) for pair in zip(signed, heard, strict=True)), GlossErrors())


@contextmanager
def _as_served(model: Recogniser) -> Iterator[None]:
    """Nothing is left out as in training, for a while."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


@dataclass(frozen=True, eq=False)
class _Judged:
    """Some clips' results.

    Attributes:
        figures: float64 [6, M]: loss, guess, rank of the truth from 0, signs on the best path, the first of them, and
            frames whose best class is the blank.
        log_posterior: [M, C], on the device.
        on_path: int64, the signs on the best paths, one clip after the other; on the device.
        continuous: what the continuous decoder found; nothing if it did not run.
    """

    figures: npt.NDArray[np.float64]
    log_posterior: Tensor
    on_path: Tensor
    continuous: list[tuple[int, ...]]

    def paths(self) -> Iterator[tuple[int, ...]]:
        """The signs on each clip's best path."""
        counts = self.figures[3].astype(int).tolist()
        return (tuple(signs.tolist()) for signs in torch.split(self.on_path.cpu(), counts))


def _judge(model: Recogniser, clips: Clips, decoder: ContinuousDecoder, continuous: bool) -> _Judged:
    """All that is said of some clips, without a loop over them."""
    lengths, truth = clips.lengths, clips.labels[:, None]
    log_probs = model.log_probs(model.features(*clips.padded(), lengths), lengths)
    heard = decoder.decode(log_probs.cpu().numpy(), lengths.cpu().numpy()) if continuous else []
    # Of one sign, the CTC loss is minus its exact score; of blank and truth alone, that is quick.
    index = torch.cat([torch.zeros_like(truth), truth], dim=1)[:, None].expand(-1, log_probs.shape[1], -1)
    loss = -single_sign_scores(log_probs.gather(2, index).double(), lengths)[:, 0]

    # To normalise again would add the same to all classes: neither posterior nor best path would change.
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
    return _Judged(figures.cpu().numpy(), scores.log_softmax(dim=1).float(), path[begins], heard)


def _of_like_length(clips: Clips) -> Iterator[npt.NDArray[np.int64]]:
    """Rows that are judged together, the shortest first: all clips, so many that their padded frames are bounded."""
    lengths = clips.lengths.cpu().numpy()
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        # As many as fit if all were as long as the longest among them.
        padded = lengths[order[start:]] * np.arange(1, len(order) - start + 1)
        end = start + max(1, int(np.searchsorted(padded, _FRAMES, side="right")))
        yield order[start:end]
        start = end


def _chosen(clips: Clips, rows: npt.NDArray[np.int64]) -> Clips:
    """These clips, in this order."""
    chosen = torch.from_numpy(rows).to(clips.starts.device)
    return replace(clips, starts=clips.starts[chosen], lengths=clips.lengths[chosen], labels=clips.labels[chosen])


def _joined_clips(clips: Clips) -> Clips:
    """Sequences of `CONCATENATED` consecutive clips as if they had been one clip each; their labels mean nothing."""
    steps = torch.arange(int(clips.lengths.max()), device=clips.starts.device)
    rows = clips.samples_per_frame * (clips.starts[:, None] + steps)[steps < clips.lengths[:, None]]
    lengths = clips.lengths.view(-1, CONCATENATED).sum(dim=1)
    return replace(
        clips,
        joints=clips.joints[rows],
        present=clips.present[rows],
        samples_per_frame=1,
        starts=lengths.cumsum(0) - lengths,
        lengths=lengths,
        labels=clips.labels[::CONCATENATED],
    )


def _joined(answers: Sequence[Answers]) -> Answers:
    """The answers of all clips from those of their parts."""
    heard = [one.continuous for one in answers if one.continuous is not None]
    return Answers(
        labels=np.concatenate([one.labels for one in answers]),
        log_posterior=np.concatenate([one.log_posterior for one in answers]),
        greedy=sum((one.greedy for one in answers), ()),
        blank_ratio=np.concatenate([one.blank_ratio for one in answers]),
        continuous=sum(heard, ()) if len(heard) == len(answers) else None,
    )
