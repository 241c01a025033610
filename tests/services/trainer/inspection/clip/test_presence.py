"""The drawing of the parts that are present: each bar stands at its time."""

import re
from dataclasses import replace

import numpy as np
import pytest

from services.trainer.inspection.clip.presence import draw_presence
from tests.services.trainer.conftest import moving_clip

CLIP = moving_clip("c", "who", "val", 3)


def bars(body: str) -> list[tuple[str, list[tuple[float, float]]]]:
    """The bars of each row in which there are any: its CSS class, and x and width of each bar."""
    return [
        (kind, [(float(x), float(width)) for x, width in re.findall(r"M([\d.]+) [\d.]+h([\d.]+)", path)])
        for kind, path in re.findall(r'<path class="(posed|lead|follow)" d="([^"]+)"', body)
    ]


@pytest.mark.parametrize(("mirrored", "kinds"), [(False, ["posed", "lead"]), (True, ["posed", "follow"])])
def test_the_right_hand_has_the_colour_of_the_leading_hand_unless_the_clip_is_mirrored(
    mirrored: bool, kinds: list[str]
) -> None:
    seen = np.ones((10, 3), np.bool_)
    seen[:, 1] = False
    drawn = bars(draw_presence(CLIP, seen, mirrored).body)
    assert [kind for kind, _ in drawn] == kinds * 2


def test_a_bar_starts_at_its_frame_and_ends_at_the_next_one() -> None:
    presence = np.zeros((4, 3), np.uint8)
    presence[[0, 2, 3], 0] = 1
    clip = replace(
        CLIP, presence=presence, landmarks=CLIP.landmarks[:4], visibility=CLIP.visibility[:4],
        timestamps=np.array([5.0, 5.5, 6.5, 6.75], np.float32),
        record=CLIP.record.model_copy(update={"fps": 4.0}),
    )  # fmt: skip
    seen = np.zeros((20, 3), np.bool_)
    seen[[3, 19], 2] = True
    drawing = draw_presence(clip, seen, mirrored=False)
    # Both blocks last 2 seconds, on 500 pixels that start at 190.
    assert bars(drawing.body) == [
        ("posed", [(190, 125), (565, 62.5), (627.5, 62.5)]),
        ("lead", [(265, 25), (665, 25)]),
    ]
    assert "body in 3 of 4 frames" in drawing.body
    assert "right hand in 2 of 20 frames" in drawing.body
    assert re.findall(r">(\d+ %)</text>", drawing.body) == ["75 %", "0 %", "0 %", "0 %", "0 %", "10 %"]
