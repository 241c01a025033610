"""Landmarks as stick figures: one picture, a sheet of them, and a film that runs without a script."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from services.trainer.drawing.posteriors import seconds
from services.trainer.drawing.svg import Drawing, element, number, polyline, text
from services.trainer.features.phonology import ELBOWS, MOUTH, NOSE, SHOULDERS, WRISTS
from services.trainer.inspection.clip.body_view import FOLLOWING, LEADING, Sight
from signet.landmarks import FRAME_RATE, LEFT_HAND, RIGHT_HAND, Landmarks

Points = npt.NDArray[np.floating[Any]]

# The lines of a hand: each finger from the wrist to its tip, and the knuckles across.
_FINGERS = ((0, 1, 2, 3, 4), (0, 5, 6, 7, 8), (0, 9, 10, 11, 12), (0, 13, 14, 15, 16), (0, 17, 18, 19, 20))
_HAND_LINES = (*_FINGERS, (5, 9, 13, 17))
# The lines of the body, among the joints that features are made of.
_BODY_LINES = (
    (SHOULDERS.start, SHOULDERS.start + 1), (SHOULDERS.start, ELBOWS.start, WRISTS.start),
    (SHOULDERS.start + 1, ELBOWS.start + 1, WRISTS.start + 1), (MOUTH.start, MOUTH.start + 1),
)  # fmt: skip

# The same in MediaPipe's pose, and what the model leaves out of it: eyes, ears, hips.
_POSE_LINES = ((11, 12), (11, 13, 15), (12, 14, 16), (9, 10))
_POSE_NOSE = 0
_UNUSED_LINES = ((7, 3, 2, 1), (8, 6, 5, 4), (11, 23, 24, 12))

# The part of the body's frame that a cell shows, in widths of the shoulders: from over the head to the hips.
_LEFT, _RIGHT, _UP, _DOWN = -1.65, 1.65, -1.45, 1.75

# More pictures than this make a film too large for a page; it is shown at fewer a second then.
_MOST_PICTURES = 240

_COLUMNS, _MOST_CELLS = 5, 15
_CELL, _CELL_GAP, _CAPTION = 150.0, 10.0, 16.0


@dataclass(frozen=True)
class Film:
    """A drawing whose pictures follow one another, by a style that the page gives them.

    Attributes:
        name: of the film; its style is its own.
        drawing: all pictures, one upon the other.
        pictures: how many.
        duration: seconds.
    """

    name: str
    drawing: Drawing
    pictures: int
    duration: float


def sheet(sight: Sight) -> Drawing:
    """Pictures at regular instants, and in the last cell the way of both wrists through the whole clip."""
    count = min(_MOST_CELLS - 1, sight.frames)
    chosen = np.unique(np.linspace(0, sight.frames - 1, count).round().astype(int)).tolist()
    high = _CELL * (_DOWN - _UP) / (_RIGHT - _LEFT)
    parts = []
    for place, frame in enumerate([*chosen, None]):
        x = (place % _COLUMNS) * (_CELL + _CELL_GAP)
        y = (place // _COLUMNS) * (high + _CAPTION + _CELL_GAP)
        inside = element("rect", class_="ground", width=_CELL, height=high, rx=3) + _axes(_CELL)
        inside += _ways(sight) if frame is None else _figure(sight, frame, _CELL)
        # A drawing within the drawing: what reaches beyond its cell is not shown.
        parts.append(element("svg", inside, x=x, y=y, width=_CELL, height=high))
        caption = "ways of the wrists" if frame is None else _instant(frame)
        parts.append(text(x + _CELL / 2, y + high + 12, caption, class_="soft middle"))
    cells = len(chosen) + 1
    rows = -(-cells // _COLUMNS)
    width = min(cells, _COLUMNS) * (_CELL + _CELL_GAP) - _CELL_GAP
    return Drawing(width, rows * (high + _CAPTION + _CELL_GAP), "".join(parts), "The clip at regular instants")


def films(clip: Landmarks, sight: Sight) -> tuple[Film, Film]:
    """The clip as it is stored, and as the model sees it. Both last equally long, so that they keep in step."""
    duration = max(_duration(clip), sight.frames / FRAME_RATE)
    return _stored(clip, sight.mirrored, duration), _seen(sight, duration)


def _seen(sight: Sight, duration: float, width: float = 330.0) -> Film:
    """The clip in the body's frame, at the model's frame rate."""
    high = width * (_DOWN - _UP) / (_RIGHT - _LEFT)
    ground = element("rect", class_="ground", width=width, height=high, rx=3) + _axes(width)
    chosen = _some(sight.frames)
    pictures = [
        _figure(sight, frame, width) + text(width - 6, high - 7, _instant(frame), class_="soft end") for frame in chosen
    ]
    drawing = Drawing(width, high, ground + _reel("seen", pictures), "The clip as the model sees it, in motion")
    return Film("seen", drawing, len(pictures), duration)


def _stored(clip: Landmarks, mirrored: bool, duration: float, height: float = 320.0) -> Film:
    """The clip as it was filmed, in the picture's own frame and at its own rate.

    Grey lines are joints that no feature is made of.
    """
    times = _times(clip)
    # At each instant the latest frame that there is: clips of a variable rate keep their time.
    instants = np.arange(max(1, round(duration * clip.record.fps))) / clip.record.fps
    after = instants + 0.5 / clip.record.fps
    frames = np.clip(np.searchsorted(times, after, side="right") - 1, 0, len(times) - 1)
    frames = frames[_some(len(frames))]
    width = height * clip.record.width / clip.record.height
    ground = element("rect", class_="ground", width=width, height=height, rx=3)
    pictures = []
    for frame in frames.tolist():
        joints = clip.landmarks[frame, :, :2].astype(float) * height
        pose, left, right = clip.presence[frame].astype(bool)
        drawn = ""
        if pose:
            drawn += _lines(joints, _UNUSED_LINES, "bone unused") + _lines(joints, _POSE_LINES, "bone pose")
            drawn += _dot(joints[_POSE_NOSE], "posed")
        for found, hand, leads in ((left, LEFT_HAND, mirrored), (right, RIGHT_HAND, not mirrored)):
            if found:
                drawn += _lines(joints[hand], _HAND_LINES, "bone lead" if leads else "bone follow")
        drawn += text(width - 6, height - 7, f"{times[frame]:.2f} s", class_="soft end")
        pictures.append(drawn)
    drawing = Drawing(width, height, ground + _reel("stored", pictures), "The clip as it is stored, in motion")
    return Film("stored", drawing, len(pictures), duration)


def _times(clip: Landmarks) -> npt.NDArray[np.float64]:
    """Of each frame, from the first one."""
    return clip.timestamps.astype(np.float64) - float(clip.timestamps[0])


def _duration(clip: Landmarks) -> float:
    """Seconds, that of the last frame included."""
    return float(_times(clip)[-1]) + 1 / clip.record.fps


def _some(frames: int) -> npt.NDArray[np.int_]:
    """All of so many frames, or as many as a film may have, evenly."""
    return np.linspace(0, frames - 1, min(frames, _MOST_PICTURES)).round().astype(int)


def _reel(name: str, pictures: Sequence[str]) -> str:
    """Pictures, each of which the page's style shows at its turn: `--at` is its place, from -1 to 0."""
    return "".join(
        element("g", picture, class_=f"picture {name}", style=f"--at:{index / len(pictures) - 1:.4f}")
        for index, picture in enumerate(pictures)
    )


