"""Every feature has the value that its definition gives, on bodies and hands that are turned about all axes."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from services.trainer.features.groups import GROUPS, hand_feature_names, two_hand_feature_names
from services.trainer.features.phonology import PART_STARTS, USED_JOINTS, Features, left_dominance
from tests.services.trainer.features.reference import HAND_STARTS, Frames, oblique_clip, reference_features

POSE = slice(0, 33)
LEFT, RIGHT = (slice(start, start + 21) for start in HAND_STARTS)

NAMES = [
    *(
        f"{hand}: {group}: {name}"
        for hand in ("non-dominant", "dominant")
        for group, name in hand_feature_names(GROUPS)
    ),
    *(f"{group}: {name}" for group, name in two_hand_feature_names(GROUPS)),
]


def measured(clips: list[Frames]) -> list[torch.Tensor]:
    """The features of these clips, measured as one batch: [T, D] of each."""
    lengths = torch.tensor([len(clip) for clip in clips])
    frames = [torch.from_numpy(clip[:, USED_JOINTS]).float() for clip in clips]
    joints = torch.nn.utils.rnn.pad_sequence(frames, batch_first=True, padding_value=0.7).permute(3, 2, 0, 1)
    present = ~joints[0, PART_STARTS].isnan()
    features = Features()(joints.nan_to_num(), present, lengths)
    return [row[:length] for row, length in zip(features, lengths, strict=True)]


def assert_as_defined(clip: Frames, values: torch.Tensor) -> None:
    expected = reference_features(clip)
    assert set(NAMES) == set(expected[0])
    assert values.shape == (len(clip), len(NAMES))
    for t, frame in enumerate(expected):
        for name, value in zip(NAMES, values[t].tolist(), strict=True):
            assert value == pytest.approx(frame[name], abs=2e-4, rel=2e-4), f"{name} in frame {t}"


def nothing_lost(clip: Frames) -> None:
    """All parts are present in all frames."""


def hands_lost_for_a_while(clip: Frames) -> None:
    clip[2:5, LEFT] = clip[4:6, RIGHT] = clip[9, LEFT] = clip[12, RIGHT] = np.nan


def body_lost_for_a_while(clip: Frames) -> None:
    clip[3:7, POSE] = clip[5:8, RIGHT] = np.nan


def body_lost_throughout(clip: Frames) -> None:
    clip[:, POSE] = clip[8:10, LEFT] = np.nan


def left_hand_is_dominant(clip: Frames) -> None:
    clip[3:9, RIGHT] = clip[11:, LEFT] = clip[2, POSE] = np.nan


def only_a_left_hand(clip: Frames) -> None:
    clip[:, RIGHT] = np.nan


def hands_much_smaller_than_the_body(clip: Frames) -> None:
    for hand in (LEFT, RIGHT):
        wrist = clip[:, hand.start, None]
        clip[:, hand] = wrist + 0.02 * (clip[:, hand] - wrist)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    "lose",
    [nothing_lost, hands_lost_for_a_while, body_lost_for_a_while, body_lost_throughout, left_hand_is_dominant,
     only_a_left_hand, hands_much_smaller_than_the_body],
)  # fmt: skip
def test_every_feature_has_the_value_of_its_definition(lose: Callable[[Frames], None], seed: int) -> None:
    clip = oblique_clip(seed)
    lose(clip)
    assert_as_defined(clip, measured([clip])[0])


def test_clips_of_a_batch_are_measured_as_each_alone() -> None:
    clips = [oblique_clip(2, frames=14), oblique_clip(3, frames=5), oblique_clip(4, frames=1)]
    left_hand_is_dominant(clips[0])
    for clip, values in zip(clips, measured(clips), strict=True):
        assert_as_defined(clip, values)


def hands_alike(frames: int = 40) -> Frames:
    """A body whose hands rest at the same height: no hand is dominant. The body is 0.4 wide."""
    clip = np.zeros((frames, 75, 3))
    clip[:, [11, 12], 0] = 0.7, 0.3
    hand = np.array([[0.01 * joint, -0.02 * joint, 0.0] for joint in range(21)])
    clip[:, LEFT] = hand * np.array([-1, 1, 1]) + np.array([0.7, 0.6, 0.0])
    clip[:, RIGHT] = hand + np.array([0.3, 0.6, 0.0])
    return clip


def dominance(clip: Frames) -> float:
    joints = torch.from_numpy(clip[None, :, USED_JOINTS]).float().permute(3, 2, 0, 1)
    present = ~joints[0, PART_STARTS].isnan()
    return float(left_dominance(joints.nan_to_num(), present, torch.tensor([len(clip)])))


@pytest.mark.parametrize(("side", "sign"), [(LEFT, 1), (RIGHT, -1)])
def test_the_dominant_hand_is_found_by_presence_movement_and_height(side: slice, sign: int) -> None:
    other = RIGHT if side == LEFT else LEFT
    assert dominance(hands_alike()) == 0

    found_more = hands_alike()
    found_more[:4, other] = np.nan  # the pose's wrist, at the same place, takes over
    found_more[:, [15, 16]] = hands_alike()[:, [LEFT.start, RIGHT.start]]
    assert dominance(found_more) == pytest.approx(sign * 0.1)

    moved = hands_alike()
    sway = 0.1 * np.sin(np.arange(len(moved)))[:, None]
    moved[:, side, 0] += 3 * sway
    moved[:, other, 0] += sway
    assert dominance(moved) == pytest.approx(sign * 0.5 * 0.5, abs=1e-5)

    raised = hands_alike()
    raised[:, side, 1] -= 0.1  # a quarter of the shoulder width
    assert dominance(raised) == pytest.approx(sign * 0.5 * 0.25, abs=1e-5)
    raised[:, side, 1] -= 4.0
    assert dominance(raised) == pytest.approx(sign * 0.5), "the height counts at most as one shoulder width"


def test_a_body_of_hardly_any_width_is_measured_in_hundredths_of_the_frame() -> None:
    clip = 0.01 * oblique_clip(6)
    assert_as_defined(clip, measured([clip])[0])


def test_bones_of_hardly_any_length_have_short_directions() -> None:
    """A hand of a millionth of the body, at the picture's corner, where float32 has digits for it."""
    clip = oblique_clip(7, frames=3)
    for hand in (LEFT, RIGHT):
        clip[:, hand] = 1e-6 * clip[0, hand] * (1 + np.arange(21)[:, None])
    (values,) = measured([clip])
    assert_as_defined(clip, values)
    points = values[:, [NAMES.index(f"dominant: orientation: hand points, {axis}") for axis in "xyz"]]
    assert (points.norm(dim=1) < 0.9).all()


def test_hands_that_move_very_fast_are_alike_at_most_ten_times() -> None:
    clip = oblique_clip(8, frames=6)
    clip[1, LEFT, :2] += 3.0
    clip[1, RIGHT, :2] += 3.0
    (values,) = measured([clip])
    assert_as_defined(clip, values)
    alike = values[:, [NAMES.index(f"hands: moving alike, {axis}") for axis in "xy"]]
    assert (float(alike.min()), float(alike.max())) == (-10, 10)
