"""What a model sees of a clip: joints, parts and features."""

import numpy as np
import pytest

from services.trainer.features.groups import GROUPS
from services.trainer.features.phonology import NOSE, SHOULDERS, Features
from services.trainer.inspection.clip.body_view import (
    DOMINANT,
    NON_DOMINANT,
    FeatureRow,
    FeatureStatistics,
    compute_body_view,
)
from signet.landmarks import JOINTS, LEFT_HAND, POSE, RIGHT_HAND, to_model_input
from tests.services.trainer.conftest import moving_clip

FRAMES = to_model_input(moving_clip("c", "who", "val", 3))


def test_joints_are_relative_to_the_shoulders() -> None:
    view = compute_body_view(FRAMES)
    assert (view.mirrored, view.by_body, view.frames) == (False, True, len(FRAMES))
    assert view.scale == pytest.approx(0.25, abs=0.01)
    shoulders = view.joints[:, SHOULDERS]
    np.testing.assert_allclose(shoulders.mean(axis=(0, 1)), 0, atol=0.01)
    np.testing.assert_allclose(np.linalg.norm(shoulders[:, 0] - shoulders[:, 1], axis=1).mean(), 1, atol=0.01)
    assert (view.joints[:, NOSE, 1] < 0).all(), "y is down"
    assert view.present[:, 2].all()
    assert not view.present[:, 1].any()
    assert np.isnan(view.joints[:, NON_DOMINANT]).all()
    assert np.isfinite(view.joints[:, DOMINANT]).all()


def test_a_clip_led_by_the_left_hand_is_mirrored() -> None:
    left = FRAMES.copy()
    left[:, :, 0] = 1.25 - left[:, :, 0]
    left[:, [LEFT_HAND.start + n for n in range(21)]], left[:, [RIGHT_HAND.start + n for n in range(21)]] = (
        left[:, RIGHT_HAND].copy(),
        left[:, LEFT_HAND].copy(),
    )
    for a, b in ((9, 10), (11, 12), (13, 14), (15, 16)):
        left[:, [a, b]] = left[:, [b, a]]
    as_is, mirrored = compute_body_view(FRAMES), compute_body_view(left)
    assert mirrored.mirrored
    np.testing.assert_allclose(mirrored.joints, as_is.joints, atol=1e-4)
    for one, other in zip(mirrored.dominant, as_is.dominant, strict=True):
        assert one.name == other.name
        np.testing.assert_allclose(one.values, other.values, atol=1e-3)


def test_without_a_body_its_place_is_estimated_and_no_contact_is_measured() -> None:
    bodyless = FRAMES.copy()
    bodyless[:, POSE] = np.nan
    view = compute_body_view(bodyless)
    assert not view.by_body
    assert np.isnan(view.joints[:, NOSE]).all()
    assert np.isfinite(view.joints[:, DOMINANT]).all()
    near = next(one for one in view.dominant if one.name == "near nose")
    assert np.isnan(near.values).all()
    straight = next(one for one in view.dominant if one.name == "index straight at its root")
    assert np.isfinite(straight.values).all()


def test_a_clip_without_any_part_has_a_view() -> None:
    view = compute_body_view(np.full((1, JOINTS, 3), np.nan, np.float32))
    assert not view.present.any()
    assert len(view.dominant) == Features(GROUPS).hand_size


def test_features_are_standardised_and_only_the_groups_of_the_model_are_there() -> None:
    groups = ("location", "presence")
    size = Features(groups).size
    plain, standard = (
        compute_body_view(
            FRAMES, groups, FeatureStatistics(np.full(size, mean, np.float32), np.full(size, 0.5, np.float32))
        )
        for mean in (0.0, 1.0)
    )
    assert {one.group for one in plain.dominant} == {"location", "presence"}
    assert {one.group for one in plain.both} == {"presence"}
    np.testing.assert_allclose(plain.dominant[0].values - standard.dominant[0].values, 2, rtol=1e-5)


def test_a_feature_has_values_only_where_its_parts_are_present() -> None:
    frames = np.concatenate([FRAMES[:4], FRAMES[:4], FRAMES[:4]])
    frames[4:8, RIGHT_HAND] = np.nan
    frames[8:, POSE] = np.nan
    view = compute_body_view(frames)

    def frames_with_values(rows: tuple[FeatureRow, ...], group: str) -> list[bool]:
        (known,) = {tuple(np.isfinite(row.values).tolist()) for row in rows if row.group == group}
        return [known[0], known[4], known[8]]

    # With body and hand, without the hand, without the body.
    assert frames_with_values(view.dominant, "handshape") == [True, False, True]
    assert frames_with_values(view.dominant, "location") == [True, True, True]
    assert frames_with_values(view.dominant, "movement") == [True, True, True]
    assert frames_with_values(view.dominant, "contact") == [True, False, False]
    assert frames_with_values(view.non_dominant, "handshape") == [False, False, False]
    assert frames_with_values(view.non_dominant, "location") == [True, True, False]
    assert frames_with_values(view.both, "hands") == [True, True, True]


def test_a_body_in_one_frame_is_enough_to_measure_its_place() -> None:
    frames = FRAMES.copy()
    frames[1:, POSE] = np.nan
    assert compute_body_view(frames).by_body
