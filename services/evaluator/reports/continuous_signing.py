"""Measures how well a model recognises continuous signing: streams over sequences that are made from held-out clips."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from services.evaluator.reports.continuous_figures import (
    ContinuousSigning,
    ErrorShare,
    FalseAlarms,
    OperatingPoint,
    SequenceErrors,
)
from services.evaluator.serving.loaded_model import LoadedModel
from signet.landmarks import Landmarks
from signet.landmarks.body import Frames
from signet.landmarks.concatenation import Joining
from signet.statistics.gloss_errors import GlossErrors
from signet.statistics.intervals import poisson_interval
from signet.streaming import RecognitionModel
from signet.streaming.evaluation.findings import StreamFindings, count_errors, count_reaching, interval_over_sequences
from signet.streaming.evaluation.sequences import SignedSequence, make_idle_sequences, make_sequences
from signet.streaming.evaluation.streams import FoundSign, LogProbs, run_streams

# The sequences of a report. Shorter ones than those of `bench.streaming`: there are more of them, so that an interval
# over sequences is possible with few clips.
LENGTHS = (3, 4, 5, 6, 8)
SEED = 7
# At most so many clips of each kind are used, so that a report takes seconds.
MAX_CLIPS = 120
# With fewer clips, or less time, a figure would say little.
MIN_CLIPS = 9
MIN_SECONDS = 30.0
# With fewer sequences there is no interval.
MIN_SEQUENCES = 5

_THRESHOLDS = tuple(step / 20 for step in range(20))
VOCABULARY_SCORE, PROBABILITY = "vocabulary score", "probability"


@dataclass(frozen=True, eq=False)
class ContinuousMaterial:
    """The clips that sequences are made of."""

    held_out: Sequence[Landmarks]  # clips of the vocabulary
    of_clips: int  # clips of the report, which may no longer be in the corpus
    other_signs: Sequence[Landmarks]  # clips whose gloss is not in the vocabulary
    training_signers: frozenset[str]


def measure_continuous_signing(
    model: LoadedModel, material: ContinuousMaterial, before_batch: Callable[[int], None] | None = None
) -> ContinuousSigning:
    """Run streams over sequences of the clips, and measure what they find.

    Args:
        model: the model.
        material: the clips.
        before_batch: called before each run of the graph with the number of windows; it may raise to stop.
    """
    clips = _choose(material.held_out)
    if len(clips) < MIN_CLIPS:
        return ContinuousSigning(
            clips=len(clips),
            of_clips=material.of_clips,
            missing=f"the corpus has the landmarks of {len(clips)} of the {material.of_clips} clips of this report; "
            f"sequences need at least {MIN_CLIPS}.",
        )
    measurement = _Measurement(model, before_batch)
    kinds = tuple(measurement.measure_kind(clips, joining) for joining in Joining)
    silence, silence_scores = measurement.measure_alarms(
        clips, make_idle_sequences(clips, SEED, LENGTHS), material.training_signers
    )
    others = _choose(material.other_signs)
    other_signs, other_scores = measurement.measure_alarms(
        others, make_sequences(others, Joining.INTERPOLATED, SEED, LENGTHS), material.training_signers
    )
    return ContinuousSigning(
        clips=len(clips),
        of_clips=material.of_clips,
        kinds=kinds,
        silence=silence,
        other_signs=other_signs,
        threshold=measurement.threshold,
        score=VOCABULARY_SCORE if model.card.vocabulary_score else PROBABILITY,
        signs=sum(kind.signs for kind in kinds),
        curve=measurement.trace_curve(silence, silence_scores, other_signs, other_scores),
    )


class _Measurement:
    """Runs streams of one model, and keeps the scores of the signs that they find."""

    def __init__(self, model: LoadedModel, before_batch: Callable[[int], None] | None) -> None:
        card = model.card
        self.threshold = card.rejection_threshold if card.vocabulary_score else None
        self._stream_model = RecognitionModel(card.vocabulary, card.decoder, card.vocabulary_score, self.threshold)
        self._model = model
        self._before_batch = before_batch
        self._scores: list[float] = []
        self._signed = 0

    def measure_kind(self, clips: Sequence[Landmarks], joining: Joining) -> SequenceErrors:
        """Errors, overlaps and delays in sequences that are joined in one way."""
        findings = StreamFindings()
        sequences = make_sequences(clips, joining, SEED, LENGTHS)
        for sequence, found in zip(sequences, self._run(sequences), strict=True):
            findings.add(sequence, found)
        self._scores += findings.scores
        self._signed += findings.signed
        return _summarise(joining, findings)

    def measure_alarms(
        self, clips: Sequence[Landmarks], sequences: Sequence[SignedSequence], training_signers: frozenset[str]
    ) -> tuple[FalseAlarms, list[float]]:
        """False alarms in sequences without a sign of the vocabulary, and the scores of all signs found there."""
        seconds = sum(sequence.seconds for sequence in sequences)
        used = {
            "clips": len(clips),
            "seconds": seconds,
            "new_signers": sum(clip.record.signer not in training_signers for clip in clips),
        }
        if seconds < MIN_SECONDS:
            missing = f"there are {seconds:.0f} seconds of it, and {MIN_SECONDS:.0f} are needed for a rate."
            return FalseAlarms.model_validate({**used, "missing": missing}), []
        found = [event for events in self._run(sequences) for event in events]
        alarms = sum(not event.sign.rejected for event in found)
        minutes = seconds / 60
        low, high = poisson_interval(alarms)
        figures = {"alarms": alarms, "a_minute": alarms / minutes, "low": low / minutes, "high": high / minutes}
        return FalseAlarms.model_validate({**used, **figures}), [event.score for event in found]

    def trace_curve(
        self,
        silence: FalseAlarms,
        silence_scores: Sequence[float],
        other_signs: FalseAlarms,
        other_scores: Sequence[float],
    ) -> tuple[OperatingPoint, ...]:
        """The operating curve over thresholds, with the card's threshold among them."""
        thresholds = sorted({*_THRESHOLDS, self.threshold or 0.0})
        found = [count / self._signed for count in count_reaching(self._scores, thresholds)]
        on_silence = _alarm_rates(silence, silence_scores, thresholds)
        on_other_signs = _alarm_rates(other_signs, other_scores, thresholds)
        return tuple(
            OperatingPoint(threshold=threshold, found=share, on_silence=quiet, on_other_signs=other)
            for threshold, share, quiet, other in zip(thresholds, found, on_silence, on_other_signs, strict=True)
        )

    def _run(self, sequences: Sequence[SignedSequence]) -> list[list[FoundSign]]:
        return run_streams(self._stream_model, self._compute, [sequence.frames for sequence in sequences])

    def _compute(self, windows: Sequence[Frames], dominance: Sequence[float]) -> Sequence[LogProbs]:
        return self._model.log_probs(windows, self._before_batch, dominance)


