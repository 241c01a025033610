"""The instances of a corpus: one performance of one gloss each, wherever its video comes from."""

from dataclasses import dataclass

SPLITS = ("train", "val", "test")
# Other names of the splits, in small letters.
SPLIT_NAMES = {
    "training": "train", "dev": "val", "development": "val", "valid": "val", "validation": "val", "testing": "test",
} | {split: split for split in SPLITS}  # fmt: skip

# The value of `frame_end` for "to the end of the video".
TO_THE_END = -1
# The rate at which WLASL counts frames.
WLASL_FPS = 25.0
# The value of `fps` if frames are those of the video itself, at any rate.
FRAMES_OF_VIDEO = -1.0
# The value of a missing bounding box.
NO_BOX = (0, 0, 0, 0)


@dataclass(frozen=True)
class Instance:
    """One performance of one gloss.

    `frame_start` and `frame_end` are 1-based and inclusive; an end of -1 is the end of the video. They count frames at
    `fps`, which is not the rate of the video, or the frames of the video if it is `FRAMES_OF_VIDEO`; 0 if the metadata
    has no usable rate. A source that gives times sets `start_seconds` and `end_seconds` instead; an end of 0 is the end
    of the video. `split` and `signer` are "" if they are unknown. `source` is the publisher of the video, `url` its
    address, and `box` the signer's bounding box in it: left, top, right, bottom, in pixels. `part_of` is the id of the
    whole video if this is a piece of a long one, and "" otherwise.
    """

    clip_id: str
    gloss: str
    split: str
    signer: str
    frame_start: int = 1
    frame_end: int = TO_THE_END
    source: str = ""
    box: tuple[int, int, int, int] = NO_BOX
    fps: float = WLASL_FPS
    url: str = ""
    start_seconds: float = 0.0
    end_seconds: float = 0.0
    part_of: str = ""

    @property
    def has_times(self) -> bool:
        """Whether the part of the video is given in seconds."""
        return self.start_seconds > 0 or self.end_seconds > 0

    @property
    def is_whole(self) -> bool:
        """Whether the sign is the whole video."""
        return self.frame_start <= 1 and self.frame_end == TO_THE_END and not self.has_times


@dataclass(frozen=True)
class InstanceList:
    """The usable instances, in the order of their file, and notes for people about everything that was not used."""

    instances: tuple[Instance, ...]
    notes: tuple[str, ...] = ()
