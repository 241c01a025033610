"""What WLASL's sources deliver: frame sizes and rates, where only landmarks are left of a video.

WLASL's metadata gives no frame size, and 25 fps for everything, which is nobody's rate. Both are known all the same: a
source publishes in a few sizes, and a person's bounding box, which the metadata counts in the pixels of the original,
fits into one of them. By the headers of 707 clips of the first 100 glosses, from which this was gathered: the aspect
ratio is right for all, the rate for 673. A wrong one is a quarter off (one clip: half), which is a sign made faster or
slower.

For the two sources that none of these clips is from (aslsearch, aslsignbank) the ratio was found from the hands
themselves: it is the one that makes the bones of a hand keep their proportions whichever way the hand turns. This
estimate comes out up to 15 % too wide on sources of known ratio (1.44 to 1.48 for 4:3, 1.54 for 3:2, 1.76 to 2.04 for
16:9), and it is 1.90 and 1.88 for these two, whose boxes are 400 and 370 pixels high and reach to x = 717 and 642: so
they are wide, 720x400 and 658x370.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

NTSC = 30000 / 1001
FILM = 24000 / 1001
PAL = 25.0


@dataclass(frozen=True)
class Source:
    """What one source delivers.

    Attributes:
        sizes: width and height of its frames in pixels, smallest first.
        fps: its frame rate.
        signers: other rates, by the signer who was filmed.
        wide: sizes whose pixels are not square: they are shown at this width.
    """

    sizes: tuple[tuple[int, int], ...]
    fps: float = NTSC
    signers: Mapping[str, float] = field(default_factory=dict)
    wide: Mapping[tuple[int, int], int] = field(default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """What a video shows.

    Attributes:
        width: of its frames, in square pixels.
        height: of its frames, in pixels.
        midline: where the signer's body is, x as a fraction of the width.
    """

    width: int
    height: int
    midline: float


_HD = ((1280, 720), (1920, 1080))

SOURCES: Mapping[str, Source] = {
    "aslbrick": Source(((640, 480), *_HD), wide={(640, 480): 853}),
    "asldeafined": Source(((640, 480), (720, 540)), fps=30.0),
    "aslsearch": Source(((720, 400),)),
    "aslsignbank": Source(((320, 180), (658, 370), *_HD)),
    "elementalasl": Source(((320, 180),), fps=24.0),
    "signingsavvy": Source(((288, 192),)),
    "signschool": Source(((640, 360), (854, 480), *_HD), signers=dict.fromkeys(("4", "27", "31", "32"), FILM)),
    "spreadthesign": Source(((320, 240),), signers=dict.fromkeys(("0", "2", "8", "26", "37"), PAL)),
    "startasl": Source(((736, 414), (1280, 720))),
}
# Elsewhere: the sizes that the web has.
_ELSEWHERE = Source(((320, 240), (640, 360), (640, 480), (854, 480), *_HD))


def picture(source: str, box: tuple[int, int, int, int]) -> Picture:
    """What a video shows: a frame of the smallest of its source's sizes that holds the box.

    Args:
        source: WLASL's name of it.
        box: of the signer: left, top, right, bottom, in pixels; an empty one is taken to be in the middle.
    """
    known = SOURCES.get(source, _ELSEWHERE)
    left, _, right, bottom = box
    fitting = (size for size in known.sizes if right <= size[0] and bottom <= size[1])
    width, height = next(fitting, known.sizes[-1])
    midline = (left + right) / 2 / width if right > left else 0.5
    return Picture(known.wide.get((width, height), width), height, midline)


def frame_rate(source: str, signer: str) -> float:
    """Frames per second of a video.

    Args:
        source: WLASL's name of it.
        signer: WLASL's id of who signs.
    """
    known = SOURCES.get(source, _ELSEWHERE)
    return known.signers.get(signer, known.fps)
