"""Finds clips and frames in JSON, whatever the author called them.

Known layouts:

    {"sign": "book", "fps": 30, "frames": [FRAME, ...]}        one clip; or landmarks, keypoints, ... for frames
    [FRAME, ...]                                               one clip
    [{"sign": "book", "frames": [...]}, ...]                   several clips
    {"book": {"frames": [...]}, "drink": [...]}                several clips by sign
    {"pose": [[33 joints], ...], "left_hand": [...], ...}      one clip, a list of frames for each part
    FRAME                                                      one frame in a file of its own

A FRAME is an object with pose, left_hand and right_hand (or pose_landmarks, leftHandLandmarks, hands.left, ...).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from services.extractor.importing.json_frames.values import (
    JsonObject,
    JsonValue,
    find_number,
    find_text,
    find_value,
    normalise_key,
    numbered_items,
    objects,
)
from services.extractor.importing.source import MAX_FPS, MAX_PIXELS, FrameSize
from signet.errors import ClipError

POSE_KEYS = ("pose", "poselandmarks", "posekeypoints", "body", "bodylandmarks")
LEFT_KEYS = ("lefthand", "lefthandlandmarks", "lefthandkeypoints", "handleft", "lh", "left")
RIGHT_KEYS = ("righthand", "righthandlandmarks", "righthandkeypoints", "handright", "rh", "right")
_PARTS = {"pose": POSE_KEYS, "left": LEFT_KEYS, "right": RIGHT_KEYS}
# Objects in a frame that hold the parts.
_HOLDERS = ("landmarks", "keypoints", "results", "result", "data", "holistic", "hands", "handlandmarks")
_FRAME_KEYS = (
    "frames", "framedata", "landmarkssequence", "landmarksequence", "sequence", "keypoints", "landmarks", "data",
    "poses", "results",
)  # fmt: skip
_SIGN_KEYS = ("sign", "gloss", "label", "word", "action", "gesture", "class", "text", "signname", "name")
_META_KEYS = ("metadata", "meta", "info", "video", "videoinfo", "header")
_MOST_DEPTH = 4


@dataclass(frozen=True, eq=False)
class JsonClip:
    """A clip in a JSON file.

    Attributes:
        frames: for each frame, the values of "pose", "left" and "right".
        times: the objects of the frames, which may hold times and numbers.
        sign: what the file says; "" if it says nothing.
    """

    frames: list[dict[str, JsonValue]]
    times: list[JsonObject]
    sign: str = ""
    signer: str = ""
    split: str = ""
    fps: float | None = None
    size: FrameSize | None = None
    is_frame: bool = False


def find_clips(root: JsonValue, name: str) -> list[JsonClip]:
    """The clips of a file.

    Raises:
        ClipError: the file has none.
    """
    clips = list(_search(root, "", _MOST_DEPTH))
    if clips:
        return clips
    if isinstance(root, dict) and "people" in root:
        raise ClipError(
            "layout",
            f"{name}: holds OpenPose's joints, which are not MediaPipe's. Extract landmarks from the video with "
            "`signet extract`.",
        )
    keys = ", ".join(list(root)[:10]) if isinstance(root, dict) else f"a {type(root).__name__}"
    raise ClipError(
        "layout",
        f"{name}: no frames with pose, left_hand or right_hand were found. The file holds {keys[:200] or 'nothing'}. "
        'Known is {"sign": "book", "frames": [{"pose": [[x, y, z], ...], "left_hand": [...], "right_hand": [...]}]}.',
    )


def _search(value: JsonValue, sign: str, depth: int) -> Iterator[JsonClip]:
    if depth < 0:
        return
    if isinstance(value, list):
        frames = list(objects(value))
        if frames and any(_parts(frame) for frame in frames):
            yield _clip({}, value, sign)
        else:
            for item in value:
                if isinstance(item, dict | list):
                    yield from _search(item, sign, depth - 1)
    elif isinstance(value, dict):
        yield from _search_object(value, sign, depth)


def _search_object(value: dict[str, JsonValue], sign: str, depth: int) -> Iterator[JsonClip]:
    own = {normalise_key(key): inner for key, inner in value.items()}
    for key in _FRAME_KEYS:
        items = numbered_items(own.get(key))
        if any(_parts(item) for item in objects(items)):
            yield _clip(value, items, sign)
            return
    parts = _parts(value)
    if parts and _is_transposed(parts):
        count = max(len(inner) for inner in parts.values() if isinstance(inner, list))
        rows: list[JsonValue] = [
            {part: inner[index] for part, inner in parts.items() if isinstance(inner, list) and index < len(inner)}
            for index in range(count)
        ]
        yield _clip(value, rows, sign)
    elif parts:
        yield _clip(value, [value], sign, is_frame=True)
    else:
        for key, inner in value.items():
            if isinstance(inner, dict | list):
                yield from _search(
                    inner, key if normalise_key(key) not in (*_FRAME_KEYS, *_META_KEYS) else sign, depth - 1
                )


def _parts(frame: JsonObject) -> dict[str, JsonValue]:
    """The values of the parts of a frame: those that it names, even if they are null."""
    own = {normalise_key(key): inner for key, inner in frame.items()}
    found: dict[str, JsonValue] = {}
    for part, names in _PARTS.items():
        for name in names:
            if name in own and isinstance(own[name], list | dict | None):
                found[part] = own[name]
                break
    for key in _HOLDERS:
        inner = own.get(key)
        if isinstance(inner, dict):
            found = {**_parts(inner), **{part: value for part, value in found.items() if value is not None}}
    return found


def _is_transposed(parts: Mapping[str, JsonValue]) -> bool:
    """Whether each part is a list of frames, and not one frame: lists are nested three deep."""

    def depth(value: JsonValue) -> int:
        if isinstance(value, dict):
            return 1
        if not isinstance(value, list):
            return 0
        inner = next((item for item in value if item is not None), None)
        return 1 + depth(inner)

    return any(depth(value) >= 3 for value in parts.values())


def _clip(value: JsonObject, items: list[JsonValue], sign: str, *, is_frame: bool = False) -> JsonClip:
    metas: list[JsonObject] = [value]
    metas += [inner for key, inner in value.items() if normalise_key(key) in _META_KEYS and isinstance(inner, dict)]
    frames = [item if isinstance(item, dict) else {} for item in items]

    def text(names: tuple[str, ...]) -> str:
        return next((found for meta in metas if (found := find_text(meta, names))), "")

    fps = next((found for meta in metas if (found := find_number(meta, ("fps", "framerate", "framespersecond")))), None)
    sizes = [_size(meta) for meta in [*metas, *frames[:1]]]
    return JsonClip(
        frames=[_parts(frame) for frame in frames],
        times=list(frames),
        sign=text(_SIGN_KEYS) or sign,
        signer=text(("signer", "signerid", "participant", "participantid", "subject")),
        split=text(("split", "subset")),
        fps=fps if fps and 0 < fps <= MAX_FPS else None,
        size=next((size for size in sizes if size), None),
        is_frame=is_frame,
    )


def _size(meta: JsonObject) -> FrameSize | None:
    """The frame size that an object gives, as width and height or as a resolution."""
    width = find_number(meta, ("width", "imagewidth", "videowidth", "framewidth", "w"))
    height = find_number(meta, ("height", "imageheight", "videoheight", "frameheight", "h"))
    resolution = find_value(meta, ("resolution", "framesize", "imagesize", "videosize"))
    if width is None and isinstance(resolution, str):
        resolution = [*resolution.lower().split("x")]
    if width is None and isinstance(resolution, list) and len(resolution) == 2:
        pair = {"width": resolution[0], "height": resolution[1]}
        width, height = find_number(pair, ("width",)), find_number(pair, ("height",))
    if width is None or height is None or not (1 <= width <= MAX_PIXELS and 1 <= height <= MAX_PIXELS):
        return None
    return FrameSize(round(width), round(height))
