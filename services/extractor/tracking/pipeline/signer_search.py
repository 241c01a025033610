"""Finds the signer among several people: the one with the largest area of the picture that changes.

The most probable person of the detector is often not the signer, and neither is the largest one. docs/experiments.md
has the figures.
"""

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt

from services.extractor.tracking.pipeline.crops import Picture
from services.extractor.tracking.pipeline.people import PersonFinder
from services.extractor.tracking.pipeline.regions import SIZE, X, Y

Array = npt.NDArray[np.float64]

# People are looked for in one of this many pictures: twice a second at 10 pictures a second.
_FIND_EVERY = 5
# Detections whose centres are nearer than this share of their size are the same person. People who stand side by side
# are 0.4 sizes apart, because a size is that of a whole body.
_SAME_PERSON = 0.15
# Height in pixels of the grey pictures that are compared, and the grey levels by which a pixel changes more than noise.
_HEIGHT = 160
_MIN_CHANGE = 15.0
# The part of a region in which a person signs, in sizes: half of its width, and from above the head to below the hips.
_HALF_WIDTH, _ABOVE, _BELOW = 0.25, 0.45, 0.1


class SignerSearch:
    """Looks for the signer in the pictures of one clip. `see` takes each picture, then `choose` gives the signer.

    About two seconds of pictures, ten a second, are enough for a signer who begins within them.
    """

    def __init__(self, finder: PersonFinder) -> None:
        self._finder = finder
        self._pictures = 0
        self._people: list[list[Array]] = []
        self._before: npt.NDArray[np.float32] | None = None
        # Grey levels are small; their changes are kept, not the pictures.
        self._changes: list[npt.NDArray[np.bool_]] = []
        self._scale = 1.0

    def see(self, picture: Picture) -> None:
        """Take the next picture of the clip; all have the same size."""
        if self._pictures % _FIND_EVERY == 0:
            self._note_people(self._finder.find([picture])[0])
        self._pictures += 1
        self._scale = _HEIGHT / picture.shape[0]
        size = (max(1, round(picture.shape[1] * self._scale)), _HEIGHT)
        grey = cv2.cvtColor(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        now = np.asarray(grey, np.float32)
        if self._before is not None:
            self._changes.append(np.abs(now - self._before) > _MIN_CHANGE)
        self._before = now

    def choose(self) -> Array | None:
        """The region [4] of the signer where it was first seen; None if no more than one person was seen."""
        if len(self._people) < 2 or not self._changes:
            return None
        changing = [np.mean([change[area].sum() for change in self._changes]) for area in self._areas()]
        return self._people[int(np.argmax(changing))][0]

    def _note_people(self, found: Array) -> None:
        """Give each detection to the person who was last seen there, or to a new one."""
        taken: set[int] = set()
        for region in found:
            for index, person in enumerate(self._people):
                last = person[-1]
                distance = np.hypot(last[X] - region[X], last[Y] - region[Y])
                if index not in taken and distance < _SAME_PERSON * max(last[SIZE], region[SIZE]):
                    person.append(region)
                    taken.add(index)
                    break
            else:
                self._people.append([region])
                taken.add(len(self._people) - 1)

    def _areas(self) -> Iterator[npt.NDArray[np.bool_]]:
        """Where each person signs: bool [height, width]. A column of the picture belongs to the nearest person."""
        height, width = self._changes[0].shape
        columns, rows = np.arange(width), np.arange(height)[:, None]
        regions = [np.median(person, axis=0) for person in self._people]
        nearest = np.argmin([np.abs(columns - region[X] * self._scale) for region in regions], axis=0)
        for index, region in enumerate(regions):
            x, y, size = region[X] * self._scale, region[Y] * self._scale, region[SIZE] * self._scale
            beside = (np.abs(columns - x) < _HALF_WIDTH * size) & (nearest == index)
            between = (rows > y - _ABOVE * size) & (rows < y + _BELOW * size)
            yield between & beside
