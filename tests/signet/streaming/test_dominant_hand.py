"""Which hand of a stream's signer is dominant."""

import numpy as np

from signet.landmarks.body import Frames, mirror
from signet.streaming.dominant_hand import DominantHand
from tests.signet.streaming.signing import camera_frame


def window() -> Frames:
    """Two seconds in which the right hand signs."""
    return np.stack([camera_frame(time / 10, ((0.0, 2), (1.0, 1))) for time in range(20)])


def test_the_hand_that_signs_is_dominant() -> None:
    hand, mirrored = DominantHand(), DominantHand()
    assert hand.bias == 0
    hand.add(window())
    mirrored.add(mirror(window()))
    assert hand.bias < -2
    assert mirrored.bias > 2


def test_a_decision_outlasts_a_few_other_windows_but_not_many() -> None:
    hand = DominantHand()
    for _ in range(10):
        hand.add(window())
    hand.add(mirror(window()))
    assert hand.bias < 0
    for _ in range(60):
        hand.add(mirror(window()))
    assert hand.bias > 0


def test_what_the_client_says_counts() -> None:
    hand = DominantHand(left_handed=True)
    for _ in range(50):
        hand.add(window())
    assert hand.bias > 2
