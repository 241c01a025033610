"""A signer is flagged if nearly all one-handed clips show the left hand."""

from services.extractor.quality.signers import LeftSigner, describe_mirrored_corpus, find_left_signers, is_left


def test_signers_are_flagged_by_their_one_handed_clips() -> None:
    clips = [
        ("31", 1.5),
        ("31", 1.2),
        ("31", 0.1),
        ("4", -1.6),
        ("4", 0.9),
        ("8", 1.6),
        ("", 1.7),
        ("", 1.7),
        ("9", None),
    ]
    assert find_left_signers(clips) == [LeftSigner("31", 2, 2)]


def test_one_clip_is_flagged_by_strong_evidence_only() -> None:
    assert [is_left(dominance) for dominance in (1.5, 0.4, -1.5, None)] == [True, False, False, False]


def test_a_corpus_of_left_hands_is_probably_mirrored() -> None:
    assert "camera" in describe_mirrored_corpus([1.5] * 9 + [-1.5] * 2)
    assert describe_mirrored_corpus([1.5] + [-1.5] * 9 + [0.1] * 50) == ""
    assert describe_mirrored_corpus([1.5] * 3) == ""
