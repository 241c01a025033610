"""Converts a clip of a JSON file to arrays: joints, visibility, times and numbers of frames."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from services.extractor.importing.json_frames.layouts import JsonClip
from services.extractor.importing.json_frames.points import UnknownJoints, read_joints
from services.extractor.importing.json_frames.values import JsonObject, find_number
from services.extractor.importing.unlabelled.raw import RawLandmarks
from services.extractor.importing.unlabelled.splits import split_named
from services.extractor.sources.instances import SPLITS
from signet.errors import ClipError, quote
from signet.landmarks import POSE_JOINTS
from signet.landmarks.tensor import HAND_JOINTS, MAX_FRAMES, MAX_SECONDS

_MILLISECONDS = ("timestampms", "tms", "timems", "timeinmilliseconds", "milliseconds")
_SECONDS = ("timestamp", "timeinseconds", "seconds", "time", "t")
_NUMBERS = ("frame", "frameid", "frameidx", "frameindex", "framenumber", "index")
# Numbers of frames that are this many times as many as the frames are no numbers of frames.
_MOST_SPARSE = 4
# A median step between frames that is larger is in milliseconds, not in seconds.
_LONGEST_STEP_SECONDS = 2.0


def to_raw(clip: JsonClip, name: str, source_sha256: str) -> RawLandmarks:
    """The landmarks of a clip.

    Raises:
        ClipError: it has no frames, or too many.
    """
    count = len(clip.frames)
    if not 1 <= count <= MAX_FRAMES:
        raise ClipError("frames", f"{name}: has {count} frames; 1 to {MAX_FRAMES} can be imported.")
    pose = np.full((count, POSE_JOINTS, 3), np.nan, np.float32)
    visibility = np.full((count, POSE_JOINTS), np.nan, np.float32)
    hands = np.full((count, 2, HAND_JOINTS, 3), np.nan, np.float32)
    faults: Counter[str] = Counter()
    for index, frame in enumerate(clip.frames):
        for part, value in frame.items():
            try:
                joints = read_joints(value, POSE_JOINTS if part == "pose" else HAND_JOINTS)
            except UnknownJoints as error:
                faults[f"{part}: {error}"] += 1
                continue
            if joints is None:
                continue
            if joints.flat:
                faults[f"{part}: z is missing and taken as 0"] += 1
            if part == "pose":
                pose[index], visibility[index] = joints.places, joints.visibility
            else:
                hands[index, int(part == "right")] = joints.places
    times, time_fault = _times(clip.times)
    numbers = _frame_numbers(clip.times)
    notes = [f"{fault} ({frames} of {count} frames)" for fault, frames in faults.most_common()]
    if clip.split and not split_named(clip.split):
        notes.insert(0, f"its split {quote(clip.split[:40])} is none of {', '.join(SPLITS)}, and is left out")
    return RawLandmarks(
        pose=pose,
        visibility=visibility,
        hands=hands,
        numbers=numbers,
        source_sha256=source_sha256,
        times=times,
        faults=(*notes, *([time_fault] if time_fault else [])),
        fps=clip.fps,
        size=clip.size,
        has_pose=any("pose" in frame for frame in clip.frames),
    )


def _times(frames: Sequence[JsonObject]) -> tuple[npt.NDArray[np.float64] | None, str]:
    """The time of each frame in seconds, if all frames have usable ones, and what is wrong with them."""
    milliseconds = _numbers_named(frames, _MILLISECONDS)
    times = milliseconds / 1000 if milliseconds is not None else _numbers_named(frames, _SECONDS)
    if times is None or len(times) < 2:
        return None, ""
    steps = np.diff(times)
    if (steps <= 0).any():
        return None, "" if (steps == 0).all() else "the times of the frames do not increase and are left out"
    if milliseconds is None and np.median(steps) > _LONGEST_STEP_SECONDS:
        times = times / 1000
    seconds = times - times[0]
    # A time is stored as float32, and a step of half a millisecond must remain a step.
    if seconds[-1] > MAX_SECONDS or (np.diff(seconds.astype(np.float32)) <= 0).any():
        return None, "the times of the frames span too long a time and are left out"
    return seconds, ""


def _frame_numbers(frames: Sequence[JsonObject]) -> npt.NDArray[np.int64]:
    """The numbers of the frames, from 0, if the frames have usable ones; otherwise 0, 1, 2, ..."""
    count = len(frames)
    numbers = _numbers_named(frames, _NUMBERS)
    if numbers is None or count < 2 or (np.diff(numbers) < 1).any() or numbers[-1] - numbers[0] >= _MOST_SPARSE * count:
        return np.arange(count)
    return np.asarray((numbers - numbers[0]).round(), np.int64)


def _numbers_named(frames: Sequence[JsonObject], names: Sequence[str]) -> npt.NDArray[np.float64] | None:
    """The number of one of these names in each frame; None if a frame has none."""
    found = [find_number(frame, names) for frame in frames]
    return None if any(number is None for number in found) else np.asarray(found, np.float64)
