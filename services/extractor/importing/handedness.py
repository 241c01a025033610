"""Assigns hands to the signer's left and right, for archives that do not tell them apart.

Position and chirality of each hand give evidence for a side. The most probable assignment of a whole clip is then
found, because a hand seldom jumps.
99 % of the hands of unseen signers get the correct side (docs/experiments.md).
"""

import numpy as np
import numpy.typing as npt

# MediaPipe's hand joints.
_WRIST, _THUMB_TIP, _INDEX, _MIDDLE, _MIDDLE_TIP, _RING_TIP, _PINKY = 0, 4, 5, 9, 12, 16, 17

# Log-odds of "right" per unit of `_cues`: logistic regression on the hands of the comparison above.
_WEIGHTS = np.array([-16.9, 9.6, 1.1, 1.2, 3.8, 0.3, 0.7], np.float32)
_CUE_LIMIT = 4.0

# A hand that moves this far per frame (in frame heights) is as likely to be the other hand.
_STRIDE = 0.05
# Cost in nats of a hand that appears in a new place.
_APPEARANCE = 4.0
# Two hands whose joints are closer than this, in palm lengths, are one hand that was found twice.
_SAME_HAND = 0.5


def assign_sides(hands: npt.NDArray[np.float32], midline: float) -> npt.NDArray[np.float32]:
    """Assign the hands of a clip to left and right.

    Args:
        hands: float32 [T, 2, 21, 3]; x, y, z in frame heights; NaN where a slot is empty.
        midline: x of the signer's body, in frame heights.

    Returns:
        float32 [T, 2, 21, 3]: the signer's left and right hand; NaN where a hand was not found.
    """
    found = np.isfinite(hands).all(axis=(2, 3))
    hands = hands.copy()
    found[_same_hand(hands, found), 1] = False
    hands[~found] = np.nan
    swapped = _swapped(hands, found, right_hand_odds(hands, found, midline))
    hands[swapped] = hands[swapped][:, ::-1]
    return hands


def right_hand_odds(
    hands: npt.NDArray[np.float32], found: npt.NDArray[np.bool_], midline: float
) -> npt.NDArray[np.float32]:
    """Log-odds that each hand is the signer's right hand: float32 [T, 2]; 0 where there is no hand.

    Args:
        hands: float32 [T, 2, 21, 3] in frame heights.
        found: bool [T, 2]; whether a slot holds a hand.
        midline: x of the signer's body, in frame heights.
    """
    odds = np.zeros(found.shape, np.float32)
    odds[found] = _cues(hands[found], midline) @ _WEIGHTS
    return odds


def _cues(hands: npt.NDArray[np.float32], midline: float) -> npt.NDArray[np.float32]:
    """Cues that tell left from right: float32 [N, 7]. Each cue changes its sign when the picture is mirrored.

    The cues are: x of the wrist and of the knuckles relative to the middle of the body, the direction of the thumb,
    whether the palm faces the camera, and chirality: the side of the palm's plane to which thumb and fingers bend.
    """
    wrist = hands[:, _WRIST]
    size = np.linalg.norm(hands[:, [_INDEX, _MIDDLE, _PINKY]] - wrist[:, None], axis=2).mean(axis=1) + 1e-3
    shape = (hands - wrist[:, None]) / size[:, None, None]
    normal = np.cross(shape[:, _INDEX], shape[:, _PINKY])
    palm = (shape[:, _INDEX] + shape[:, _PINKY]) / 2
    bend = [np.einsum("nc,nc->n", normal, shape[:, tip] - palm) for tip in (_THUMB_TIP, _MIDDLE_TIP, _RING_TIP)]
    cues = [
        (wrist[:, 0] - midline) / 0.25,
        (hands[:, _MIDDLE, 0] - midline) / 0.25,
        shape[:, _THUMB_TIP, 0],
        normal[:, 2],
        *bend,
    ]
    stacked: npt.NDArray[np.float32] = np.stack(cues, axis=1).astype(np.float32)
    return stacked.clip(-_CUE_LIMIT, _CUE_LIMIT)


def _same_hand(hands: npt.NDArray[np.float32], found: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Frames whose two slots have the same hand: bool [T]."""
    same = np.zeros(len(hands), bool)
    both = found.all(axis=1)
    pair = hands[both]
    palm = np.linalg.norm(pair[:, :, _MIDDLE] - pair[:, :, _WRIST], axis=2).mean(axis=1)
    apart = np.linalg.norm((pair[:, 0] - pair[:, 1])[..., :2], axis=2).mean(axis=1)
    same[both] = apart < _SAME_HAND * palm
    return same


def _swapped(
    hands: npt.NDArray[np.float32], found: npt.NDArray[np.bool_], odds: npt.NDArray[np.float32]
) -> npt.NDArray[np.bool_]:
    """Frames whose first slot is the right hand: bool [T].

    The most probable sequence (Viterbi) of two states, slot 0 is left or slot 0 is right, over the frames with a hand.
    It combines the evidence of each hand with the assumption that a hand moves little from frame to frame.
    """
    frames = np.flatnonzero(found.any(axis=1))
    swapped = np.zeros(len(hands), bool)
    if not len(frames):
        return swapped
    where = hands[frames][:, :, [_WRIST, _MIDDLE], :2].mean(axis=2)
    gap = np.diff(frames)[:, None, None]
    distance = np.linalg.norm(where[1:, :, None] - where[:-1, None, :], axis=3)  # [frame, now, before]
    cost = _APPEARANCE * np.minimum(np.nan_to_num(distance / (_STRIDE * gap), nan=1.0), 1.0) / gap
    cost[~found[frames[1:]]] = 0.0  # an empty slot costs nothing
    stay = (cost[:, 0, 0] + cost[:, 1, 1]).tolist()
    turn = (cost[:, 0, 1] + cost[:, 1, 0]).tolist()
    # Half the difference of the evidence for the two states. The state "slot 0 is right" has the negative value.
    evidence = ((odds[frames, 1] - odds[frames, 0]) / 2).tolist()

    left, right = -evidence[0], evidence[0]  # costs of the best path to "slot 0 is left" and to "slot 0 is right"
    back = []  # for each of the two states, whether the previous state was "slot 0 is right"
    for index in range(1, len(frames)):
        stays, turns, own = stay[index - 1], turn[index - 1], evidence[index]
        back.append((right + turns < left + stays, right + stays <= left + turns))
        left, right = min(left + stays, right + turns) - own, min(left + turns, right + stays) + own
    state = right < left
    swapped[frames[-1]] = state
    for index in range(len(back) - 1, -1, -1):
        state = back[index][state]
        swapped[frames[index]] = state
    return swapped
