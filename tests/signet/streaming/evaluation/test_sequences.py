"""Sequences that are made from clips."""

from collections import Counter

import numpy as np

from signet.landmarks import ClipRecord, Landmarks
from signet.landmarks.concatenation import Joining
from signet.streaming.evaluation.sequences import find_left_handed, make_idle_sequences, make_sequences
from tests.signet.streaming.signing import camera_frame

LENGTHS = (3, 4)


def clip(number: int) -> Landmarks:
    """A person who rests for half a second, signs for a second with the right hand, and rests again."""
    times = np.arange(60) / 30
    joints = np.array([camera_frame(float(time), ((0.5, 1 + number % 3),)) for time in times], np.float16)
    present = np.isfinite(joints[:, [0, 33, 54], 0]).astype(np.uint8)
    return Landmarks(
        landmarks=joints,
        presence=present,
        visibility=np.ones((60, 33), np.float16),
        timestamps=times.astype(np.float32),
        record=ClipRecord(
            clip_id=f"c{number}", gloss=f"g{number}", signer="a", fps=30, width=640, height=480, frame_end=60
        ),
    )


CLIPS = [clip(number) for number in range(11)]


def test_each_clip_is_in_one_sequence_and_the_same_seed_gives_the_same_sequences() -> None:
    sequences = make_sequences(CLIPS, Joining.RESTS_CUT, 1, LENGTHS)
    glosses = [[span.gloss for span in sequence.signs] for sequence in sequences]
    counts = Counter(gloss for signs in glosses for gloss in signs)
    assert set(counts.values()) == {1}
    assert len(CLIPS) - len(counts) < min(LENGTHS), "a rest that is too short for a sequence"
    assert all(len(signs) in LENGTHS for signs in glosses[:-1])
    again = make_sequences(CLIPS, Joining.AS_THEY_ARE, 1, LENGTHS)
    assert [[span.gloss for span in sequence.signs] for sequence in again] == glosses
    assert sequences[0].frames[0][0] == 0
    assert sequences[0].frames[-1][0] == sequences[0].seconds


def test_every_second_sequence_has_a_left_handed_signer() -> None:
    assert find_left_handed(CLIPS) == frozenset()
    sequences = make_sequences(CLIPS, Joining.AS_THEY_ARE, 1, LENGTHS)
    hands = [np.isfinite(sequence.landmarks.landmarks[:, [33, 54], 0]).any(axis=0).tolist() for sequence in sequences]
    assert hands == [[number % 2 == 1, number % 2 == 0] for number in range(len(sequences))]


def test_idle_sequences_have_no_sign_and_no_raised_hand() -> None:
    sequences = make_idle_sequences(CLIPS, 1, LENGTHS)
    assert len(sequences) == len(make_sequences(CLIPS, Joining.AS_THEY_ARE, 1, LENGTHS))
    for sequence in sequences:
        assert sequence.signs == ()
        assert not np.isfinite(sequence.landmarks.landmarks[:, 33:, 0]).any()
        assert sequence.seconds > 3 * 0.9
