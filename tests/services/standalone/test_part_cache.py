"""Finished parts survive the process, belong to one video and one tracker, and a damaged file is made again."""

import os
import time
from pathlib import Path

import pytest

from services.standalone.part_cache import PartCache
from services.standalone.video_parts import VideoPart, VideoPlan
from signet.landmarks import dump
from tests.conftest import MakeClip

FIRST, SECOND = VideoPart(1, 1, 30, 0.0, 0.0, 1.0), VideoPart(16, 31, 60, 0.5, 1.0, 2.0)
PLAN = VideoPlan("0" * 64, 2.0, (FIRST, SECOND))


def test_a_kept_part_is_found_by_the_next_process(tmp_path: Path, make_clip: MakeClip) -> None:
    PartCache(tmp_path, PLAN, "t1").add(FIRST, dump(make_clip()))
    again = PartCache(tmp_path, PLAN, "t1")
    found = again.find(FIRST)
    assert found is not None
    assert found.joints.shape == (30, 75, 3)
    assert again.find(SECOND) is None
    again.delete()
    assert PartCache(tmp_path, PLAN, "t1").find(FIRST) is None


def test_frames_before_the_part_are_left_out(tmp_path: Path, make_clip: MakeClip) -> None:
    cache = PartCache(tmp_path, PLAN, "t1")
    cache.add(SECOND, dump(make_clip(frames=45)))
    found = cache.find(SECOND)
    assert found is not None
    assert found.seconds[0] == pytest.approx(1.0, abs=1e-3)
    assert len(found.seconds) == 30


def test_another_video_tracker_or_cut_does_not_use_it(tmp_path: Path, make_clip: MakeClip) -> None:
    PartCache(tmp_path, PLAN, "t1").add(FIRST, dump(make_clip()))
    assert PartCache(tmp_path, PLAN, "t2").find(FIRST) is None
    assert PartCache(tmp_path, VideoPlan("1" * 64, 2.0, PLAN.parts), "t1").find(FIRST) is None
    assert PartCache(tmp_path, VideoPlan("0" * 64, 2.0, (FIRST,)), "t1").find(FIRST) is None


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff" * 100])
def test_a_damaged_file_is_not_used(tmp_path: Path, make_clip: MakeClip, damage: bytes) -> None:
    cache = PartCache(tmp_path, PLAN, "t1")
    cache.add(FIRST, dump(make_clip()))
    assert cache.folder is not None
    (file,) = cache.folder.iterdir()
    file.write_bytes(damage)
    assert cache.find(FIRST) is None
    assert not file.exists()


def test_without_a_usable_folder_parts_are_kept_in_memory(tmp_path: Path, make_clip: MakeClip) -> None:
    (tmp_path / "file").write_text("no folder")
    for cache in (PartCache(None, PLAN, "t1"), PartCache(tmp_path / "file", PLAN, "t1")):
        cache.add(FIRST, dump(make_clip()))
        assert cache.find(FIRST) is not None


def test_folders_that_were_not_used_for_weeks_are_deleted(tmp_path: Path, make_clip: MakeClip) -> None:
    old = PartCache(tmp_path, PLAN, "t1")
    old.add(FIRST, dump(make_clip()))
    assert old.folder is not None
    PartCache(tmp_path, PLAN, "t2")
    assert old.folder.exists()
    month_ago = time.time() - 30 * 86_400
    os.utime(old.folder, (month_ago, month_ago))
    PartCache(tmp_path, PLAN, "t2")
    assert not old.folder.exists()
