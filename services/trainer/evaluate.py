"""How a model does on clips that it was not trained on: exact and greedy decoding, blanks, loss."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from services.trainer.batches import Clips
from services.trainer.loss import ctc
from services.trainer.model import Recogniser
from signet import decoding


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

    @property
    def collapsed(self) -> bool:
        """Blank collapse: every clip comes out empty."""
        return self.clips > 0 and self.empty == self.clips


NOTHING = Score(float("nan"), 0, 0, 0, 0, 0, float("nan"), {}, frozenset())


@torch.no_grad()
def evaluate(model: Recogniser, clips: Clips, blank_penalty: float) -> Score:
    """Recognise every clip as it will be served: the same penalty, the same decoding."""
    if not len(clips):
        return NOTHING
    was_training = model.training
    model.eval()
    hands, both = model.features(clips.padded(), clips.lengths)
    log_probs = model.encoder(hands, both, clips.lengths)
    model.train(was_training)
    ones = torch.ones_like(clips.labels)
    loss = float(ctc(log_probs, clips.lengths, clips.labels[:, None], ones))

    correct = top5 = greedy_correct = empty = blanks = 0
    predicted: set[int] = set()
    right: Counter[int] = Counter()
    total: Counter[int] = Counter()
    lengths, labels = clips.lengths.tolist(), clips.labels.tolist()
    for frames, length, label in zip(log_probs.cpu().numpy(), lengths, labels, strict=True):
        penalised = decoding.penalise_blank(frames[:length], blank_penalty)
        ranking = (-decoding.single_sign_scores(penalised)).argsort() + 1
        hit = int(ranking[0]) == label
        path = decoding.best_path(penalised)
        correct += hit
        top5 += label in ranking[:5]
        predicted.add(int(ranking[0]))
        greedy_correct += path == [label]
        empty += not path
        blanks += round(decoding.blank_ratio(penalised) * length)
        right[label] += hit
        total[label] += 1
    return Score(
        loss=loss,
        clips=len(labels),
        correct=correct,
        top5=top5,
        greedy_correct=greedy_correct,
        empty=empty,
        blank_ratio=blanks / sum(lengths),
        correct_by_class={label: (right[label], total[label]) for label in sorted(total)},
        predicted=frozenset(predicted),
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
    )
