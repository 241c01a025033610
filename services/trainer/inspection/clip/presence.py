"""Which parts of the body there are, frame by frame: as they were found, and as the model is given them."""

import numpy as np
import numpy.typing as npt

from services.trainer.drawing.posteriors import seconds
from services.trainer.drawing.svg import Drawing, cells, element, text, titled
from services.trainer.inspection.clip.body_view import Sight
from signet.landmarks import Landmarks

_LEFT, _WIDTH, _ROW, _GAP, _TOP = 190.0, 500.0, 9.0, 4.0, 20.0
_PARTS = ("body", "left hand", "right hand")


def draw(clip: Landmarks, given: npt.NDArray[np.bool_], mirrored: bool) -> Drawing:
    """A row for each part, twice.

    Args:
        clip: as it is stored.
        given: bool [T, 3], body, left hand, right hand, of its model input.
        mirrored: whether the left hand leads.
    """
    times = clip.timestamps.astype(float) - float(clip.timestamps[0])
    ends = np.append(times[1:], times[-1] + 1 / clip.record.fps)
    length = max(float(ends[-1]), seconds(len(given)))
    scale = _WIDTH / length
    kinds = ("posed", "lead", "follow") if mirrored else ("posed", "follow", "lead")
    parts = []
    for block, title in enumerate(("as found in the video", "as the model is given it")):
        y = _TOP + block * (3 * (_ROW + _GAP) + 24)
        parts.append(text(_LEFT, y - 6, title, class_="strong"))
        for part, name in enumerate(_PARTS):
            at = y + part * (_ROW + _GAP)
            if block == 0:
                found = clip.presence[:, part].astype(bool)
                places = [(_LEFT + times[t] * scale, at, (ends[t] - times[t]) * scale) for t in np.flatnonzero(found)]
            else:
                found = given[:, part]
                places = [(_LEFT + seconds(t) * scale, at, seconds(1) * scale) for t in np.flatnonzero(found)]
            row = element("rect", class_="ground", x=_LEFT, y=at, width=_WIDTH, height=_ROW)
            row += element("path", class_=kinds[part], d=cells(places, _ROW), fill_opacity="0.7") if places else ""
            parts.append(text(_LEFT - 8, at + 8, name, class_="soft end small"))
            parts.append(text(_LEFT + _WIDTH + 8, at + 8, f"{100 * found.mean():.0f} %", class_="soft small"))
            parts.append(titled(row, f"{name} in {found.sum()} of {len(found)} frames"))
    bottom = _TOP + 6 * (_ROW + _GAP) + 24
    step = next(step for step in (0.5, 1.0, 2.0, 5.0, 10.0, 60.0, 3600.0) if length / step <= 12)
    parts += [
        text(_LEFT + tick * scale, bottom + 8, f"{tick:g} s", class_="soft middle small")
        for tick in np.arange(0, length + 1e-6, step)
    ]
    return Drawing(_LEFT + _WIDTH + 44, bottom + 14, "".join(parts), "Presence of body and hands over time")


def lost(sight: Sight) -> float:
    """Share of the frames in which there is no hand at all."""
    return float(1 - sight.present[:, 1:].any(axis=1).mean())
