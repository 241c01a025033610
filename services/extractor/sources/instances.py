"""The instances of a corpus: one performance of one gloss each, wherever its video comes from."""

from dataclasses import dataclass

SPLITS = ("train", "val", "test")

# The value of `frame_end` for "to the end of the video".
TO_THE_END = -1
# The rate at which WLASL counts frames.
WLASL_FPS = 25.0
# The value of a missing bounding box.
NO_BOX = (0, 0, 0, 0)


@dataclass(frozen=True)
class Instance:
    """One performance of one gloss.

    `frame_start` and `frame_end` are 1-based and inclusive; an end of -1 is the end of the video. They count frames at
    `fps`, which is not the rate of the video; 0 if the metadata has no usable rate. `split` and `signer` are "" if they
    are unknown. `source` is the publisher of the video, `url` its address, and `box` the signer's bounding box in it:
    left, top, right, bottom, in pixels.
    """

    clip_id: str
    gloss: str
    split: str
    signer: str
    frame_start: int
    frame_end: int
    source: str = ""
    box: tuple[int, int, int, int] = NO_BOX
    fps: float = WLASL_FPS
    url: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether the sign is the whole video."""
        return self.frame_start <= 1 and self.frame_end == TO_THE_END


@dataclass(frozen=True)
class InstanceList:
    """The usable instances, in the order of their file, and notes for people about everything that was not used."""

    instances: tuple[Instance, ...]
    notes: tuple[str, ...] = ()
