"""Continuous decoding, compared with its definition and with the published algorithm, and as users call it."""

import hashlib
import json
import math
from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signet.decoding import (
    BLANK,
    ContinuousDecoder,
    beam,
    best_path,
    concentrate_signs,
    log_softmax,
    penalise_blank,
)
from signet.errors import InvalidInput, InvalidSetting
from tests.signet.decoding.enumeration import Array, Path, padded_batch, posteriors, sequences, small

# More prefixes than five frames of three signs can make.
EVERYTHING = 400

penalties = st.sampled_from([0.0, 0.7, 2.0])


@given(small, penalties, st.sampled_from([0.0, 0.5, 2.0, -0.5]), st.sampled_from([0.0, 1.5, 20.0]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_wide_beam_finds_every_sequence_with_the_sum_over_its_alignments(
    log_probs: Array, blank_penalty: float, insertion_penalty: float, repetition_penalty: float, undoubted: bool
) -> None:
    decoder = ContinuousDecoder(EVERYTHING, blank_penalty, insertion_penalty, repetition_penalty, undoubted)
    (found,) = decoder.hypotheses(log_probs[None])
    read = penalise_blank(log_probs, blank_penalty)
    expected = {
        signs: score
        - insertion_penalty * len(signs)
        - repetition_penalty * sum(one == other for one, other in pairwise(signs))
        for signs, score in sequences(concentrate_signs(read) if undoubted else read).items()
    }
    assert len(found) == len(expected)
    for hypothesis in found:
        assert hypothesis.score == pytest.approx(expected[hypothesis.signs], abs=1e-9)
    assert [hypothesis.score for hypothesis in found] == pytest.approx(sorted(expected.values(), reverse=True))


def _as_printed(log_probs: Array, width: int, insertion_penalty: float) -> dict[Path, float]:
    """Algorithm 1 of Hannun et al. 2014: one prefix and one class after the other."""
    beam: dict[Path, tuple[float, float]] = {(): (1.0, 0.0)}
    cost = math.exp(-insertion_penalty)
    for frame in np.exp(log_probs):
        after: dict[Path, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for prefix, (blank, sign) in beam.items():
            after[prefix][0] += (blank + sign) * frame[BLANK]
            if prefix:
                after[prefix][1] += sign * frame[prefix[-1]]
            for c in range(1, len(frame)):
                before = blank if prefix and prefix[-1] == c else blank + sign
                after[(*prefix, c)][1] += before * frame[c] * cost
        kept = sorted(after, key=lambda prefix: -sum(after[prefix]))[:width]
        beam = {prefix: (after[prefix][0], after[prefix][1]) for prefix in kept if sum(after[prefix])}
    return {prefix: math.log(sum(both)) for prefix, both in beam.items()}


@given(
    st.integers(1, 12), st.integers(1, 12), st.integers(1, 6), st.integers(0, 10_000), st.sampled_from([0.5, 2.0, 5.0]),
    penalties,
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_a_narrow_beam_is_the_printed_algorithm_over_all_classes(
    frames: int, classes: int, width: int, seed: int, scale: float, insertion_penalty: float
) -> None:
    log_probs = posteriors(frames, classes, seed, scale)
    (found,) = ContinuousDecoder(width, insertion_penalty=insertion_penalty).hypotheses(log_probs[None])
    expected = _as_printed(log_probs, width, insertion_penalty)
    assert {hypothesis.signs for hypothesis in found} == expected.keys()
    for hypothesis in found:
        assert hypothesis.score == pytest.approx(expected[hypothesis.signs], abs=1e-9)


def test_clips_of_all_lengths_together_are_decoded_as_each_alone() -> None:
    clips = [posteriors(1 + (seed * 7) % 40, 30, seed, 2.0) for seed in range(150)]
    decoder = ContinuousDecoder(beam_width=4, blank_penalty=1.0, insertion_penalty=0.5)
    together = decoder.hypotheses(*padded_batch(clips), most=2)
    assert decoder.decode_clips(clips) == [best.signs for best, _ in together]
    assert decoder.decode_clips([]) == []
    for answer, clip in zip(together, clips, strict=True):
        (alone,) = decoder.hypotheses(clip[None], most=2)
        assert [one.signs for one in answer] == [one.signs for one in alone]
        assert [one.score for one in answer] == pytest.approx([one.score for one in alone])


def test_a_long_recording_is_decoded_sign_by_sign() -> None:
    signs = np.random.default_rng(0).integers(1, 21, 300)
    path = np.concatenate([[BLANK, sign, sign, BLANK] for sign in signs])
    assert ContinuousDecoder().decode(log_softmax(6 * np.eye(21)[path])[None]) == [tuple(signs)]


def test_a_frame_that_may_show_any_of_many_signs_still_shows_a_sign() -> None:
    """One frame almost certainly shows one of fifty signs, and one of them is a little more probable."""
    log_probs = np.full((5, 51), np.log(0.01 / 50))
    log_probs[:, BLANK] = np.log(0.99)
    log_probs[2] = np.log([0.1, *[0.9 / 50] * 50])
    log_probs[2, 7] += 0.1
    log_probs = log_softmax(log_probs)[None]
    assert ContinuousDecoder().decode(log_probs) == [()]
    assert ContinuousDecoder(undoubted=True).decode(log_probs) == [(7,)]


def test_probability_over_many_alignments_adds_up_unlike_on_the_best_path() -> None:
    """Blank is the best class of each frame, but a sign is more probable than no sign."""
    log_probs = np.log(np.tile([0.6, 0.35, 0.05], (3, 1)))
    assert best_path(log_probs) == []
    assert ContinuousDecoder().decode(log_probs[None]) == [(1,)]


def test_a_blank_penalty_adds_signs_and_an_insertion_penalty_removes_them() -> None:
    log_probs = np.log(np.tile([0.9, 0.09, 0.01], (4, 1)))

    def decoded(**penalties: float) -> Path:
        return ContinuousDecoder(**penalties).decode(log_probs[None])[0]  # type: ignore[arg-type]

    assert decoded() == ()
    assert decoded(blank_penalty=2.0) == (1,)
    assert decoded(blank_penalty=2.0, insertion_penalty=3.0) == ()


def test_a_repetition_penalty_merges_only_a_repeated_sign() -> None:
    path = np.array([BLANK, 1, BLANK, 1, BLANK, 2, BLANK])
    log_probs = log_softmax(4 * np.eye(3)[path])[None]
    assert ContinuousDecoder().decode(log_probs) == [(1, 1, 2)]
    assert ContinuousDecoder(repetition_penalty=5.0).decode(log_probs) == [(1, 2)]


def test_log_probabilities_that_are_not_finite_are_refused() -> None:
    log_probs = posteriors(6, 3, 0)
    log_probs[2] = np.nan
    with pytest.raises(InvalidInput, match="not finite"):
        ContinuousDecoder().decode(np.stack([posteriors(6, 3, 1), log_probs]))


def test_unusable_settings_of_a_decoder_are_refused_with_advice() -> None:
    with pytest.raises(InvalidSetting, match="width of 1 or more"):
        ContinuousDecoder(beam_width=0)
    with pytest.raises(InvalidSetting, match="insertion_penalty=nan: give a finite number of nats"):
        ContinuousDecoder(insertion_penalty=float("nan"))


def test_the_second_class_is_tried_where_the_best_could_only_repeat_the_last_sign() -> None:
    """With a beam of one prefix, two classes of each frame must be tried."""
    log_probs = np.log([[[0.05, 0.9, 0.05], [0.9, 0.05, 0.05], [0.05, 0.5, 0.45]]])
    assert ContinuousDecoder(1, repetition_penalty=20.0).decode(log_probs) == [(1, 2)]


@pytest.mark.parametrize(
    ("seed", "undoubted", "digest", "total"),
    [(0, False, "6f5339365a4107c8", -206.334709837), (1, True, "3483d660514f9483", -68.4222184188)],
)
def test_hypotheses_are_those_of_older_versions_however_many_frames_are_prepared_together(
    monkeypatch: pytest.MonkeyPatch, seed: int, undoubted: bool, digest: str, total: float
) -> None:
    """Five clips of 3 to 40 frames and 5 signs."""
    count = 5 * 40 * 6
    logits = np.sin((np.arange(count) + 1) * 12.9898 + seed * 78.233) * 43758.5453 % 1
    log_probs = log_softmax(5 * logits.reshape(5, 40, 6))
    decoder = ContinuousDecoder(3, 0.5, 0.3, 8.0, undoubted)
    for prepared in (beam._PREPARED, 5 * 6 * 7, 1):
        monkeypatch.setattr(beam, "_PREPARED", prepared)
        found = decoder.hypotheses(log_probs, [40, 17, 25, 3, 40], most=2)
        signs = json.dumps([[hypothesis.signs for hypothesis in clip] for clip in found])
        assert hashlib.sha256(signs.encode()).hexdigest()[:16] == digest
        assert sum(hypothesis.score for clip in found for hypothesis in clip) == pytest.approx(total)
