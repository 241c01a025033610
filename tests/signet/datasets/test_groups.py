"""Groups of clips that show the same recording: which groups are one, and which clips are in them."""

from signet.datasets.groups import merge_groups, with_duplicates


def test_groups_that_share_a_clip_are_one() -> None:
    assert merge_groups([("c", "b"), ("x", "y"), ("b", "a"), ("z",)]) == (("a", "b", "c"), ("x", "y"))
    assert merge_groups([]) == ()


def test_clips_come_with_their_duplicates_and_the_duplicates_of_these() -> None:
    groups = [("a", "b"), ("b", "c"), ("x", "y")]
    assert with_duplicates(["a", "other"], groups) == {"a", "b", "c", "other"}
    assert with_duplicates([], groups) == with_duplicates(iter(()), []) == frozenset()
