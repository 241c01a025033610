"""What the quality of a clip says to a person: kinds of findings, and the limits from which a clip has one.

The limits were chosen on 707 clips of 100 glosses of WLASL, so that each kind has the worst few per cent of them, and
checked by a look at these clips. docs/data.md has the figures.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from signet.landmarks import MAX_GAP_SECONDS, ClipQuality, ClipRecord, NothingSigned

# Limits of `ClipQuality`. The comments say what was measured on the 707 clips.
MIN_ANY_HAND = 0.3  # 16 clips have less; the median is 0.69
MIN_POSE = 0.9  # the smallest share is 0.98
MAX_HAND_JITTER = 0.05  # 9 clips have more; the median is 0.010
MAX_SHOULDER_JITTER = 0.01  # the largest is 0.0055
MAX_SIGNING_HAND_OUTSIDE = 0.2  # 2 clips have more
MAX_HEAD_OUTSIDE = 0.5  # no face is outside in any clip
# 11 clips have less. Six clips were made smaller: with palms of 10 pixels, the joints were off by 6 % of a palm, with
# palms of 7 pixels by 8 %, and 9 % and 13 % of the hands were not found.
MIN_PALM_PIXELS = 10.0
MIN_SHOULDER_WIDTH, MAX_SHOULDER_WIDTH = 0.15, 0.75  # all clips have 0.28 to 0.60
MAX_DROPPED_FRAMES = 0.05  # no frame is missing in any clip
MIN_FRAME_RATE = 12.0  # all clips have 24 and more; a model sees 10
# Only the left hand signs. The 11 clips above this limit are of two signers, who sign so in all their one-handed clips.
LEFT_HAND_LEADS = 0.7


@dataclass(frozen=True)
class FindingKind:
    """A kind of finding.

    Attributes:
        key: the name of the kind in the page.
        title: what is wrong, in a few words.
        meaning: what it does to the landmarks, or to a model that is trained on them.
        advice: what to do.
        severity: 3 the clip is useless, 2 it is probably bad, 1 look at it, 0 for your information.
    """

    key: str
    title: str
    meaning: str
    advice: str
    severity: int


KINDS = {
    kind.key: kind
    for kind in (
        FindingKind(
            "nothing_signed", "nothing is signed",
            "No hand was found, or no hand moves. The service answers such a clip with no prediction.",
            "Look at the clip. Remove it, or cut the video to the sign.", 3,
        ),
        FindingKind(
            "several_people", "several people",
            "More than one person is in the picture. The landmarks can be those of any of them.",
            "Crop the video to the signer, and extract it again.", 2,
        ),
        FindingKind(
            "few_hands", "hands are seldom found",
            f"A hand was found in less than {MIN_ANY_HAND:.0%} of the frames. Fast hands, hands in front of the face "
            "and dark pictures are the usual reasons.",
            "Record with more light and a shorter exposure, in front of a plain background.", 2,
        ),
        FindingKind(
            "few_poses", "the body is seldom found",
            f"A body was found in less than {MIN_POSE:.0%} of the frames.",
            "Show head, shoulders and arms, from the front.", 2,
        ),
        FindingKind(
            "hand_outside", "the signing hand leaves the picture",
            f"The wrist of the leading hand is outside the picture in more than {MAX_SIGNING_HAND_OUTSIDE:.0%} of the "
            "frames of the sign.",
            "Step back, or turn the camera, until both hands stay in the picture.", 2,
        ),
        FindingKind(
            "head_outside", "the head is cut off",
            "A part of the face is outside the picture in more than half of the frames. Places at the head are then "
            "estimates.",
            "Turn the camera up, or step back.", 1,
        ),
        FindingKind(
            "small_hands", "the hands are small",
            f"A palm has fewer than {MIN_PALM_PIXELS:g} pixels from wrist to knuckles. Fingers are then guessed.",
            "Use the video in its full size, or crop it to the signer.", 1,
        ),
        FindingKind(
            "far", "the signer is far away",
            f"The shoulders are less than {MIN_SHOULDER_WIDTH:g} picture heights wide.",
            "Crop the video to the signer, or record from nearer.", 1,
        ),
        FindingKind(
            "near", "the signer is very near",
            f"The shoulders are more than {MAX_SHOULDER_WIDTH:g} picture heights wide. Hands leave such a picture.",
            "Step back from the camera.", 1,
        ),
        FindingKind(
            "hand_jitter", "the hands jump",
            f"The joints of a hand tremble by more than {MAX_HAND_JITTER:g} picture heights. The tracker confuses the "
            "hands, or the hand shakes fast.",
            "Look at the clip. If the drawn hands are wrong, remove it.", 1,
        ),
        FindingKind(
            "shoulder_jitter", "the body trembles",
            f"The shoulders tremble by more than {MAX_SHOULDER_JITTER:g} picture heights: the camera shakes, or the "
            "picture is dark or noisy.",
            "Put the camera on a table or stand, and add light.", 1,
        ),
        FindingKind(
            "dropped_frames", "frames are missing",
            f"More than {MAX_DROPPED_FRAMES:.0%} of the frames of the video are missing, or more than "
            f"{MAX_GAP_SECONDS:g} s in a row. Movement in such a gap is lost.",
            "Record again: close other programs, or choose a smaller picture.", 1,
        ),
        FindingKind(
            "low_frame_rate", "few frames a second",
            f"The video has fewer than {MIN_FRAME_RATE:g} frames a second. A model sees 10.",
            "Record with 25 frames a second or more.", 1,
        ),
        FindingKind(
            "left_handed", "the left hand signs",
            "The signer is left-handed, or the camera mirrors its picture. The two cannot be told apart. Models are "
            "trained to read both.",
            "Nothing, if the signer is left-handed. Otherwise switch mirroring off in the camera's settings.", 0,
        ),
        FindingKind(
            "several_glosses", "one recording under several glosses",
            "The same recording is in the corpus under another gloss. A model cannot learn both, and is judged wrong "
            "on one of them.",
            "Keep one of the glosses, if they are the same sign. Reports also count synonyms (docs/protocol.md).", 1,
        ),
        FindingKind(
            "several_splits", "one recording in several splits",
            "The same recording is in another split. Training leaves out the training clip by itself.",
            "Nothing. To keep the clip in training, remove the other one.", 0,
        ),
        FindingKind(
            "warning", "the extractor's warning",
            "The extractor wrote a warning into the clip.",
            "See the text of the warning.", 1,
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class ClipFinding:
    """A finding about one clip: its kind, and what was measured, in words."""

    kind: FindingKind
    measured: str


def find_faults(
    record: ClipRecord, quality: ClipQuality, nothing_signed: NothingSigned | None = None
) -> tuple[ClipFinding, ...]:
    """The findings about a clip from its own numbers, the most severe first.

    Args:
        record: the record of the clip.
        quality: its quality, stored or measured again.
        nothing_signed: why nothing is signed in it.
    """
    found = [ClipFinding(KINDS[key], measured) for key, measured in _faults(quality)]
    if nothing_signed is not None:
        found.append(ClipFinding(KINDS["nothing_signed"], str(nothing_signed)))
    if not quality.several_people:  # then the warning says the same
        found += [ClipFinding(KINDS["warning"], warning) for warning in record.warnings]
    return sort_findings(found)


def sort_findings(findings: list[ClipFinding]) -> tuple[ClipFinding, ...]:
    """The findings of a clip, the most severe first."""
    return tuple(sorted(findings, key=lambda finding: -finding.kind.severity))


def _faults(quality: ClipQuality) -> Iterator[tuple[str, str]]:
    """The kinds of faults of a clip, with what was measured."""
    if quality.several_people:
        yield "several_people", "more than one person in the picture"
    if quality.any_hand < MIN_ANY_HAND:
        yield "few_hands", f"a hand in {quality.any_hand:.0%} of the frames"
    # A corpus of hands alone has no pose at all, and this is no fault of a clip.
    if 0 < quality.pose < MIN_POSE:
        yield "few_poses", f"a body in {quality.pose:.0%} of the frames"
    if (quality.dropped_frames or 0) > MAX_DROPPED_FRAMES or (quality.longest_gap or 0) > MAX_GAP_SECONDS:
        share, gap = quality.dropped_frames or 0, quality.longest_gap or 0
        yield "dropped_frames", f"{share:.0%} of the frames are missing; the longest gap has {gap:.2f} s"
    for key, number, is_fault, words in _MEASURED:
        value = getattr(quality, number)
        if value is not None and is_fault(value):
            yield key, words.format(value)


# Kind, field of `ClipQuality`, whether a value is a fault, and the words for it.
_MEASURED: tuple[tuple[str, str, Callable[[float], bool], str], ...] = (
    ("hand_outside", "signing_hand_outside", lambda share: share > MAX_SIGNING_HAND_OUTSIDE,
     "the signing hand is outside in {:.0%} of the frames"),
    ("head_outside", "head_outside", lambda share: share > MAX_HEAD_OUTSIDE, "the face is cut in {:.0%} of the frames"),
    ("small_hands", "palm_pixels", lambda pixels: pixels < MIN_PALM_PIXELS, "a palm has {:.0f} pixels"),
    ("far", "shoulder_width", lambda width: width < MIN_SHOULDER_WIDTH, "shoulders of {:.2f} picture heights"),
    ("near", "shoulder_width", lambda width: width > MAX_SHOULDER_WIDTH, "shoulders of {:.2f} picture heights"),
    ("hand_jitter", "hand_jitter", lambda jitter: jitter > MAX_HAND_JITTER, "hands tremble by {:.3f} picture heights"),
    ("shoulder_jitter", "shoulder_jitter", lambda jitter: jitter > MAX_SHOULDER_JITTER,
     "shoulders tremble by {:.3f} picture heights"),
    ("low_frame_rate", "frame_rate", lambda rate: rate < MIN_FRAME_RATE, "{:.1f} frames a second"),
)  # fmt: skip
