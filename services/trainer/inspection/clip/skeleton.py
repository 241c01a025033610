"""Landmarks as stick figures: single pictures of a clip, and films that need no script."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from services.trainer.drawing.svg import Drawing, element, number, polyline, text
from services.trainer.features.phonology import ELBOWS, MOUTH, NOSE, SHOULDERS, WRISTS
from services.trainer.inspection.clip.body_view import DOMINANT, NON_DOMINANT, BodyView
from services.trainer.inspection.posteriors import frame_seconds
from signet.landmarks import FRAME_RATE, LEFT_HAND, RIGHT_HAND, Landmarks

Points = npt.NDArray[np.floating[Any]]

# The lines of a hand: each finger from the wrist to its tip, and the knuckles.
_FINGERS = ((0, 1, 2, 3, 4), (0, 5, 6, 7, 8), (0, 9, 10, 11, 12), (0, 13, 14, 15, 16), (0, 17, 18, 19, 20))
_HAND_LINES = (*_FINGERS, (5, 9, 13, 17))
# The lines of the body among the joints of a `BodyView`.
_BODY_LINES = (
    (SHOULDERS.start, SHOULDERS.start + 1), (SHOULDERS.start, ELBOWS.start, WRISTS.start),
    (SHOULDERS.start + 1, ELBOWS.start + 1, WRISTS.start + 1), (MOUTH.start, MOUTH.start + 1),
)  # fmt: skip

# The same lines among MediaPipe's pose joints; and joints that the model does not use: eyes, ears, hips.
_POSE_LINES = ((11, 12), (11, 13, 15), (12, 14, 16), (9, 10))
_POSE_NOSE = 0
_UNUSED_LINES = ((7, 3, 2, 1), (8, 6, 5, 4), (11, 23, 24, 12))

# The visible part of a picture, in widths of the shoulders: from above the head to the hips.
_LEFT, _RIGHT, _TOP, _BOTTOM = -1.65, 1.65, -1.45, 1.75
_ASPECT = (_BOTTOM - _TOP) / (_RIGHT - _LEFT)

# More pictures make a film too large for a page. A longer film shows fewer pictures a second.
_MAX_FILM_PICTURES = 240
_STORED_HEIGHT, _SEEN_WIDTH = 320.0, 330.0

_COLUMNS, _MAX_PICTURES = 5, 14
_PICTURE, _GAP, _CAPTION = 150.0, 10.0, 16.0


@dataclass(frozen=True)
class Film:
    """Pictures on top of each other. The style of the page shows one at a time."""

    name: str  # name of the film, and the CSS class of its pictures
    drawing: Drawing
    pictures: int
    duration: float  # seconds


def draw_pictures(view: BodyView) -> Drawing:
    """Draw frames at regular intervals, and in a last picture the paths of both wrists through the whole clip."""
    frames = np.unique(_spread_evenly(view.frames, _MAX_PICTURES)).tolist()
    height = _PICTURE * _ASPECT
    contents = [(_draw_figure(view, frame, _PICTURE), f"{frame_seconds(frame):.1f} s") for frame in frames]
    contents.append((_draw_wrist_paths(view), "paths of the wrists"))
    parts = []
    for place, (content, caption) in enumerate(contents):
        x = (place % _COLUMNS) * (_PICTURE + _GAP)
        y = (place // _COLUMNS) * (height + _CAPTION + _GAP)
        # A nested drawing is cut at its edges.
        parts.append(element("svg", _draw_ground(_PICTURE) + content, x=x, y=y, width=_PICTURE, height=height))
        parts.append(text(x + _PICTURE / 2, y + height + 12, caption, class_="soft middle"))
    rows = -(-len(contents) // _COLUMNS)
    width = min(len(contents), _COLUMNS) * (_PICTURE + _GAP) - _GAP
    return Drawing(width, rows * (height + _CAPTION + _GAP), "".join(parts), "The clip at regular intervals")


def draw_films(clip: Landmarks, view: BodyView) -> tuple[Film, Film]:
    """Draw the clip in motion, as it is stored and as the model sees it. Both films have the same duration."""
    times = clip.timestamps.astype(np.float64) - float(clip.timestamps[0])
    duration = max(float(times[-1]) + 1 / clip.record.fps, view.frames / FRAME_RATE)
    return _draw_stored_film(clip, times, view.mirrored, duration), _draw_seen_film(view, duration)


def _draw_seen_film(view: BodyView, duration: float) -> Film:
    """The clip relative to the body, at the model's frame rate."""
    height = _SEEN_WIDTH * _ASPECT
    pictures = []
    for frame in _spread_evenly(view.frames, _MAX_FILM_PICTURES).tolist():
        time = text(_SEEN_WIDTH - 6, height - 7, f"{frame_seconds(frame):.1f} s", class_="soft end")
        pictures.append(_draw_figure(view, frame, _SEEN_WIDTH) + time)
    body = _draw_ground(_SEEN_WIDTH) + _stack("seen", pictures)
    drawing = Drawing(_SEEN_WIDTH, height, body, "The clip as the model sees it, in motion")
    return Film("seen", drawing, len(pictures), duration)


