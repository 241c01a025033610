"""Decoding of CTC log-probabilities to glosses, in numpy. Class 0 is the blank; classes 1..C are glosses.

An isolated clip holds one sign, so its prediction is the exact posterior over single-sign hypotheses (`exact`).
Continuous signing is decoded by prefix beam search (`beam`), with one fixed `ContinuousDecoder` for each model. The
difference between the two on isolated clips measures blank collapse. `alignment` finds when known signs happen in a
clip. docs/recognition.md explains these methods.
"""

from signet.decoding.alignment import Alignment, Span, align, align_sign, occupation
from signet.decoding.beam import DEFAULT_BEAM_WIDTH, ContinuousDecoder, Hypothesis
from signet.decoding.exact import single_sign_posterior, single_sign_scores
from signet.decoding.frames import (
    BLANK,
    best_path,
    blank_ratio,
    collapse_path,
    concentrate_signs,
    log_softmax,
    penalise_blank,
)

__all__ = [
    "BLANK",
    "DEFAULT_BEAM_WIDTH",
    "Alignment",
    "ContinuousDecoder",
    "Hypothesis",
    "Span",
    "align",
    "align_sign",
    "best_path",
    "blank_ratio",
    "collapse_path",
    "concentrate_signs",
    "log_softmax",
    "occupation",
    "penalise_blank",
    "single_sign_posterior",
    "single_sign_scores",
]
