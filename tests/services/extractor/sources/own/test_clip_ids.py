"""Ids of clips come from their paths."""

from pathlib import PurePosixPath

from hypothesis import given
from hypothesis import strategies as st

from services.extractor.sources.own.clip_ids import make_clip_id
from signet.store import keys

CHARACTERS = st.characters(blacklist_characters="/\0")
NAMES = st.text(CHARACTERS, min_size=1, max_size=12).filter(lambda name: name not in (".", ".."))
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(lambda parts: PurePosixPath(*parts))


@given(PATHS, st.text(max_size=20))
def test_every_path_gives_a_name_that_can_be_part_of_a_key(path: PurePosixPath, part: str) -> None:
    assert keys.is_name(make_clip_id(path, part))
    assert make_clip_id(path, part) == make_clip_id(path, part)


@given(st.lists(st.tuples(PATHS, st.sampled_from(["", "1-2", "3-4"])), unique=True, max_size=10))
def test_different_clips_have_different_ids(clips: list[tuple[PurePosixPath, str]]) -> None:
    assert len({make_clip_id(*clip) for clip in clips}) == len(set(clips))


def test_the_readable_part_tells_the_path() -> None:
    assert make_clip_id(PurePosixPath("ice cream/take (1).mp4")).startswith("ice_cream-take_1-")
    assert make_clip_id(PurePosixPath("café/..x..mp4")).startswith("cafe-x-")
    assert make_clip_id(PurePosixPath("本/手.mp4")).startswith("clip-")
    assert len({make_clip_id(PurePosixPath(name)) for name in ("a/1.mp4", "a/1.mov", "a-1.mp4", "a/ 1.mp4")}) == 4
