"""Every number that a model measures has a name, and the name is right."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from services.trainer.features import groups as feature_names
from services.trainer.features.groups import BOTH_GROUPS, GROUPS, HAND_GROUPS
from services.trainer.features.phonology import PART_STARTS, USED_JOINTS, Features
from signet.landmarks import JOINTS, LEFT_HAND, RIGHT_HAND

Frames = npt.NDArray[np.float32]


def body() -> Frames:
    """Four frames of a body with both hands, flat towards the camera and open, fingers up: [T, 75, 3]."""
    frames = np.zeros((4, JOINTS, 3), np.float32)
    frames[:, 0, :2], frames[:, 9, :2], frames[:, 10, :2] = (0.8, 0.2), (0.82, 0.25), (0.78, 0.25)
    frames[:, 11, :2], frames[:, 12, :2] = (1.0, 0.4), (0.6, 0.4)
    frames[:, 13, :2], frames[:, 14, :2] = (1.1, 0.6), (0.5, 0.6)
    frames[:, 15, :2], frames[:, 16, :2] = (1.0, 0.7), (0.6, 0.7)
    for where, wrist, thumb in ((LEFT_HAND, (1.0, 0.7), -1), (RIGHT_HAND, (0.6, 0.7), 1)):
        hand = np.zeros((21, 3), np.float32)
        for finger in range(5):
            for joint in range(4):
                hand[1 + 4 * finger + joint] = (thumb * 0.02 * (2 - finger), -0.05 - 0.03 * joint, 0)
        frames[:, where] = hand + np.array([*wrist, 0])
    return frames


def measured(frames: Frames) -> dict[str, npt.NDArray[np.float32]]:
    """By name, of the right hand and of both: [T] each."""
    joints = torch.from_numpy(frames[:, USED_JOINTS].copy()).permute(2, 1, 0)[:, :, None]
    present = ~joints[0, PART_STARTS].isnan()
    features = Features(GROUPS)
    values = features(joints.nan_to_num(), present, torch.tensor([len(frames)]))[0].numpy()
    hand, both = feature_names.hand_feature_names(GROUPS), feature_names.two_hand_feature_names(GROUPS)
    right = values[:, features.hand_size : 2 * features.hand_size]
    names = [f"{group}: {name}" for group, name in (*hand, *both)]
    return dict(zip(names, np.concatenate([right, values[:, 2 * features.hand_size :]], axis=1).T, strict=True))


def test_there_are_as_many_names_as_numbers_and_no_two_are_the_same() -> None:
    measure, present = Features(), torch.ones(3, 1, 2, dtype=torch.bool)
    assert measure(torch.rand(3, len(USED_JOINTS), 1, 2), present, torch.tensor([2])).shape == (1, 2, measure.size)
    for names, sizes in ((feature_names.HAND_FEATURES, HAND_GROUPS), (feature_names.TWO_HAND_FEATURES, BOTH_GROUPS)):
        assert {group: len(of_group) for group, of_group in names.items()} == sizes
        assert all(len(set(of_group)) == len(of_group) for of_group in names.values())
    assert set(feature_names.UNITS) == set(GROUPS)


def test_groups_that_are_left_out_have_no_names() -> None:
    assert {group for group, _ in feature_names.hand_feature_names(("location", "hands"))} == {"location"}
    assert {group for group, _ in feature_names.two_hand_feature_names(("location", "hands"))} == {"hands"}
    assert (
        len(feature_names.hand_feature_names(("location", "movement"))) == Features(("location", "movement")).hand_size
    )


def test_names_say_what_is_measured_of_a_body_at_rest() -> None:
    found = {name: float(values[0]) for name, values in measured(body()).items()}
    # The shoulders are 0.4 apart, and their middle is at (0.8, 0.4); a palm has a quarter of that, 0.1.
    for name, value in {
        "handshape: middle straight at its second joint": 1.0,
        "handshape: ring along little": 1.0,
        "outline: middle root, x": 0.0,
        "outline: middle root, y": -0.5,
        "outline: thumb tip, x": 0.4,
        "orientation: hand points, y": -1.0,
        "orientation: palm faces, z": -1.0,
        "orientation: index points, y": -1.0,
        "location: wrist from shoulders, x": -0.5,
        "location: wrist from shoulders, y": 0.75,
        "location: wrist from nose, y": 1.25,
        "location: elbow from wrist, x": -0.25,
        "movement: wrist's speed": 0.0,
        "presence: hand found": 1.0,
        "presence: body found": 1.0,
        "hands: wrist to wrist, x": -1.0,
        "hands: wrist to wrist": 1.0,
        "hands: dominant index tip from other wrist, y": -0.35,
    }.items():
        assert found[name] == pytest.approx(value, abs=1e-5), name


def _moved(frames: Frames, joint: int, x: float, y: float) -> Frames:
    """One joint of the right hand is elsewhere in the third frame."""
    frames = frames.copy()
    frames[2, RIGHT_HAND.start + joint, :2] += (x, y)
    return frames


@pytest.mark.parametrize(
    ("joint", "names"),
    [
        (8, ("handshape: index tip from thumb tip", "handshape: middle tip from index tip", "outline: index tip, x",
             "handshape: index straight at its third joint", "contact: index tip from nose, x",
             "movement: index tip's velocity, x", "hands: index tip to index tip, x")),
        (4, ("handshape: thumb straight at its third joint", "handshape: index tip from thumb tip",
             "outline: thumb tip, x", "movement: thumb tip's velocity, x")),
        (20, ("handshape: little tip from wrist", "handshape: little tip from ring tip", "outline: little tip, x",
              "movement: little tip's velocity, x")),
    ],
)  # fmt: skip
def test_a_fingertip_that_moves_changes_what_is_named_after_it_and_no_other_finger(
    joint: int, names: tuple[str, ...]
) -> None:
    before, after = measured(body()), measured(_moved(body(), joint, 0.03, 0.0))
    changed = {name for name in before if not np.allclose(before[name], after[name], atol=1e-6)}
    assert set(names) <= changed
    tip = {4: "thumb", 8: "index", 20: "little"}[joint]
    for name in changed:
        assert tip in name, name


def test_a_hand_that_moves_outwards_has_a_velocity_and_comes_near_to_something() -> None:
    frames = body()
    for frame in range(4):
        frames[frame, RIGHT_HAND, 1] -= 0.1 * frame
    before, after = measured(body()), measured(frames)
    assert after["movement: wrist's velocity, y"][1] == pytest.approx(-0.25, abs=1e-5)
    assert after["movement: wrist's speed"][1] == pytest.approx(0.25, abs=1e-5)
    assert after["movement: wrist's velocity, x"][1] == pytest.approx(0, abs=1e-5)
    assert after["contact: near own shoulder"][3] > before["contact: near own shoulder"][3]
    assert after["contact: near own shoulder"][3] > after["contact: near other shoulder"][3]
