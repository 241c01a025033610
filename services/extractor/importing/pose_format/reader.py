"""Reads the clips of `.pose` files."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from services.extractor.importing.body_estimate import complete_pose
from services.extractor.importing.pose_format.binary import PoseHeader, read_header, read_points
from services.extractor.importing.pose_format.joints import FACE_POINTS, POSE_NAMES, JointMap, map_joints
from services.extractor.importing.source import MAX_FPS, MAX_PIXELS, FrameSize
from services.extractor.importing.unlabelled.raw import RawLandmarks
from signet.errors import ClipError
from signet.landmarks import JOINTS, LEFT_HAND, POSE, POSE_JOINTS
from signet.landmarks.tensor import HAND_JOINTS

# The standard deviation of a hand's depths divided by that of its places in the picture: mean over 690 frames of 45
# WLASL clips. Depths of a file are in pixels if the ratio is above the limit, and else in frame widths.
_DEPTH_OF_HANDS = 0.24
_SMALLEST_PIXEL_DEPTH = 0.02
# MediaPipe's depth of a wrist, relative to itself, is 0. pose-format's `normalize_pose_size` adds 200 or more.
_MOST_WRIST_DEPTH = 1.0
# Points that all together span less than this are not in pixels.
_SMALLEST_SPAN = 8.0
_SHOULDERS, _HIPS = (11, 12), (23, 24)
# The joints of the pose that features use: nose, mouth, shoulders, elbows and wrists.
_USED_JOINTS = {0, *range(9, 17)}

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class _Points:
    """The points of one person in pixels, NaN where absent; depth in the unit of the file."""

    joints: Floats  # [T, 75, 3]
    confidence: Floats  # [T, 75]
    face: dict[int, Floats]  # [T, 3] for each known point of the face mesh


def read_pose_file(path: Path, given_size: FrameSize | None = None) -> tuple[RawLandmarks, list[str]]:
    """Read the clip of a file.

    Args:
        path: the file.
        given_size: the frame size in the unit of the points, for files that do not say it.

    Returns:
        The landmarks, and what was derived or estimated because of the layout of the file.

    Raises:
        ClipError: the file cannot be used.
    """
    try:
        header = read_header(path)
        joint_map = map_joints(header.components)
        with path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        values, confidence = read_points(path, header, joint_map.columns)
    except ClipError:
        raise
    except ValueError as error:
        raise ClipError("components", f"{path}: {error}") from error
    except OSError as error:
        raise ClipError("unreadable", f"{path}: cannot be read ({error.strerror or error}).") from error
    size = _frame_size(header, path, given_size)
    faults = []
    signer = _choose_signer(values, confidence, joint_map)
    if header.people > 1:
        faults.append(f"the file has {header.people} people; person {signer + 1} is taken, whose hands are seen most")
    points = _sort_points(values[:, signer], confidence[:, signer], joint_map)
    _check_unit(points.joints, path, size)
    scale, remarks = _depth_scale(points.joints, size)
    joints = points.joints / np.float32(size.height)
    joints[..., 2] = _centred_depth(points.joints) * np.float32(scale / size.height)
    hands = joints[:, POSE_JOINTS:].reshape(len(joints), 2, HAND_JOINTS, 3)
    face = {point: place / np.float32(size.height) for point, place in points.face.items()}
    pose, visibility = complete_pose(joints[:, POSE], points.confidence[:, POSE], hands, face)
    to_fractions = np.array([1 / size.aspect, 1.0, 1 / size.aspect], np.float32)
    raw = RawLandmarks(
        pose=pose * to_fractions,
        visibility=visibility,
        hands=hands * to_fractions,
        numbers=np.arange(header.frames, dtype=np.int64),
        source_sha256=digest,
        faults=tuple(faults),
        fps=header.fps if 0 < header.fps <= MAX_FPS else None,
        size=size,
        has_pose=joint_map.has_all(_SHOULDERS),
    )
    return raw, [*_describe_joints(joint_map), *remarks]


def _describe_joints(joint_map: JointMap) -> list[str]:
    remarks = []
    if joint_map.openpose:
        remarks.append("OpenPose made the file. Its points differ from MediaPipe's a little, and have no depth")
    missing = [joint for joint in range(POSE_JOINTS) if not joint_map.has_all((joint,))]
    if missing and joint_map.has_all(_SHOULDERS):
        used = [POSE_NAMES[joint] for joint in missing if joint in _USED_JOINTS]
        has_face = joint_map.has_all(tuple(-1 - point for point in FACE_POINTS))
        model = f"uses {', '.join(used)} of them" if used else "uses none of them"
        remarks.append(
            f"{len(missing)} of the pose's {POSE_JOINTS} joints are not in the file. They are estimated from the "
            f"shoulders, the hands{' and the face' if has_face else ''}, and get the visibility 0. The model {model}"
        )
    return remarks


def _frame_size(header: PoseHeader, path: Path, given: FrameSize | None) -> FrameSize:
    if 0 < header.width <= MAX_PIXELS and 0 < header.height <= MAX_PIXELS:
        return FrameSize(header.width, header.height)
    if given is None:
        raise ClipError(
            "size",
            f"{path}: says {header.width} x {header.height} pixels. Give the size of the video with --width and "
            "--height.",
        )
    return given


def _choose_signer(values: Floats, confidence: Floats, joint_map: JointMap) -> int:
    """The person whose hands were found in most frames; of several such people, the largest one."""
    people = values.shape[1]
    hands = confidence[:, :, joint_map.joints >= LEFT_HAND.start] > 0
    frames = hands.any(axis=2).sum(axis=0)
    seen = (confidence > 0) & np.isfinite(values).all(axis=3)
    spans = [float(np.ptp(values[:, one, :, :2][seen[:, one]])) if seen[:, one].any() else 0.0 for one in range(people)]
    return int(np.lexsort((spans, frames))[-1])


def _sort_points(values: Floats, confidence: Floats, joint_map: JointMap) -> _Points:
    """The points of one person by joint. A point with the confidence 0 is absent."""
    absent = ~(confidence > 0) | ~np.isfinite(values).all(axis=2)
    values = np.where(absent[..., None], np.float32(np.nan), values)
    joints = np.full((len(values), JOINTS, 3), np.nan, np.float32)
    found = np.full((len(values), JOINTS), np.nan, np.float32)
    face = {}
    for position, joint in enumerate(joint_map.joints.tolist()):
        if joint >= 0:
            joints[:, joint] = values[:, position]
            found[:, joint] = np.where(absent[:, position], np.float32(np.nan), confidence[:, position].clip(0, 1))
        else:
            face[-1 - joint] = values[:, position]
    return _Points(joints, found, face)


def _check_unit(joints: Floats, path: Path, size: FrameSize) -> None:
    """Refuse points that are not in pixels.

    Raises:
        ClipError: there are none, or they span a few pixels only.
    """
    places = joints[..., :2][np.isfinite(joints[..., 0])]
    if not len(places):
        raise ClipError("empty", f"{path}: no frame has a pose or a hand (all confidences are 0).")
    if np.ptp(places) < _SMALLEST_SPAN < size.height / 4:
        raise ClipError(
            "range",
            f"{path}: its points span {np.ptp(places):.3g} in a frame of {size.width} x {size.height} pixels. They "
            "must be pixels. If the file was normalised, apply pose_format.utils.generic.normalize_pose_size to it, "
            "or import the file from before.",
        )


def _depth_scale(joints: Floats, size: FrameSize) -> tuple[float, list[str]]:
    """The factor that converts depths to pixels, and warnings.

    pose-format stores MediaPipe's depth as it is, in frame widths, beside places in pixels. Its function
    `normalize_pose_size` scales and shifts all three, and the width of the video is lost. The factor then makes the
    hands as deep as hands are on average.
    """
    hands = joints[:, POSE_JOINTS:].reshape(-1, HAND_JOINTS, 3)
    hands = hands[np.isfinite(hands).all(axis=(1, 2))].astype(np.float64)
    if not len(hands):
        return float(size.width), []
    flat = hands[..., :2] - hands[..., :2].mean(axis=1, keepdims=True)
    extent = np.sqrt((flat**2).sum(axis=2).mean(axis=1)).sum()
    ratio = float(hands[..., 2].std(axis=1).sum() / max(extent, 1e-6))
    if not hands[..., 2].any():
        return float(size.width), ["the points have no depth (z is 0)"]
    if ratio > _SMALLEST_PIXEL_DEPTH:
        return 1.0, []
    if np.median(np.abs(hands[:, 0, 2])) > _MOST_WRIST_DEPTH and ratio > 0:
        return _DEPTH_OF_HANDS / ratio, ["the file was normalised in size; the scale of its depth is estimated"]
    return float(size.width), []


def _centred_depth(joints: Floats) -> Floats:
    """Depths relative to the wrist of each hand, and to the hips of the pose, as MediaPipe gives them: [T, 75]."""
    depth = joints[..., 2].copy()
    wrists = depth[:, POSE_JOINTS::HAND_JOINTS]
    if not (np.abs(wrists[np.isfinite(wrists)]) > _MOST_WRIST_DEPTH).any():
        return depth
    for start in (POSE_JOINTS, POSE_JOINTS + HAND_JOINTS):
        depth[:, start : start + HAND_JOINTS] -= depth[:, start, None]
    hips = depth[:, _HIPS].mean(axis=1)
    origin = np.where(np.isfinite(hips), hips, depth[:, _SHOULDERS].mean(axis=1))
    depth[:, POSE] -= origin[:, None]
    return depth
