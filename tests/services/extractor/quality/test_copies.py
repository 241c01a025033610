"""Copies are found by their file and by their landmarks, also trimmed and mirrored."""

import numpy as np

from services.extractor.quality.copies import MIRRORED, SAME_FILE, SAME_RECORDING, CopyCandidate, find_copies, mirror
from signet.landmarks import Landmarks, to_model_input
from tests.services.extractor.quality.signers import make_sign


def _candidates(*clips: Landmarks) -> list[CopyCandidate]:
    return [CopyCandidate(clip.record, to_model_input(clip)) for clip in clips]


def test_trimmed_and_mirrored_copies_are_found_and_other_clips_are_not() -> None:
    original, trimmed, other = make_sign(1, "a"), make_sign(1, "b", start=0.4, seconds=2.4), make_sign(2, "c")
    mirrored_input = mirror(to_model_input(original), 4 / 3)
    candidates = _candidates(original, trimmed, other)
    groups, searched = find_copies(candidates)
    assert [([clip.clip_id for clip in group.clips], group.kind) for group in groups] == [(["a", "b"], SAME_RECORDING)]
    assert searched
    reflected = CopyCandidate(original.record.model_copy(update={"clip_id": "m"}), mirrored_input)
    groups, _ = find_copies([*_candidates(original, other), reflected])
    assert [([clip.clip_id for clip in group.clips], group.kind) for group in groups] == [(["a", "m"], MIRRORED)]


def test_clips_of_one_file_are_copies_if_they_have_frames_in_common() -> None:
    digest = "0" * 64
    first, second, third = (
        make_sign(seed, name, source_sha256=digest, frame_start=start, frame_end=end)
        for seed, name, start, end in ((1, "a", 1, 90), (2, "b", 91, 180), (3, "c", 60, 100))
    )
    groups, _ = find_copies(_candidates(first, second))
    assert groups == []
    groups, _ = find_copies(_candidates(first, second, third))
    assert [([clip.clip_id for clip in group.clips], group.kind) for group in groups] == [(["a", "c"], SAME_FILE)]


def test_mirroring_twice_gives_the_same_landmarks() -> None:
    frames = to_model_input(make_sign(1, "a"))
    twice = mirror(mirror(frames, 4 / 3), 4 / 3)
    assert np.nanmax(np.abs(twice - frames)) < 1e-6


def test_no_clips_have_no_copies() -> None:
    assert find_copies([]) == ([], True)
    alone = make_sign(1, "a")
    assert find_copies(_candidates(alone)) == ([], True)
