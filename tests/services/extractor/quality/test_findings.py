"""Each kind of finding has its limit, and a clip has the findings that its numbers give."""

import pytest

from services.extractor.quality.findings import KINDS, find_faults
from signet.landmarks import ClipQuality, ClipRecord, NothingSigned

_RECORD = ClipRecord(clip_id="c", fps=25, width=640, height=480, frame_end=50)
_GOOD = ClipQuality(
    pose=1, left_hand=0.5, right_hand=0.7, any_hand=0.7, hand_jitter=0.01, shoulder_jitter=0.001, frame_rate=25,
    dropped_frames=0, longest_gap=0.04, hands_outside=0, signing_hand_outside=0, head_outside=0, palm_pixels=40,
    shoulder_width=0.4, left_dominance=-0.4,
)  # fmt: skip


def test_a_good_clip_has_no_finding() -> None:
    assert find_faults(_RECORD, _GOOD) == ()


@pytest.mark.parametrize(
    ("key", "changed"),
    [
        ("few_hands", {"any_hand": 0.2}),
        ("few_poses", {"pose": 0.5}),
        ("hand_outside", {"signing_hand_outside": 0.4}),
        ("head_outside", {"head_outside": 0.8}),
        ("small_hands", {"palm_pixels": 8}),
        ("far", {"shoulder_width": 0.1}),
        ("near", {"shoulder_width": 0.9}),
        ("hand_jitter", {"hand_jitter": 0.08}),
        ("shoulder_jitter", {"shoulder_jitter": 0.02}),
        ("dropped_frames", {"dropped_frames": 0.1}),
        ("dropped_frames", {"longest_gap": 0.5}),
        ("low_frame_rate", {"frame_rate": 5}),
        ("several_people", {"several_people": True}),
    ],
)
def test_a_number_beyond_its_limit_is_a_finding(key: str, changed: dict[str, float]) -> None:
    (finding,) = find_faults(_RECORD, _GOOD.model_copy(update=changed))
    assert finding.kind is KINDS[key]


def test_warnings_and_clips_without_a_sign_are_findings_the_most_severe_first() -> None:
    record = _RECORD.model_copy(update={"warnings": ("the rate was guessed",)})
    faults = find_faults(record, _GOOD, NothingSigned.NO_HAND_MOVES)
    assert [(fault.kind.key, fault.measured) for fault in faults] == [
        ("nothing_signed", "no hand moves"),
        ("warning", "the rate was guessed"),
    ]


def test_hands_alone_are_no_fault_of_a_clip() -> None:
    assert find_faults(_RECORD, _GOOD.model_copy(update={"pose": 0})) == ()