def _figure(sight: Sight, frame: int, width: float) -> str:
    """One frame in a cell of this width."""
    points = _placed(sight.joints[frame], width)
    pose, following, leading = sight.present[frame]
    drawn = ""
    if pose:
        drawn += _lines(points, _BODY_LINES, "bone pose") + _dot(points[NOSE], "posed")
    if following:
        drawn += _lines(points[FOLLOWING], _HAND_LINES, "bone follow")
    if leading:
        drawn += _lines(points[LEADING], _HAND_LINES, "bone lead")
    return drawn


def _ways(sight: Sight) -> str:
    """Where both wrists were, from the first frame to the last; broken where a hand was not found."""
    drawn = ""
    for part, hand, kind in ((1, FOLLOWING, "follow"), (2, LEADING, "lead")):
        there = np.flatnonzero(sight.present[:, part])
        for run in np.split(there, np.flatnonzero(np.diff(there) > 1) + 1):
            points = _placed(sight.joints[run, hand.start], _CELL)
            if len(run):
                drawn += element("path", class_=f"bone {kind} path", d=polyline(points))
                drawn += _dot(points[-1], kind)
    return drawn


def _placed(joints: Points, width: float) -> Points:
    """From the body's frame to the pixels of a cell."""
    return np.asarray((joints - np.array([_LEFT, _UP])) * (width / (_RIGHT - _LEFT)))


def _axes(width: float) -> str:
    """The body's frame: a cross at its origin."""
    x, y = _placed(np.zeros(2), width)
    high = width * (_DOWN - _UP) / (_RIGHT - _LEFT)
    across = f"M0 {number(y)}H{number(width)}M{number(x)} 0V{number(high)}"
    return element("path", class_="axis", d=across)


def _lines(points: Points, lines: Sequence[Sequence[int]], kind: str) -> str:
    return element("path", class_=kind, d="".join(polyline(points[list(line)]) for line in lines))


def _dot(point: Points, kind: str) -> str:
    return element("circle", class_=kind, cx=float(point[0]), cy=float(point[1]), r=2.2)


def _instant(frame: int) -> str:
    return f"{seconds(frame):.1f} s"
