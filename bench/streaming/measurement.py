"""What a stream finds in a sequence, compared with the offline decoder."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from bench.streaming.material import FoldModel, SignedSequence, TimedFrame
from signet.landmarks import to_model_input
from signet.landmarks.concatenation import SignedSpan
from signet.statistics.gloss_errors import GlossErrors, gloss_errors
from signet.streaming import FinalSign, SignStream, StreamSettings

_RESAMPLES = 1000


@dataclass(frozen=True)
class FoundSign:
    """A final sign, and when it came: the time of the newest frame, plus the CPU seconds of computing."""

    sign: FinalSign
    came: float


@dataclass
class StreamFindings:
    """What was found in sequences of one kind. Each list has one entry for each sequence or each right sign."""

    offline: list[GlossErrors] = field(default_factory=list)
    stream: list[GlossErrors] = field(default_factory=list)
    overlaps: list[float] = field(default_factory=list)  # intersection over union of the movements
    delays: list[float] = field(default_factory=list)  # from the end of a movement to the final event
    scores: list[float] = field(default_factory=list)  # vocabulary scores of right signs
    wrong_scores: list[float] = field(default_factory=list)  # of all other final signs
    signed: int = 0
    seconds: float = 0.0


def run_stream(
    fold: FoldModel, frames: Sequence[TimedFrame], settings: StreamSettings | None = None
) -> list[FoundSign]:
    """The final signs of a stream, rejected ones included."""
    stream = SignStream(fold.model, settings)
    found = []
    now = 0.0
    for position in range(len(frames) + 1):
        started = time.process_time()
        if position < len(frames):
            now, joints = frames[position]
            stream.add_frame(now, joints)
        else:
            stream.finish()
        while (window := stream.next_window()) is not None:
            (log_probs,) = fold.graph([window.frames], [window.dominance])
            stream.add_log_probs(window, log_probs)
        came = now + time.process_time() - started
        found += [FoundSign(event, came) for event in stream.take_events() if isinstance(event, FinalSign)]
    return found


def measure_sequence(
    findings: StreamFindings, fold: FoldModel, sequence: SignedSequence, settings: StreamSettings | None = None
) -> None:
    """Add what the stream and the offline decoder find in a sequence."""
    signed = [span.gloss for span in sequence.signs]
    (log_probs,) = fold.graph([to_model_input(sequence.landmarks)], [0.0])
    (decoded,) = fold.model.decoder.decode(log_probs[None])
    findings.offline.append(gloss_errors(signed, [fold.model.vocabulary[sign - 1] for sign in decoded]))
    found = run_stream(fold, sequence.frames, settings)
    kept = [each for each in found if not each.sign.rejected]
    findings.stream.append(gloss_errors(signed, [each.sign.gloss for each in kept]))
    right = match(sequence.signs, kept)
    for span, each in right:
        findings.overlaps.append(overlap(span, each.sign))
        findings.delays.append(each.came - span.end)
    matched = match(sequence.signs, found)
    findings.scores += [each.sign.vocabulary_score or 0.0 for _, each in matched]
    matched_numbers = {each.sign.number for _, each in matched}
    findings.wrong_scores += [
        each.sign.vocabulary_score or 0.0 for each in found if each.sign.number not in matched_numbers
    ]
    findings.signed += len(signed)
    findings.seconds += float(sequence.landmarks.timestamps[-1])


def match(signed: Sequence[SignedSpan], found: Sequence[FoundSign]) -> list[tuple[SignedSpan, FoundSign]]:
    """The right signs of an alignment with the fewest errors, and where they were signed."""
    costs = np.zeros((len(signed) + 1, len(found) + 1), np.int64)
    costs[:, 0], costs[0] = range(len(signed) + 1), range(len(found) + 1)
    for i, span in enumerate(signed):
        for j, each in enumerate(found):
            wrong = span.gloss != each.sign.gloss
            costs[i + 1, j + 1] = min(costs[i, j] + wrong, costs[i, j + 1] + 1, costs[i + 1, j] + 1)
    pairs = []
    i, j = len(signed), len(found)
    while i and j:
        wrong = signed[i - 1].gloss != found[j - 1].sign.gloss
        if costs[i, j] == costs[i - 1, j - 1] + wrong:
            i, j = i - 1, j - 1
            if not wrong:
                pairs.append((signed[i], found[j]))
        elif costs[i, j] == costs[i - 1, j] + 1:
            i -= 1
        else:
            j -= 1
    return pairs[::-1]


def overlap(span: SignedSpan, sign: FinalSign) -> float:
    """Intersection over union of two movements."""
    both = min(span.end, sign.end) - max(span.start, sign.start)
    return max(0.0, both) / max(1e-9, max(span.end, sign.end) - min(span.start, sign.start))


def error_rate(errors: Sequence[GlossErrors]) -> float:
    """Gloss errors as a share of the signed glosses."""
    total = sum(errors, GlossErrors())
    return (total.substitutions + total.deletions + total.insertions) / max(1, total.signed)


def rate_interval(one: Sequence[GlossErrors], other: Sequence[GlossErrors] | None = None) -> tuple[float, float]:
    """A 95 % interval of the error rate, or of its difference to that of others, over resampled sequences."""
    random = np.random.default_rng(0)
    counts = _counts(one)
    wrong, signed = counts[:, 0], counts[:, 1]
    base = _counts(other)[:, 0] if other is not None else np.zeros(len(one))
    picks = random.integers(0, len(one), (_RESAMPLES, len(one)))
    rates = (wrong[picks].sum(axis=1) - base[picks].sum(axis=1)) / np.maximum(1, signed[picks].sum(axis=1))
    low, high = np.percentile(rates, [2.5, 97.5])
    return float(low), float(high)


def _counts(errors: Sequence[GlossErrors]) -> npt.NDArray[np.float64]:
    return np.array([[e.substitutions + e.deletions + e.insertions, e.signed] for e in errors], np.float64)
