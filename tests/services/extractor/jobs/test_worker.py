"""A worker keeps a large video open for its next job, as long as the file is the same."""

import os

import pytest

from services.extractor.jobs import worker
from services.extractor.sources.instances import Instance
from services.extractor.video import file_bytes
from tests.services.extractor.conftest import MakeVideo

WHOLE = Instance("a", "book", "train", "")


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker._state, "kept", None, raising=False)


def _settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the file count as one that has not changed for long, and as a large one."""
    monkeypatch.setattr(file_bytes, "_SETTLED_NS", 0)
    monkeypatch.setattr(worker, "MAX_FILE_BYTES", 100)


def test_a_large_video_is_opened_once(make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video()
    _settle(monkeypatch)
    first = worker.open_video(path)
    assert worker.open_video(path) is first
    assert worker.verify(path, WHOLE) == worker.verify(path, WHOLE)
    other = make_video("other.mp4", frames=20)
    assert worker.open_video(other) is not first
    assert worker.open_video(path) is not first


def test_a_video_that_has_changed_is_opened_again(make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video()
    _settle(monkeypatch)
    first = worker.open_video(path)
    make_video("new.mp4", frames=30).replace(path)
    second = worker.open_video(path)
    assert second.sha256 != first.sha256
    os.utime(path, (1e9, 1e9))
    assert worker.open_video(path) is not second


def test_a_small_video_and_one_that_has_just_changed_are_not_kept(
    make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video()
    assert worker.open_video(path) is not worker.open_video(path)
    monkeypatch.setattr(worker, "MAX_FILE_BYTES", 100)
    assert worker.open_video(path) is not worker.open_video(path)
