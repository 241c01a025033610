"""Frame sizes and frame rates of WLASL's video sources, for landmarks whose video is lost.

WLASL's metadata has no frame size, and a rate of 25 for every video, which is wrong for most. Each source publishes in
a few sizes, and the signer's bounding box, which the metadata gives in pixels of the original, fits into one of them.
The table was made from the headers of 707 clips; the sizes of aslsearch and aslsignbank are estimates from the hands
(docs/experiments.md).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

NTSC = 30000 / 1001
FILM = 24000 / 1001
PAL = 25.0


@dataclass(frozen=True)
class VideoSource:
    """Sizes and rates of one source.

    Attributes:
        sizes: width and height of its frames in pixels, smallest first.
        fps: its frame rate.
        signers: different rates, by signer.
        wide: sizes whose pixels are not square, and the width at which they are shown.
    """

    sizes: tuple[tuple[int, int], ...]
    fps: float = NTSC
    signers: Mapping[str, float] = field(default_factory=dict)
    wide: Mapping[tuple[int, int], int] = field(default_factory=dict)


@dataclass(frozen=True)
class VideoFormat:
    """The frame size of a video, and the position of the signer.

    Attributes:
        width: frame width in square pixels.
        height: frame height in pixels.
        midline: x of the signer's body, as a fraction of the width.
    """

    width: int
    height: int
    midline: float


_HD = ((1280, 720), (1920, 1080))

SOURCES: Mapping[str, VideoSource] = {
    "aslbrick": VideoSource(((640, 480), *_HD), wide={(640, 480): 853}),
    "asldeafined": VideoSource(((640, 480), (720, 540)), fps=30.0),
    "aslsearch": VideoSource(((720, 400),)),
    "aslsignbank": VideoSource(((320, 180), (658, 370), *_HD)),
    "elementalasl": VideoSource(((320, 180),), fps=24.0),
    "signingsavvy": VideoSource(((288, 192),)),
    "signschool": VideoSource(((640, 360), (854, 480), *_HD), signers=dict.fromkeys(("4", "27", "31", "32"), FILM)),
    "spreadthesign": VideoSource(((320, 240),), signers=dict.fromkeys(("0", "2", "8", "26", "37"), PAL)),
    "startasl": VideoSource(((736, 414), (1280, 720))),
}
# Other sources: common sizes of web videos.
_OTHER_SOURCE = VideoSource(((320, 240), (640, 360), (640, 480), (854, 480), *_HD))


def video_format(source: str, box: tuple[int, int, int, int]) -> VideoFormat:
    """Estimate the frame size of a video: the smallest size of its source that contains the signer's bounding box.

    The box is left, top, right, bottom, in pixels. An empty box counts as centred.
    """
    known = SOURCES.get(source, _OTHER_SOURCE)
    left, _, right, bottom = box
    fitting = (size for size in known.sizes if right <= size[0] and bottom <= size[1])
    width, height = next(fitting, known.sizes[-1])
    midline = (left + right) / 2 / width if right > left else 0.5
    return VideoFormat(known.wide.get((width, height), width), height, midline)


def frame_rate(source: str, signer: str) -> float:
    """The frame rate of a video, in frames per second, by WLASL's names of its source and its signer."""
    known = SOURCES.get(source, _OTHER_SOURCE)
    return known.signers.get(signer, known.fps)
