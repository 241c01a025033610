"""Stick figures: which joints are joined, in which colour, and at which place."""

import re
from dataclasses import replace

import numpy as np
import pytest

from services.trainer.features.phonology import NOSE
from services.trainer.inspection.clip.body_view import DOMINANT, NON_DOMINANT, BodyView, compute_body_view
from services.trainer.inspection.clip.skeleton import draw_films, draw_pictures
from signet.landmarks import LEFT_HAND, RIGHT_HAND, Landmarks, to_model_input
from tests.services.trainer.conftest import moving_clip

CLIP = moving_clip("c", "who", "val", 3)
VIEW = compute_body_view(to_model_input(CLIP))


def pictures(body: str) -> list[str]:
    """The pictures of a film."""
    return body.split('<g class="picture')[1:]


def captions(view: BodyView) -> list[str]:
    return re.findall(r'class="soft middle">([^<]+)<', draw_pictures(view).body)


def repeat(view: BodyView, frames: int) -> BodyView:
    chosen = np.arange(frames) % view.frames
    return replace(view, joints=view.joints[chosen], present=view.present[chosen])


def test_pictures_are_at_even_distances_and_the_last_one_shows_the_wrists() -> None:
    assert captions(repeat(VIEW, 3)) == ["0.0 s", "0.1 s", "0.2 s", "paths of the wrists"]
    labels = captions(repeat(VIEW, 27))
    assert labels == [f"{n / 5:.1f} s" for n in range(14)] + ["paths of the wrists"]


def test_pictures_stand_in_rows_of_five() -> None:
    drawing = draw_pictures(repeat(VIEW, 6))
    places = re.findall(r'<svg x="([\d.]+)" y="([\d.]+)" width="150"', drawing.body)
    assert [float(x) for x, _ in places] == [0, 160, 320, 480, 640, 0, 160]
    assert [float(y) for _, y in places] == [0] * 5 + [pytest.approx(150 * 3.2 / 3.3 + 26, abs=0.1)] * 2
    assert drawing.width == 790


def test_a_joint_is_drawn_at_its_place_in_the_picture() -> None:
    joints = np.zeros_like(VIEW.joints[:1])
    joints[0, NOSE] = (1.65, -1.45)
    view = replace(VIEW, joints=joints, present=np.array([[True, False, False]]))
    body = draw_pictures(view).body
    assert 'class="posed" cx="150" cy="0"' in body, "the nose is in the upper right corner"
    # The origin: 1.65 of 3.3 from the left, 1.45 of 3.3 from the top of 150 pixels.
    assert re.search(r'class="axis" d="M0 65\.9H150M75 0V145\.5"', body)


def test_a_wrist_path_is_interrupted_where_the_hand_is_absent() -> None:
    present = np.zeros((6, 3), np.bool_)
    present[[0, 1, 4, 5], 2] = True
    present[2:5, 1] = True
    joints = np.zeros((6, VIEW.joints.shape[1], 2), np.float32)
    joints[:, DOMINANT.start, 0] = np.arange(6) * 0.22
    joints[:, NON_DOMINANT.start, 0] = np.arange(6) * -0.22
    body = draw_pictures(replace(VIEW, joints=joints, present=present)).body
    y = "65.9"
    assert re.findall(r'class="bone lead path" d="([^"]+)"', body) == [f"M75 {y}L85 {y}", f"M115 {y}L125 {y}"]
    assert re.findall(r'class="bone follow path" d="([^"]+)"', body) == [f"M55 {y}L45 {y}L35 {y}"]
    assert re.findall(r'class="(?:lead|follow)" cx="([\d.]+)"', body) == ["35", "85", "125"], "a dot at each end"


@pytest.mark.parametrize("mirrored", [False, True])
def test_in_the_stored_film_the_leading_hand_is_the_right_one_unless_the_clip_is_mirrored(mirrored: bool) -> None:
    presence, landmarks = CLIP.presence.copy(), CLIP.landmarks.copy()
    presence[0], presence[1], presence[2:] = (0, 1, 0), (0, 0, 1), (1, 0, 0)
    landmarks[:, LEFT_HAND] = 0.25
    landmarks[:, RIGHT_HAND] = 0.75
    clip = replace(CLIP, presence=presence, landmarks=landmarks)
    stored, _ = draw_films(clip, replace(VIEW, mirrored=mirrored))
    left, right, body = pictures(stored.drawing.body)[:3]
    dominant, non_dominant = (left, right) if mirrored else (right, left)
    assert ("bone lead" in dominant, "bone follow" in dominant, "posed" in dominant) == (True, False, False)
    assert ("bone lead" in non_dominant, "bone follow" in non_dominant) == (False, True)
    assert ("bone pose" in body, "bone unused" in body, "posed" in body) == (True, True, True)
    # 0.25 and 0.75 of a height of 320 pixels.
    assert "M80 80L80 80" in left
    assert "M240 240L240 240" in right


def test_a_film_shows_the_latest_frame_at_each_instant() -> None:
    times = np.array([0.0, 0.04, 0.2], np.float32)
    record = CLIP.record.model_copy(update={"fps": 25.0})
    clip = Landmarks(CLIP.landmarks[:3], CLIP.presence[:3], CLIP.visibility[:3], times, record)
    stored, seen = draw_films(clip, repeat(VIEW, 2))
    shown = [re.search(r">([\d.]+) s<", picture).group(1) for picture in pictures(stored.drawing.body)]  # type: ignore[union-attr]
    assert shown == ["0.00", "0.04", "0.04", "0.04", "0.04", "0.20"]
    assert stored.duration == seen.duration == pytest.approx(0.24)


def test_hands_and_body_are_drawn_only_where_they_are_present() -> None:
    view = repeat(VIEW, 3)
    view = replace(view, present=np.eye(3, dtype=np.bool_), joints=np.zeros_like(view.joints))
    _, seen = draw_films(CLIP, view)
    kinds = [set(re.findall(r"bone (\w+)", picture)) for picture in pictures(seen.drawing.body)]
    assert kinds == [{"pose"}, {"follow"}, {"lead"}]
