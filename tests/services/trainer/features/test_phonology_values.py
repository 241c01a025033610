"""Every feature has the value that its definition gives, on bodies and hands that are turned about all axes."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from services.trainer.features.groups import GROUPS, hand_feature_names, two_hand_feature_names
from services.trainer.features.phonology import PART_STARTS, USED_JOINTS, Features
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


@pytest.mark.parametrize("more", [1, 9, 10, 11])
def test_the_left_hand_is_dominant_where_it_is_found_in_more_than_a_tenth_more_of_the_frames(more: int) -> None:
    clip = oblique_clip(5, frames=100)
    clip[5 : 5 + more, RIGHT] = np.nan
    values = measured([clip])[0]
    assert_as_defined(clip, values)
    dominant = values[:, NAMES.index("dominant: presence: hand found")]
    assert bool(dominant.all()) is (more == 11), "the left hand is dominant, and is found throughout"


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
