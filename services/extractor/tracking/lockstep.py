"""Tracks the signers of several clips at a time, with MediaPipe's networks in ONNX Runtime."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from services.extractor.tracking.pipeline.body import BodyTracker
from services.extractor.tracking.pipeline.hands import HandTracker
from services.extractor.tracking.pipeline.people import PersonFinder
from services.extractor.tracking.pipeline.signer_search import SignerSearch
from services.extractor.tracking.tracks import Tracks, TracksBuilder, are_many
from services.extractor.video.decode import Frame
from signet.errors import ClipError

# The pose is filtered as if this were the time from frame to frame, at any rate. MediaPipe's graph assumes the same.
# With the real time, the pose trembles more, and accuracy is 3.6 points lower (docs/experiments.md).
_FILTER_SECONDS = 1 / 30
# People are counted where a body is looked for in the whole picture, as in the first frame, and in one of this many
# frames: once in 2.5 s at 10 frames a second. A call takes half as long as the rest of a frame.
_COUNT_EVERY = 25

# If a clip begins with several people, the signer is looked for in so many frames, as far as they fit into this memory.
_SEARCHED_FRAMES, _SEARCHED_BYTES = 20, 96 << 20
# A signer who was chosen and whose body was not found is searched for again at most so often in a clip. A search costs
# as much as ten frames.
_MOST_SEARCHES = 3
_HIPS = [23, 24]

Points = npt.NDArray[np.float64]
Name = TypeVar("Name")


class _Clip:
    """A clip that is being tracked."""

    def __init__(self, frames: Iterable[Frame]) -> None:
        self._frames = iter(frames)
        self._ahead: deque[Frame] = deque()  # frames that are decoded and not tracked yet
        self._error: ClipError | None = None  # raised after these frames
        self.builder = TracksBuilder()
        self.count = 0
        self.people: list[int] = []
        # The middle of the signer's hips, in pixels; None before the signer is found.
        self.place: Points | None = None
        self.searches = 0

    def next_frame(self) -> Frame | None:
        """The next frame to track; None after the last one."""
        if self._ahead:
            return self._ahead.popleft()
        if self._error is not None:
            raise self._error
        return next(self._frames, None)

    def read_ahead(self) -> Sequence[Frame]:
        """Decode the next frames of the first seconds. `next_frame` gives them later, and an error of the decoder."""
        while len(self._ahead) < _SEARCHED_FRAMES and sum(frame.rgb.nbytes for frame in self._ahead) <= _SEARCHED_BYTES:
            try:
                frame = next(self._frames, None)
            except ClipError as error:
                self._error = error
                break
            if frame is None:
                break
            self._ahead.append(frame)
        return tuple(self._ahead)


class LockstepTracker:
    """Tracks one signer in each of several clips. In each step, the networks run once on one frame of every clip.

    The landmarks of a clip do not depend on the other clips, except for the rounding of the networks.

    Args:
        rate: the frames per second that it wants; 0 wants all frames.
        clips: the largest number of clips at a time.
        device: "cpu" or "cuda".

    Raises:
        MediaPipeMissing: MediaPipe or one of its networks is missing.
    """

    def __init__(self, rate: float, clips: int = 1, device: str = "cpu") -> None:
        self.rate = rate
        self._finder = PersonFinder(device)
        self._bodies = BodyTracker(clips, self._finder, device)
        self._hands = HandTracker(clips, device)
        self._clips: list[_Clip | None] = [None] * clips

    def track(self, frames: Iterable[Frame]) -> Tracks:
        """Track pose and hands through the frames of one clip: at least one frame, all of the same size.

        Raises:
            ClipError: the frames raised it.
        """
        ((_, outcome),) = self.track_clips([(None, frames)])
        if isinstance(outcome, ClipError):
            raise outcome
        return outcome

    def track_clips(self, clips: Iterable[tuple[Name, Iterable[Frame]]]) -> Iterator[tuple[Name, Tracks | ClipError]]:
        """Track pose and hands through the frames of many clips.

        Yields each clip's name with its landmarks, or with the error that its frames raised, in order of completion.
        """
        waiting = iter(clips)
        names: dict[int, Name] = {}
        places = range(len(self._clips))
        while True:
            for place in places:
                if place not in names and (entry := next(waiting, None)) is not None:
                    names[place], frames = entry
                    self._begin(place, frames)
            if not names:
                return
            frames_now: dict[int, Frame] = {}
            for place in list(names):
                try:
                    frame = self._clip(place).next_frame()
                except ClipError as error:
                    yield names.pop(place), error
                    continue
                if frame is None:
                    yield names.pop(place), self._end(place)
                else:
                    frames_now[place] = frame
            if frames_now:
                self._step(frames_now)

    def _begin(self, place: int, frames: Iterable[Frame]) -> None:
        self._clips[place] = _Clip(frames)
        self._bodies.forget(np.array([place]))
        self._hands.forget(np.array([place]))

    def _clip(self, place: int) -> _Clip:
        clip = self._clips[place]
        assert clip is not None  # noqa: S101  (a place has a clip from `_begin` to `_end`)
        return clip

    def _end(self, place: int) -> Tracks:
        clip = self._clip(place)
        self._clips[place] = None
        return clip.builder.build(many_people=are_many(clip.people))

    def _step(self, frames: dict[int, Frame]) -> None:
        """Track the next frame of some clips."""
        began = time.perf_counter()
        places = np.fromiter(frames, np.intp)
        clips = [self._clip(place) for place in frames]
        pictures = [frame.rgb for frame in frames.values()]
        pose, visibility, people = self._bodies.track(
            places,
            pictures,
            np.full(len(places), _FILTER_SECONDS),
            lambda row, found: self._choose_signer(clips[row], pictures[row], found),
        )
        hands = self._hands.track(places, pictures, pose, visibility)
        self._count_people(clips, pictures, people)
        heights = np.array([picture.shape[0] for picture in pictures], np.float64)
        joints = np.concatenate([pose, hands.reshape(len(places), -1, 3)], axis=1) / heights[:, None, None]
        share = (time.perf_counter() - began) / len(places)
        for row, (clip, frame) in enumerate(zip(clips, frames.values(), strict=True)):
            clip.count += 1
            if np.isfinite(pose[row, _HIPS]).all():
                clip.place = pose[row, _HIPS, :2].mean(axis=0)
            clip.builder.add(frame, joints[row].astype(np.float32), visibility[row].astype(np.float32), share)

    def _choose_signer(self, clip: _Clip, picture: npt.NDArray[np.uint8], people: Points) -> Points:
        """The region [4] of the signer, among those of the people [n, 4] in a picture.

        A signer who was lost is looked for near the place where that was.
        """
        if len(people) == 1:
            return np.asarray(people[0])
        if clip.place is not None:
            distances = np.hypot(*(people[:, :2] - clip.place).T)
            return np.asarray(people[int(np.argmin(distances))])
        clip.searches += 1
        search = SignerSearch(self._finder)
        for seen in (picture, *(frame.rgb for frame in clip.read_ahead())):
            search.see(seen)
        chosen = search.choose()
        signer = np.asarray(people[0] if chosen is None else chosen)
        if clip.searches == _MOST_SEARCHES:
            clip.place = signer[:2]
        return signer

    def _count_people(
        self, clips: Sequence[_Clip], pictures: Sequence[npt.NDArray[np.uint8]], searched: npt.NDArray[np.intp]
    ) -> None:
        """Note the numbers of people in these pictures, as far as they are known or it is time to count them."""
        numbers = searched.copy()
        due = [row for row, clip in enumerate(clips) if clip.count % _COUNT_EVERY == _COUNT_EVERY - 1]
        if due:
            numbers[due] = [len(people) for people in self._finder.find([pictures[row] for row in due])]
        for clip, number in zip(clips, numbers, strict=True):
            if number > 0:
                clip.people.append(int(number))
