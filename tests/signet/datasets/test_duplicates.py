"""Duplicates are found however they were cut and encoded; another take of the same sign is no duplicate."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from signet.datasets.duplicates import MAX_DISTANCE, MAX_STILL_DISTANCE, find_near_duplicates, overlay_clips
from signet.landmarks import JOINTS, LEFT_HAND, POSE, RIGHT_HAND, to_model_input
from tests.reference_landmarks import load_reference_landmarks

Frames = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Recording:
    """A signer whose hands move smoothly for ever, and can be filmed from any moment on."""

    number: int
    # Of the hands' path, in frame heights; a third of a signer's shoulders.
    size: float = 0.12

    def film(
        self,
        start: float = 0.0,
        frames: int = 30,
        *,
        speed: float = 1.0,
        noise: float = 0.0,
        zoom: float = 1.0,
        pan: float = 0.0,
        with_body: bool = True,
    ) -> Frames:
        """Frames from `start` seconds on: float32 [frames, 75, 3]."""
        chance = np.random.default_rng(self.number)
        moments = start + speed * np.arange(frames) / 10
        joints = np.full((frames, JOINTS, 3), np.nan)
        body = chance.normal((0.8, 0.5), 0.1, (33, 2))
        body[[11, 12]] = [[0.98, 0.5], [0.62, 0.5]]
        joints[:, POSE, :2] = body
        for hand, elbow, wrist in ((LEFT_HAND, 13, 15), (RIGHT_HAND, 14, 16)):
            rate, phase = chance.uniform(0.2, 0.9, (3, 2)), chance.uniform(0, 6, (3, 2))
            path = self.size * np.sin(2 * np.pi * rate * moments[:, None, None] + phase).sum(axis=1)
            place = path + body[wrist]
            shape = chance.normal(0, 0.04, (21, 2))
            shape[0] = 0
            opening = 1 + 0.3 * np.sin(moments * chance.uniform(2, 5))
            joints[:, hand, :2] = place[:, None] + opening[:, None, None] * shape
            joints[:, wrist, :2] = place
            joints[:, elbow, :2] = (place + body[elbow - 2]) / 2
        joints[..., 2] = np.where(np.isnan(joints[..., 0]), np.nan, 0)
        joints[..., :2] = zoom * (joints[..., :2] + noise * chance.normal(0, 1, joints[..., :2].shape)) + pan
        if not with_body:
            joints[:, POSE] = np.nan
        return joints.astype(np.float32)


def found(*clips: Frames) -> list[tuple[int, int]]:
    pairs = find_near_duplicates(np.concatenate(clips), [len(clip) for clip in clips])
    return [(pair.first, pair.second) for pair in pairs]


@pytest.mark.parametrize(
    "again",
    [
        pytest.param({}, id="the same frames"),
        pytest.param({"noise": 0.003}, id="encoded again"),
        pytest.param({"start": 0.37, "frames": 24, "noise": 0.002}, id="trimmed, and between two frames"),
        pytest.param({"start": -1.0, "frames": 45, "noise": 0.002}, id="with more around it"),
        pytest.param({"zoom": 1.4, "pan": -0.2, "noise": 0.002}, id="cropped and scaled"),
    ],
)
def test_a_duplicate_is_found_among_other_clips(again: dict[str, float]) -> None:
    others = [Recording(number).film() for number in range(1, 25)]
    clip, duplicate = Recording(0).film(), Recording(0).film(**again)  # type: ignore[arg-type]
    assert found(*others, clip, duplicate) == [(24, 25)]


def test_the_shift_maps_frames_of_one_clip_to_those_of_the_other() -> None:
    clips = [Recording(0).film(), Recording(0).film(start=0.55, frames=25)]
    (pair,) = find_near_duplicates(np.concatenate(clips), [30, 25])
    assert pair.shift == pytest.approx(-5.5, abs=0.25)
    assert pair.distance < 0.02


@pytest.mark.parametrize("other", [{"speed": 1.12}, {"start": 0.0, "speed": 0.9}])
def test_another_take_of_the_same_movement_is_no_duplicate(other: dict[str, float]) -> None:
    assert found(Recording(0).film(), Recording(0).film(**other)) == []  # type: ignore[arg-type]


def test_hands_without_a_body_and_hands_held_still_are_duplicates_only_if_nearly_equal() -> None:
    for recording, with_body in ((Recording(0), False), (Recording(1, size=0.001), True)):
        clip = recording.film(with_body=with_body)
        overlay = overlay_clips(clip, recording.film(noise=0.001, with_body=with_body), 0)
        rougher = overlay_clips(clip, recording.film(noise=0.005, with_body=with_body), 0)
        assert overlay is not None
        assert rougher is not None
        assert not overlay.reliable
        assert overlay.same_recording
        assert MAX_STILL_DISTANCE < rougher.distance < MAX_DISTANCE
        assert not rougher.same_recording


def test_clips_without_landmarks_are_not_duplicates_of_one_another() -> None:
    nothing = np.full((20, JOINTS, 3), np.nan, np.float32)
    assert found(nothing, nothing, Recording(0).film()) == []


def test_clips_that_are_too_short_are_duplicates_only_if_equal() -> None:
    short = Recording(0).film(frames=5)
    assert found(short, Recording(0).film(frames=5, noise=0.001)) == []
    assert found(short, short, short) == [(0, 1), (0, 2)]
    assert found(short) == []


@pytest.mark.parametrize(("start", "pairs"), [(1.1, [(0, 1)]), (1.5, [])])
def test_clips_of_a_recording_are_duplicates_from_six_tenths_in_common_on(
    start: float, pairs: list[tuple[int, int]]
) -> None:
    """Of 30 frames each, 19 or 15 show the same moments."""
    assert found(Recording(0).film(), Recording(0).film(start=start, noise=0.001)) == pairs


@pytest.mark.parametrize(("frames", "pairs"), [(7, []), (9, [(0, 1)])])
def test_clips_of_a_recording_are_duplicates_from_eight_common_frames_on(
    frames: int, pairs: list[tuple[int, int]]
) -> None:
    assert found(Recording(0).film(frames=frames), Recording(0).film(frames=frames, noise=0.001)) == pairs


def test_a_duplicate_is_found_though_the_tracker_erred_in_some_of_its_frames() -> None:
    """The second clip begins 5 frames later. Only windows that are no multiple of 16 are the same in both clips."""
    clip, duplicate = Recording(0).film(), Recording(0).film(start=0.5, noise=0.001)
    duplicate[[0, 17, 22], 15:17, :2] += 0.5
    assert found(clip, duplicate) == [(0, 1)]


def test_a_clip_of_three_windows_is_found_within_another_clip() -> None:
    """It lies between two windows of the longer clip that are compared, so that one of its own must be."""
    assert found(Recording(0).film(frames=31), Recording(0).film(start=0.1, frames=9, noise=0.001)) == [(0, 1)]


def test_a_duplicate_is_found_if_only_each_fourth_window_of_a_clip_lies_in_the_common_part() -> None:
    recording = Recording(0)
    # The windows of the common part begin at frames 9 to 14 of one clip and 1 to 6 of the other, so each clip has one
    # that is searched for: 12 and 4. A search for each eighth window would use 0 and 8, and find nothing. The frame
    # before the common part of the duplicate has no hands, so that it does not count for the distance.
    common = recording.film(frames=12)
    clip = np.concatenate([recording.film(start=40, frames=9), common])
    first_frame = recording.film(frames=1)
    first_frame[:, [15, 16, *range(LEFT_HAND.start, RIGHT_HAND.stop)]] = np.nan
    duplicate = np.concatenate([first_frame, common])
    assert found(clip, duplicate) == [(0, 1)]


def test_a_duplicate_with_hands_held_still_is_found() -> None:
    still = Recording(1, size=0.001)
    assert found(still.film(), still.film(noise=0.0005), Recording(2, size=0.001).film()) == [(0, 1)]


def _with_wrong_left_hand(frames: int) -> Frames:
    """In the first so many frames the left hand is elsewhere; in the others it is lost."""
    clip = Recording(0).film(noise=0.002)
    clip[:frames, LEFT_HAND, :2] += 0.1
    clip[frames:, LEFT_HAND] = np.nan
    return clip


def _with_right_hand_of(other: Recording) -> Frames:
    clip = Recording(0).film(noise=0.002)
    shape = other.film()[:, RIGHT_HAND] - other.film()[:, RIGHT_HAND][:, :1]
    clip[:, RIGHT_HAND] = clip[:, RIGHT_HAND][:, :1] + shape
    return clip


@pytest.mark.parametrize(
    ("other", "shift", "distance", "best_shift", "reliable"),
    [
        pytest.param(Recording(0).film(noise=0.002), 0, 0.0076164507, 0.0, True, id="encoded again"),
        pytest.param(Recording(0).film(start=0.37, noise=0.002), -4, 0.016802016, -3.75, True, id="between two frames"),
        pytest.param(_with_wrong_left_hand(12), 0, 0.160519040, 0.0, True, id="a wrong hand in 12 frames"),
        pytest.param(_with_wrong_left_hand(2), 0, 0.021575245, 0.0, True, id="a wrong hand in 2 frames"),
        pytest.param(_with_right_hand_of(Recording(3)), 0, 0.14571774, 0.0, True, id="another shape of one hand"),
        pytest.param(Recording(0).film(speed=1.05), 0, 0.18199687, 0.0, True, id="another take"),
        pytest.param(Recording(0).film(noise=0.002, with_body=False), 0, 0.0070986930, 0.0, False, id="no body"),
    ],
)
def test_distances_and_shifts_are_those_of_the_version_for_which_the_limits_were_chosen(
    other: Frames, shift: int, distance: float, best_shift: float, reliable: bool
) -> None:
    """These numbers were computed when the limits were chosen; another measure would need other limits."""
    overlay = overlay_clips(Recording(0).film(), other, shift)
    assert overlay is not None
    assert overlay.distance == pytest.approx(distance, rel=1e-4)
    assert (overlay.shift, overlay.reliable) == (best_shift, reliable)


@pytest.mark.parametrize("shift", [-4, -3])
def test_the_best_shift_lies_up_to_three_quarters_of_a_frame_before_or_after_the_given_one(shift: int) -> None:
    recording = Recording(0, size=0.05)
    overlay = overlay_clips(recording.film(), recording.film(start=0.37), shift)
    assert overlay is not None
    assert overlay.shift == -3.75


def test_a_part_that_the_tracker_lost_for_some_frames_does_not_hide_a_duplicate() -> None:
    clip, duplicate = Recording(0).film(), Recording(0).film(noise=0.002)
    duplicate[8:15, LEFT_HAND] = np.nan
    assert found(clip, duplicate) == [(0, 1)]


def test_exactly_the_known_duplicates_of_real_clips_are_found(wlasl: Path) -> None:
    """707 clips of WLASL, of which nine pairs are bit-identical videos; their landmarks are a reference of others."""
    clips = load_reference_landmarks(wlasl)
    inputs = [to_model_input(clip) for clip in clips]
    pairs = find_near_duplicates(np.concatenate(inputs), [len(frames) for frames in inputs])
    assert {(clips[pair.first].record.clip_id, clips[pair.second].record.clip_id) for pair in pairs} == {
        ("00633", "64090"), ("05742", "32255"), ("05743", "32257"), ("17721", "17722"), ("24954", "24955"),
        ("26980", "57283"), ("33273", "49181"), ("40118", "40119"), ("57948", "57949"),
    }  # fmt: skip