def _choose(clips: Sequence[Landmarks]) -> list[Landmarks]:
    """At most `MAX_CLIPS` clips, the same ones for the same clips."""
    if len(clips) <= MAX_CLIPS:
        return list(clips)
    chosen = np.random.default_rng(SEED).choice(len(clips), MAX_CLIPS, replace=False)
    return [clips[index] for index in sorted(chosen)]


def _summarise(joining: Joining, findings: StreamFindings) -> SequenceErrors:
    def share(count: Callable[[GlossErrors], int]) -> ErrorShare:
        counts = [count(sequence) for sequence in findings.errors]
        signed = [sequence.signed for sequence in findings.errors]
        rate = sum(counts) / max(1, sum(signed))
        if len(counts) < MIN_SEQUENCES:
            return ErrorShare(count=sum(counts), share=rate)
        low, high = interval_over_sequences(counts, signed)
        return ErrorShare(count=sum(counts), share=rate, low=low, high=high)

    return SequenceErrors(
        kind=joining,
        sequences=len(findings.errors),
        signs=findings.signed,
        seconds=findings.seconds,
        wrong=share(lambda errors: errors.substitutions),
        missed=share(lambda errors: errors.deletions),
        inserted=share(lambda errors: errors.insertions),
        total=share(count_errors),
        right=len(findings.overlaps),
        overlap_median=_percentile(findings.overlaps, 50),
        delay_median=_percentile(findings.delays, 50),
        delay_p95=_percentile(findings.delays, 95),
    )


def _percentile(values: Sequence[float], percent: float) -> float | None:
    return float(np.percentile(values, percent)) if values else None


def _alarm_rates(alarms: FalseAlarms, scores: Sequence[float], thresholds: Sequence[float]) -> list[float | None]:
    """False alarms a minute at each threshold; None if they were not measured."""
    if alarms.a_minute is None:
        return [None] * len(thresholds)
    return [60 * count / alarms.seconds for count in count_reaching(scores, thresholds)]