def _draw_stored_film(clip: Landmarks, times: npt.NDArray[np.float64], mirrored: bool, duration: float) -> Film:
    """The clip in the frame of the video, at its own frame rate. Grey lines are joints that the model does not use."""
    # Each instant shows the latest frame, so a clip with a variable frame rate keeps its timing.
    instants = np.arange(max(1, round(duration * clip.record.fps))) / clip.record.fps
    frames = np.clip(np.searchsorted(times, instants + 0.5 / clip.record.fps, side="right") - 1, 0, len(times) - 1)
    width = _STORED_HEIGHT * clip.record.width / clip.record.height
    pictures = []
    for frame in frames[_spread_evenly(len(frames), _MAX_FILM_PICTURES)].tolist():
        joints = clip.landmarks[frame, :, :2].astype(float) * _STORED_HEIGHT
        pose, left, right = clip.presence[frame].astype(bool)
        picture = ""
        if pose:
            picture += _draw_lines(joints, _UNUSED_LINES, "bone unused") + _draw_lines(joints, _POSE_LINES, "bone pose")
            picture += _draw_dot(joints[_POSE_NOSE], "posed")
        for present, hand, is_dominant in ((left, LEFT_HAND, mirrored), (right, RIGHT_HAND, not mirrored)):
            if present:
                picture += _draw_lines(joints[hand], _HAND_LINES, "bone lead" if is_dominant else "bone follow")
        pictures.append(picture + text(width - 6, _STORED_HEIGHT - 7, f"{times[frame]:.2f} s", class_="soft end"))
    ground = element("rect", class_="ground", width=width, height=_STORED_HEIGHT, rx=3)
    body = ground + _stack("stored", pictures)
    drawing = Drawing(width, _STORED_HEIGHT, body, "The clip as it is stored, in motion")
    return Film("stored", drawing, len(pictures), duration)


def _spread_evenly(count: int, most: int) -> npt.NDArray[np.int_]:
    """All indices below `count`, or `most` of them at even distances, the first and the last included."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(int)


def _stack(name: str, pictures: Sequence[str]) -> str:
    """The pictures of a film. The style of the page shows each at its turn: `--at` is its place, from -1 to 0."""
    return "".join(
        element("g", picture, class_=f"picture {name}", style=f"--at:{index / len(pictures) - 1:.4f}")
        for index, picture in enumerate(pictures)
    )


def _draw_figure(view: BodyView, frame: int, width: float) -> str:
    """One frame in a picture of this width."""
    points = _to_pixels(view.joints[frame], width)
    body, non_dominant, dominant = view.present[frame]
    figure = ""
    if body:
        figure += _draw_lines(points, _BODY_LINES, "bone pose") + _draw_dot(points[NOSE], "posed")
    if non_dominant:
        figure += _draw_lines(points[NON_DOMINANT], _HAND_LINES, "bone follow")
    if dominant:
        figure += _draw_lines(points[DOMINANT], _HAND_LINES, "bone lead")
    return figure


def _draw_wrist_paths(view: BodyView) -> str:
    """The paths of both wrists, with a dot at each end. A path is interrupted where the hand is absent."""
    paths = ""
    for part, hand, kind in ((1, NON_DOMINANT, "follow"), (2, DOMINANT, "lead")):
        frames = np.flatnonzero(view.present[:, part])
        for section in np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1):
            if len(section):
                points = _to_pixels(view.joints[section, hand.start], _PICTURE)
                paths += element("path", class_=f"bone {kind} path", d=polyline(points)) + _draw_dot(points[-1], kind)
    return paths


def _to_pixels(joints: Points, width: float) -> Points:
    """Joints of a `BodyView` in the pixels of a picture of this width."""
    return np.asarray((joints - np.array([_LEFT, _TOP])) * (width / (_RIGHT - _LEFT)))


def _draw_ground(width: float) -> str:
    """The ground of a picture, and a cross at the origin of the joints."""
    x, y = _to_pixels(np.zeros(2), width)
    height = width * _ASPECT
    cross = f"M0 {number(y)}H{number(width)}M{number(x)} 0V{number(height)}"
    return element("rect", class_="ground", width=width, height=height, rx=3) + element("path", class_="axis", d=cross)


def _draw_lines(points: Points, lines: Sequence[Sequence[int]], kind: str) -> str:
    return element("path", class_=kind, d="".join(polyline(points[list(line)]) for line in lines))


def _draw_dot(point: Points, kind: str) -> str:
    return element("circle", class_=kind, cx=float(point[0]), cy=float(point[1]), r=2.2)
