"""The first reading of all recordings: what they say about units, sides, rate and losses, before any is stored."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.extractor.importing.source import MAX_PIXELS, FrameSize, ImportOptions
from services.extractor.importing.unlabelled.copies import MOST_COMPARED, MOST_COMPARED_FRAMES
from services.extractor.importing.unlabelled.raw import (
    RawLandmarks,
    Recording,
    guess_size,
    largest_place,
    to_fractions,
    to_joints,
    to_timestamps,
    uses_pixels,
)
from services.extractor.importing.unlabelled.sides import SideVerdict, correct_sides, judge_sides
from services.extractor.sources.failure import ClipFailure
from services.extractor.tracking.tracks import mask_absent_parts
from signet.errors import ClipError
from signet.landmarks import ClipRecord, Landmarks
from signet.landmarks.tensor import MAX_FRAMES

# A webcam's picture, which OpenCV gives if the program asks for no other.
WEBCAM = FrameSize(640, 480)

_SHOULDERS, _WRISTS = (11, 12), (15, 16)
# Shoulders narrower than this, in frame heights, give no unit of length.
_MIN_SHOULDERS = 0.03


@dataclass(frozen=True, eq=False)
class RecordingFinding:
    """What the first reading says about one recording.

    Attributes:
        frames: number of frames.
        source_sha256: hash of its files.
        pixels: whether coordinates are pixels.
        size: frame size, from the file, the user, or derived.
        said_size: whether the file says the size.
        fps: frames per second; None if the file does not say it.
        timed: whether the file has a time for each frame.
        sides: what is wrong with the sides.
        has_pose: whether files of this layout hold a pose.
        lost_poses: number of frames with a hand and without a pose.
        lost_with_left: number of these frames in which the left hand is absent.
        wrist_speed: how far the faster wrist moves from frame to frame on average, in shoulder widths; NaN without a
            pose.
        faults: what is wrong with single frames.
        sample: the landmarks at any rate, to search for copies; None if there are too many recordings, or frames, for
            the search.
    """

    frames: int
    source_sha256: str
    pixels: bool
    size: FrameSize
    said_size: bool
    fps: float | None
    timed: bool
    sides: SideVerdict
    has_pose: bool
    lost_poses: int
    lost_with_left: int
    wrist_speed: float
    faults: tuple[str, ...]
    sample: "RateFreeLandmarks | None"


@dataclass(frozen=True, eq=False)
class RateFreeLandmarks:
    """Landmarks of a recording whose frame rate is not known yet: the tensors of `signet.landmarks.Landmarks`."""

    landmarks: npt.NDArray[np.float16]
    presence: npt.NDArray[np.uint8]
    visibility: npt.NDArray[np.float16]
    times: npt.NDArray[np.float64] | None
    numbers: npt.NDArray[np.int64]
    size: FrameSize

    def at_rate(self, clip_id: str, fps: float) -> Landmarks:
        """The landmarks at a frame rate."""
        record = ClipRecord(
            clip_id=clip_id, fps=fps, width=self.size.width, height=self.size.height, frame_end=len(self.numbers)
        )
        return Landmarks(
            self.landmarks, self.presence, self.visibility, to_timestamps(self.times, self.numbers, fps), record
        )


def read_all(
    recordings: Sequence[Recording], options: ImportOptions
) -> tuple[dict[str, RecordingFinding], list[ClipFailure]]:
    """Read all recordings once. Returns the findings by clip id, and the recordings that cannot be used."""
    findings: dict[str, RecordingFinding] = {}
    failures: list[ClipFailure] = []
    unsized: list[Recording] = []
    places: list[tuple[float, float]] = []
    room = MOST_COMPARED_FRAMES if len(recordings) <= MOST_COMPARED else 0

    def examine(recording: Recording, raw: RawLandmarks, pixels: bool, size: FrameSize) -> None:
        nonlocal room
        findings[recording.clip_id] = _examine(raw, pixels, size, keep_sample=raw.frames <= room)
        room = max(0, room - raw.frames)

    given = options.frame_size()
    for recording in recordings:
        try:
            raw = _read(recording)
            pixels = uses_pixels(raw, recording.name)
            size = given or raw.size
            if pixels and size is None:
                places.append(_check_place(largest_place(raw), recording.name))
                unsized.append(recording)
            else:
                examine(recording, raw, pixels, size or WEBCAM)
        except ClipError as error:
            failures.append(ClipFailure(recording.name, error.reason, str(error)))
    if unsized:
        size = guess_size(max(x for x, _ in places), max(y for _, y in places))
        for recording in unsized:
            examine(recording, _read(recording), True, size)
    return findings, failures


def _check_place(place: tuple[float, float], name: str) -> tuple[float, float]:
    """Refuse places that no video has, because the frame size of all recordings follows from the largest place.

    Raises:
        ClipError: the place is outside of the largest video.
    """
    if max(place) > MAX_PIXELS:
        raise ClipError(
            "range",
            f"{name}: has coordinates up to {max(place):.4g}. A video has at most {MAX_PIXELS} pixels in each "
            "direction. Import the landmarks as MediaPipe returned them.",
        )
    return place


def _read(recording: Recording) -> RawLandmarks:
    raw = recording.read()
    if raw.frames > MAX_FRAMES:
        raise ClipError("long", f"{recording.name}: has {raw.frames} frames; at most {MAX_FRAMES} are allowed.")
    return raw


def _examine(raw: RawLandmarks, pixels: bool, size: FrameSize, keep_sample: bool) -> RecordingFinding:
    if pixels:
        raw = to_fractions(raw, size)
    verdict = judge_sides(raw, size.aspect)
    raw = correct_sides(raw, verdict)
    posed = np.isfinite(raw.pose).all(axis=(1, 2))
    hands = np.isfinite(raw.hands).all(axis=(2, 3))
    lost = hands.any(axis=1) & ~posed
    joints = to_joints(raw, size.aspect)
    return RecordingFinding(
        frames=raw.frames,
        source_sha256=raw.source_sha256,
        pixels=pixels,
        size=size,
        said_size=raw.size is not None,
        fps=raw.fps,
        timed=raw.times is not None,
        sides=verdict,
        has_pose=raw.has_pose,
        lost_poses=int(lost.sum()),
        lost_with_left=int((lost & ~hands[:, 0]).sum()),
        wrist_speed=_wrist_speed(joints[posed], raw.numbers[posed]),
        faults=raw.faults,
        sample=RateFreeLandmarks(*mask_absent_parts(joints, raw.visibility), raw.times, raw.numbers, size)
        if keep_sample
        else None,
    )


def _wrist_speed(joints: npt.NDArray[np.float32], numbers: npt.NDArray[np.int64]) -> float:
    """The mean step of the faster wrist from frame to frame, in shoulder widths; NaN for less than two frames."""
    if len(joints) < 2:
        return float("nan")
    shoulders = np.median(np.linalg.norm(joints[:, _SHOULDERS[0], :2] - joints[:, _SHOULDERS[1], :2], axis=-1))
    steps = np.linalg.norm(np.diff(joints[:, _WRISTS, :2], axis=0), axis=-1) / np.diff(numbers)[:, None]
    return float(steps.max(axis=1).mean() / shoulders) if shoulders > _MIN_SHOULDERS else float("nan")
