"""What every reader of landmark files returns: a source with its clips. One module reads each kind of file."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from services.extractor.sources.failure import ClipFailure
from signet.errors import InvalidInput

# Version of the conversion from a reader's landmarks to the stored tensor. Raise it when the conversion changes.
CONVERSION = "signet-import-1"

# The largest values that a clip's record accepts.
MAX_FPS, MAX_PIXELS = 1000.0, 16384
# Frames of an unknown size get this height in pixels. Only the ratio of width and height changes the landmarks.
_ASSUMED_HEIGHT = 480


@dataclass(frozen=True, eq=False)
class ClipLandmarks:
    """The landmarks of one clip, as a reader returns them.

    Attributes:
        joints: float32 [T, 75, 3] in frame heights: 33 of the pose, 21 of the left and 21 of the right hand; NaN where
            a part is absent. Left and right are the signer's own.
        visibility: float32 [T, 33], 0 to 1; NaN where it is unknown.
        timestamps: float32 [T], seconds since the first frame, strictly increasing.
        source_sha256: hash of the clip's values or file. Clips with the same hash count as copies.
        warnings: what a person should know before using the clip. They are stored in its record.
    """

    joints: npt.NDArray[np.float32]
    visibility: npt.NDArray[np.float32]
    timestamps: npt.NDArray[np.float32]
    source_sha256: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class LandmarkClip:
    """One clip of a source.

    Attributes:
        clip_id: its name in the store (`signet.store.keys.check_name`).
        gloss: the sign that it shows; "" if it is unknown.
        split: train, val, test or "".
        signer: the signer's name; "" if it is unknown.
        fps: frames per second.
        width: width of the video in pixels.
        height: height of the video in pixels.
        read: reads the landmarks. It is called from several threads, and raises `ClipError` if the clip is unusable.
    """

    clip_id: str
    gloss: str
    split: str
    signer: str
    fps: float
    width: int
    height: int
    read: Callable[[], ClipLandmarks]


@dataclass(frozen=True, eq=False)
class LandmarkSource:
    """Landmarks that others made.

    Attributes:
        kind: short name of the kind of file, such as "holistic".
        sha256: hash of the files' content and of every option that changes the landmarks. It is part of the
            fingerprint, so that a corpus never mixes two sources.
        clips: the clips to import.
        corpus: default name of the corpus.
        failures: what cannot be used, and why.
        notes: what the reader assumed, derived or left out, for people.
        with_quality: whether the quality of each clip is measured and stored with it. Archives of WLASL are stored
            without it, byte for byte as by earlier versions.
        conversion: version of the reader. Raise it when the reader returns other landmarks for the same files.
    """

    kind: str
    sha256: str
    clips: tuple[LandmarkClip, ...]
    corpus: str
    failures: tuple[ClipFailure, ...] = ()
    notes: tuple[str, ...] = ()
    with_quality: bool = False
    conversion: str = CONVERSION

    @property
    def fingerprint(self) -> str:
        """The extractor version that is stored in each clip's record. A corpus never mixes two fingerprints."""
        return f"import/{self.kind}/{self.sha256[:12]}/{self.conversion}"


@dataclass(frozen=True)
class FrameSize:
    """Width and height of a video in pixels."""

    width: int
    height: int

    @property
    def aspect(self) -> float:
        """Width divided by height."""
        return self.width / self.height


@dataclass(frozen=True)
class ImportOptions:
    """What the user says about landmark files; None or "" if the user says nothing.

    Attributes:
        wlasl: directory of WLASL's metadata, or that file.
        first_glosses: only this many glosses, in the order of the metadata; 0 takes all.
        fps: frames per second of the videos.
        aspect: width of the videos divided by their height.
        width: width of the videos in pixels.
        height: height of the videos in pixels.
        mirrored: whether the videos are mirrored.
        splits: CSV file with the columns clip, gloss, split and signer.
    """

    wlasl: Path = field(default_factory=lambda: Path("data/wlasl"))
    first_glosses: int = 0
    fps: float | None = None
    aspect: float | None = None
    width: int | None = None
    height: int | None = None
    mirrored: bool | None = None
    splits: Path | None = None

    def frame_size(self) -> FrameSize | None:
        """The frame size that the user gives; None if the user gives none.

        Raises:
            InvalidInput: only one of width and height is given, or both a size and an aspect.
        """
        if (self.width is None) != (self.height is None):
            raise InvalidInput("--width and --height belong together: give both, or --aspect alone.")
        if self.width is not None and self.height is not None:
            if self.aspect is not None:
                raise InvalidInput("--aspect says the same as --width and --height: give one of them.")
            return FrameSize(self.width, self.height)
        if self.aspect is None:
            return None
        return FrameSize(max(1, round(self.aspect * _ASSUMED_HEIGHT)), _ASSUMED_HEIGHT)
