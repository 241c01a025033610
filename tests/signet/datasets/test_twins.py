"""Groups of clips that show the same recording, and who is with whom."""

from signet.datasets.twins import joined, with_twins


def test_groups_that_share_a_clip_are_one() -> None:
    assert joined([("c", "b"), ("x", "y"), ("b", "a"), ("z",)]) == (("a", "b", "c"), ("x", "y"))
    assert joined([]) == ()


def test_clips_come_with_their_twins_and_the_twins_of_these() -> None:
    groups = [("a", "b"), ("b", "c"), ("x", "y")]
    assert with_twins(["a", "other"], groups) == {"a", "b", "c", "other"}
    assert with_twins([], groups) == with_twins(iter(()), []) == frozenset()
