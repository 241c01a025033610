"""Assumes what recordings do not say, and tells people what was assumed."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence

from services.extractor.importing.source import ImportOptions
from services.extractor.importing.unlabelled.copies import Copies
from services.extractor.importing.unlabelled.first_reading import WEBCAM, RecordingFinding
from services.extractor.importing.unlabelled.splits import MIN_RECORDINGS_FOR_VAL

# Recorders that run MediaPipe Holistic between two frames of a webcam get 10 to 15 frames a second on a laptop, and
# store equally many frames of each recording. Recordings of different lengths are mostly videos with all their frames.
LIVE_FPS, CAMERA_FPS = 15.0, 30.0

# In clips of WLASL, the faster wrist of a signer moves 0.35 to 3.2 shoulder widths a second on average (10 % and 90 %
# of the clips).
_USUAL_WRIST_SPEED = (0.35, 3.2)
# A left hand that leads more than this in most recordings is that of a left-handed or a mirrored signer.
LEADS = 0.2
# A hint about the leading hand needs this many recordings, and this share of them.
_MIN_LEADING, _LEADING_SHARE = 5, 0.7


def choose_rate(findings: Sequence[RecordingFinding], options: ImportOptions) -> tuple[float, list[str]]:
    """The frame rate of recordings that do not say theirs, and notes about it."""
    silent = [finding for finding in findings if finding.fps is None and not finding.timed]
    if options.fps is not None:
        return options.fps, []
    if not silent:
        return CAMERA_FPS, []
    lengths = {finding.frames for finding in silent}
    if len(lengths) == 1 and len(silent) > 1:
        rate = LIVE_FPS
        reason = (
            f"all recordings have {lengths.pop()} frames, as a program stores them that tracks a webcam live, and such "
            "programs get 10 to 15 frames a second"
        )
    elif len(silent) == 1:
        rate, reason = CAMERA_FPS, "it is the usual rate of cameras"
    else:
        rate, reason = CAMERA_FPS, "recordings of different lengths are mostly videos with all their frames"
    notes = [f"frame rate: {rate:g} frames a second are assumed, because {reason}. --fps changes it"]
    speeds = [finding.wrist_speed * rate for finding in silent if math.isfinite(finding.wrist_speed)]
    if speeds:
        speed = statistics.median(speeds)
        low, high = _USUAL_WRIST_SPEED
        if not low <= speed <= high:
            notes.append(
                f"frame rate: at {rate:g} frames a second, the faster wrist moves {speed:.2g} shoulder widths a "
                f"second. {low:g} to {high:g} are usual. Check the rate, and give it with --fps"
            )
    return rate, notes


def describe_size(findings: Sequence[RecordingFinding], options: ImportOptions) -> list[str]:
    """Notes about the frame size and the unit of the coordinates."""
    notes = []
    pixels = [finding for finding in findings if finding.pixels]
    if pixels:
        notes.append(f"coordinates of {len(pixels)} of {len(findings)} recordings are pixels and are converted")
    if options.frame_size() is not None:
        return notes
    silent = [finding for finding in findings if not finding.said_size]
    if derived := sorted({(finding.size.width, finding.size.height) for finding in silent if finding.pixels}):
        sizes = ", ".join(f"{width}x{height}" for width, height in derived)
        notes.append(
            f"picture size: {sizes} is assumed, the smallest common size that holds all joints. --width and --height "
            "change it"
        )
    if any(not finding.pixels for finding in silent):
        notes.append(
            f"picture size: {WEBCAM.width}x{WEBCAM.height} (4:3, a webcam's) is assumed, because the files do not say "
            "it. A wrong aspect distorts the landmarks: --aspect 1.7778 is 16:9"
        )
    return notes


def describe_sides(findings: Sequence[RecordingFinding], leading: Sequence[float], options: ImportOptions) -> list[str]:
    """Notes about left and right. `leading` says how much the left hand leads in each recording."""
    notes = []
    if flipped := sum(finding.sides.flipped for finding in findings):
        notes.append(
            f"sides: {flipped} of {len(findings)} recordings were mirrored after the tracking without exchanging the "
            "names of the sides (the left shoulder is on the left in the picture). They are mirrored back"
        )
    if swapped := sum(bool(finding.sides.swapped) for finding in findings):
        notes.append(
            f"sides: left and right hand are exchanged in {swapped} of {len(findings)} recordings, by their shape or "
            "by the wrists of the pose. They are exchanged back"
        )
    if options.mirrored:
        notes.append("sides: the videos were mirrored, as you say. The landmarks are mirrored back")
    if unknown := sum(finding.sides.swapped is None for finding in findings):
        notes.append(
            f"sides: in {unknown} of {len(findings)} recordings, nothing shows whether the names of the hands are "
            "right. They are taken as they are"
        )
    left = sum(lead > LEADS for lead in leading)
    if options.mirrored is None and len(leading) >= _MIN_LEADING and left >= _LEADING_SHARE * len(leading):
        notes.append(
            f"sides: the left hand leads in {left} of {len(leading)} recordings. The signer is left-handed, or the "
            "videos are mirrored, as selfie cameras show them. If they are mirrored, import them with --mirrored"
        )
    return notes


def describe_losses(findings: Sequence[RecordingFinding]) -> list[str]:
    """Notes about poses that are missing."""
    notes = []
    damaged = [finding for finding in findings if finding.has_pose and finding.lost_poses]
    if damaged:
        lost = sum(finding.lost_poses for finding in damaged)
        always_left = lost == sum(finding.lost_with_left for finding in damaged)
        reason = ", always where the left hand is missing" if always_left else ""
        notes.append(
            f"bad data: in {len(damaged)} of {len(findings)} recordings, {lost} frames have a hand and no pose{reason}."
            " MediaPipe Holistic finds hands by means of the pose, so the recorder lost poses that were found. These "
            "frames have hands only. Record again if you can"
        )
    if any(not finding.has_pose for finding in findings):
        notes.append("the files hold no pose: a model learns from the hands alone, and recognises fewer signs")
    return notes


def describe_copies(copies: Copies, recordings: int) -> list[str]:
    """Notes about copies of one recording."""
    by_name = recordings - copies.compared
    compared = (
        f"{by_name} of {recordings} recordings are too many, or have too many frames, to compare their landmarks: "
        "their copies were looked for by name only"
        if by_name
        else ""
    )
    count = sum(map(len, copies.groups))
    found = (
        f"{count} of {recordings} recordings are copies of one another (mirrored, scaled, moved, noised or shifted): "
        f"{len(copies.groups)} originals with their copies. Each group is in one split"
        if count
        else ""
    )
    return [note for note in (compared, found) if note]


def describe_faults(faults: Iterable[tuple[str, tuple[str, ...]]], most: int = 5) -> list[str]:
    """Notes about faults of single frames, by recording."""
    listed = [f"{name}: {fault}" for name, found in faults for fault in found]
    more = len(listed) - most
    return listed[:most] + ([f"{more} more faults of frames; the clips carry them as warnings"] if more > 0 else [])


def describe_splits(splits: Counter[str], recordings: int) -> str:
    """A note about splits that were assigned."""
    counts = ", ".join(f"{count} {split}" for split, count in sorted(splits.items()))
    return (
        f"splits of {splits.total()} of {recordings} recordings were assigned: {counts}. Each sign with at least "
        f"{MIN_RECORDINGS_FOR_VAL} recordings has a fifth of them in val. --splits gives other splits"
    )
