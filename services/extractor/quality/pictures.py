"""Pictures of a clip for the contact sheet: its skeleton, drawn on frames of its video or on a plain ground."""

import base64
import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from services.extractor.video.decode import Segment, Video
from signet.errors import ClipError
from signet.landmarks import LEFT_HAND, RIGHT_HAND, ClipRecord, Landmarks

Picture = npt.NDArray[np.uint8]

# Height of a picture in pixels, and the largest width: a panorama is made narrower.
HEIGHT, MAX_WIDTH = 168, 300
# Quality of the WebP pictures, 0 to 100. A strip of four frames has about 12 kB.
_WEBP_QUALITY = 55
# Distance between the pictures of a strip.
_GAP = 3

# RGB. The ground is that of pages in dark mode, on which all lines are visible.
_GROUND, _BODY, _LEFT, _RIGHT = (36, 40, 45), (235, 235, 230), (255, 150, 80), (90, 190, 255)
_SHADOW = (0, 0, 0)

# MediaPipe's pose: shoulders, arms, mouth, and the sides of the trunk; and the fingers of a hand, from the wrist.
_POSE_LINES = ((11, 12), (11, 13, 15), (12, 14, 16), (9, 10), (8, 6, 5, 4, 0, 1, 2, 3, 7), (11, 23), (12, 24))
_FINGERS = ((0, 1, 2, 3, 4), (0, 5, 6, 7, 8), (0, 9, 10, 11, 12), (0, 13, 14, 15, 16), (0, 17, 18, 19, 20))
_HAND_LINES = (*_FINGERS, (5, 9, 13, 17))
# OpenCV draws between pixels if coordinates are given in fractions of 2 ** -_SHIFT.
_SHIFT = 3
# Coordinates far outside the picture would overflow OpenCV's integers.
_FAR = 4.0


def choose_frames(clip: Landmarks, count: int) -> list[int]:
    """Frames that are spread evenly over the sign: over the time from the first to the last frame with a hand."""
    with_hand = np.flatnonzero(clip.presence[:, 1:].any(axis=1))
    first, last = (with_hand[0], with_hand[-1]) if len(with_hand) else (0, clip.frames - 1)
    # The middle of each of `count` equal parts: the first and the last frame with a hand often show a hand at rest.
    moments = clip.timestamps[first] + (np.arange(count) + 0.5) / count * (
        clip.timestamps[last] - clip.timestamps[first]
    )
    nearest = np.abs(clip.timestamps[None, :] - moments[:, None]).argmin(axis=1)
    return sorted({int(frame) for frame in nearest})


def draw_strip(clip: Landmarks, frames: Sequence[int], video: Path | None = None) -> tuple[Picture, str]:
    """Draw frames of a clip side by side.

    Args:
        clip: the landmarks.
        frames: the frames, ascending.
        video: the file that the clip was extracted from.

    Returns:
        The picture, and why its ground is plain; "" if it shows the video.
    """
    grounds, why = _read_grounds(clip, frames, video)
    pictures = [_draw_skeleton(ground, clip, frame) for ground, frame in zip(grounds, frames, strict=True)]
    gap = np.full((HEIGHT, _GAP, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)][1:]
    return np.concatenate(parts, axis=1), why


def to_data_uri(picture: Picture) -> str:
    """The picture as a WebP image in a data URI."""
    _, encoded = cv2.imencode(".webp", picture[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, _WEBP_QUALITY])
    return f"data:image/webp;base64,{base64.b64encode(encoded.tobytes()).decode()}"


def picture_width(record: ClipRecord) -> int:
    """Width of the picture of one frame, in pixels."""
    return max(8, min(MAX_WIDTH, round(HEIGHT * record.width / record.height)))


def _read_grounds(clip: Landmarks, frames: Sequence[int], video: Path | None) -> tuple[list[Picture], str]:
    """The frames of the video as small pictures, or plain pictures and the reason for them."""
    width = picture_width(clip.record)
    plain = [np.full((HEIGHT, width, 3), _GROUND, np.uint8) for _ in frames]
    if video is None:
        return plain, "the video is not here"
    try:
        opened = Video(video, video.name)
        if opened.sha256 != clip.record.source_sha256:
            return plain, f"{video.name} is not the video that the clip was extracted from"
        return _read_frames(opened, clip, frames, width), ""
    except ClipError as error:
        return plain, str(error)


def _read_frames(video: Video, clip: Landmarks, frames: Sequence[int], width: int) -> list[Picture]:
    """The frames of the video that are nearest in time to those of the clip."""
    record = clip.record
    wanted = [float(clip.timestamps[frame]) for frame in frames]
    distances = [math.inf] * len(wanted)
    pictures: list[Picture] = [np.zeros(0, np.uint8)] * len(wanted)
    # The frame after the last wanted one may be nearer.
    end = wanted[-1] + 2 / record.fps
    for frame in video.frames(Segment(record.frame_start, record.frame_end)):
        if frame.seconds > end:
            break
        nearer = [i for i, moment in enumerate(wanted) if abs(frame.seconds - moment) < distances[i]]
        if nearer:
            small = cv2.resize(frame.rgb, (width, HEIGHT), interpolation=cv2.INTER_AREA)
            for index in nearer:
                distances[index] = abs(frame.seconds - wanted[index])
                pictures[index] = np.asarray(small, np.uint8)
    return pictures


def _draw_skeleton(ground: Picture, clip: Landmarks, frame: int) -> Picture:
    """The body and the hands of a frame on a ground. Each line has a dark edge, so that it is visible on any ground."""
    canvas = ground.copy()
    scale = np.array([canvas.shape[1] * clip.record.height / clip.record.width, canvas.shape[0]])
    places = np.clip(np.nan_to_num(clip.landmarks[frame, :, :2].astype(np.float64)), -_FAR, _FAR) * scale
    points = np.round(places * 2**_SHIFT).astype(np.int32)
    pose, left, right = clip.presence[frame].astype(bool)
    parts = (
        (pose, slice(0, 33), _POSE_LINES, _BODY),
        (left, LEFT_HAND, _HAND_LINES, _LEFT),
        (right, RIGHT_HAND, _HAND_LINES, _RIGHT),
    )
    for present, joints, lines, colour in parts:
        if present:
            paths = [points[joints][list(line)].reshape(-1, 1, 2) for line in lines]
            cv2.polylines(canvas, paths, False, _SHADOW, 2, cv2.LINE_AA, _SHIFT)
            cv2.polylines(canvas, paths, False, colour, 1, cv2.LINE_AA, _SHIFT)
    return canvas
