"""Several clips are tracked at a time, and none of them changes another."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np
import pytest

from services.extractor.tracking.lockstep import _SEARCHED_FRAMES, LockstepTracker, _Clip
from services.extractor.tracking.tracks import Tracks
from services.extractor.video.decode import Frame, Video, read_file
from signet.errors import ClipError
from tests.services.extractor.conftest import SHORT

pytestmark = pytest.mark.clips

# Joints differ by this many frame heights at most: a batch of another size is rounded differently.
ROUNDING = 2e-3


def read(wlasl: Path, clip_id: str) -> Iterator[Frame]:
    return Video(read_file(wlasl / "clips" / f"{clip_id}.mp4"), clip_id).frames(rate=10.0)


def break_off(frames: Iterator[Frame]) -> Iterator[Frame]:
    yield next(frames)
    raise ClipError("damaged", "it breaks off")


def assert_same(first: Tracks, second: Tracks) -> None:
    np.testing.assert_array_equal(first.timestamps, second.timestamps)
    np.testing.assert_array_equal(first.presence, second.presence)
    np.testing.assert_allclose(first.landmarks, second.landmarks, atol=ROUNDING, equal_nan=True)
    assert (first.width, first.height, first.many_people) == (second.width, second.height, second.many_people)


def test_clips_at_a_time_have_the_landmarks_of_each_alone(wlasl: Path) -> None:
    clips = SHORT[:4]
    alone = LockstepTracker(10.0)
    together = LockstepTracker(10.0, clips=3)
    jobs = [(clip_id, read(wlasl, clip_id)) for clip_id in clips]
    jobs.insert(1, ("broken", break_off(read(wlasl, SHORT[4]))))
    outcomes = dict(together.track_clips(jobs))
    error = outcomes.pop("broken")
    assert isinstance(error, ClipError)
    assert error.reason == "damaged"
    assert sorted(outcomes) == sorted(clips)
    for clip_id in clips:
        outcome = outcomes[clip_id]
        assert isinstance(outcome, Tracks)
        assert outcome.presence[:, 0].all()
        assert_same(alone.track(read(wlasl, clip_id)), outcome)


def test_a_used_tracker_gives_the_bits_of_a_new_one(wlasl: Path) -> None:
    used = LockstepTracker(10.0)
    with pytest.raises(ClipError, match="it breaks off"):
        used.track(break_off(read(wlasl, SHORT[3])))
    used.track(read(wlasl, SHORT[3]))
    fresh, again = LockstepTracker(10.0).track(read(wlasl, SHORT[0])), used.track(read(wlasl, SHORT[0]))
    for name in ("landmarks", "presence", "visibility", "timestamps"):
        np.testing.assert_array_equal(getattr(fresh, name), getattr(again, name))


def beside_a_still_person(wlasl: Path, *, signer_is_right: bool) -> list[Frame]:
    """The middle of a clip next to the first frame of another one."""
    halves = []
    for clip_id in SHORT[:2]:
        frames = list(read(wlasl, clip_id))
        height, width = frames[0].rgb.shape[:2]
        left = (width - height) // 2
        halves.append([Frame(frame.rgb[:480, left : left + 480], frame.seconds) for frame in frames])
    signing, still = halves[0], halves[1][0].rgb
    pairs = [[still, frame.rgb] if signer_is_right else [frame.rgb, still] for frame in signing]
    return [
        Frame(np.ascontiguousarray(np.hstack(pair)), frame.seconds) for pair, frame in zip(pairs, signing, strict=True)
    ]


@pytest.mark.parametrize("signer_is_right", [False, True])
def test_the_person_who_signs_is_tracked_beside_a_still_one(wlasl: Path, signer_is_right: bool) -> None:
    frames = beside_a_still_person(wlasl, signer_is_right=signer_is_right)
    tracks = LockstepTracker(10.0).track(iter(frames))
    assert tracks.many_people
    assert len(tracks.timestamps) == len(frames)
    nose = tracks.landmarks[:, 0, 0].astype(np.float64)
    assert ((nose > 1.0) == signer_is_right).all()


def test_a_clip_with_two_people_that_breaks_off_gives_its_error(wlasl: Path) -> None:
    frames = iter(beside_a_still_person(wlasl, signer_is_right=False))
    with pytest.raises(ClipError, match="it breaks off"):
        LockstepTracker(10.0).track(break_off(frames))


def test_the_search_for_a_signer_whose_body_is_never_found_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    tracker, people = LockstepTracker(10.0), np.array([[30.0, 50.0, 40.0, 0.0], [120.0, 50.0, 40.0, 0.0]])
    calls = []

    def find(pictures: Sequence[Any]) -> list[Any]:
        calls.append(len(pictures))
        return [people for _ in pictures]

    monkeypatch.setattr(tracker._finder, "find", find)
    random = np.random.default_rng(0)
    pictures = [np.zeros((100, 160, 3), np.uint8) for _ in range(60)]
    for picture in pictures:  # the second person moves
        picture[:, 90:150] = random.integers(0, 255, (100, 60, 3))
    clip, chosen = _Clip(Frame(picture, float(number)) for number, picture in enumerate(pictures)), []
    while (frame := clip.next_frame()) is not None:
        chosen.append(tracker._choose_signer(clip, frame.rgb, people).tolist())
    assert chosen == [people[1].tolist()] * 60
    assert len(calls) == 3 * 5, "three searches look at one in five of 21 pictures"


def test_a_clip_that_is_read_ahead_at_each_frame_holds_few_frames() -> None:
    living: WeakSet[Frame] = WeakSet()

    def decode() -> Iterator[Frame]:
        for number in range(100):
            living.add(frame := Frame(np.zeros((2, 2, 3), np.uint8), float(number)))
            yield frame

    clip, seconds, most = _Clip(decode()), [], 0
    while (frame := clip.next_frame()) is not None:
        clip.read_ahead()
        seconds.append(frame.seconds)
        most = max(most, len(living))
    assert seconds == list(range(100))
    assert most <= _SEARCHED_FRAMES + 2  # and the one that is tracked, and the one that is decoded
