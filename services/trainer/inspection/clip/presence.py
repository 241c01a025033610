"""The parts of the body that are present in each frame: as they were found, and as the model sees them."""

import numpy as np
import numpy.typing as npt

from services.trainer.drawing.svg import Drawing, text, time_axis, with_tooltip
from services.trainer.inspection.posteriors import frame_seconds
from services.trainer.inspection.strip import PARTS, draw_presence_row
from signet.landmarks import FRAME_RATE, Landmarks

_LEFT, _WIDTH, _ROW, _BLOCK, _TOP = 190.0, 500.0, 13.0, 63.0, 20.0


def draw_presence(clip: Landmarks, seen: npt.NDArray[np.bool_], mirrored: bool) -> Drawing:
    """Draw a row for each part, first as it was found and then as the model sees it.

    Args:
        clip: the stored clip.
        seen: bool [T, 3]; body, left hand, right hand in the model input.
        mirrored: whether the left hand is dominant.
    """
    found = clip.presence.astype(bool)
    times = clip.timestamps.astype(float) - float(clip.timestamps[0])
    found_times = np.append(times, times[-1] + 1 / clip.record.fps)
    seen_times = np.arange(len(seen) + 1) / FRAME_RATE
    seconds = max(float(found_times[-1]), frame_seconds(len(seen)))
    scale = _WIDTH / seconds
    kinds = ("posed", "lead", "follow") if mirrored else ("posed", "follow", "lead")
    parts = []
    for block, (title, present, times) in enumerate(
        [("as found in the video", found, found_times), ("as the model sees it", seen, seen_times)]
    ):
        y = _TOP + block * _BLOCK
        parts.append(text(_LEFT, y - 6, title, class_="strong"))
        for part, (name, kind) in enumerate(zip(PARTS, kinds, strict=True)):
            frames, row_y = np.flatnonzero(present[:, part]), y + part * _ROW
            spans = list(zip(times[frames] * scale, np.diff(times)[frames] * scale, strict=True))
            row = draw_presence_row(name, _LEFT, row_y, _WIDTH, spans, kind)
            parts.append(with_tooltip(row, f"{name} in {len(frames)} of {len(present)} frames"))
            share = f"{100 * len(frames) / len(present):.0f} %"
            parts.append(text(_LEFT + _WIDTH + 8, row_y + 8, share, class_="soft small"))
    bottom = _TOP + 2 * _BLOCK - 15
    parts.append(time_axis(_LEFT, bottom, seconds, scale))
    return Drawing(_LEFT + _WIDTH + 44, bottom + 18, "".join(parts), "Presence of body and hands over time")
