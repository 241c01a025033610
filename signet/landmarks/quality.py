"""How good the landmarks of a clip are, as numbers in the record of the clip. docs/data.md explains them to people."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from signet.field_types import Share

# A length, a time or a count of pixels.
Measure = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]


class ClipQuality(BaseModel):
    """The quality of a clip. None says that a number is unknown, for example because no hand was found.

    Shares of frames are shares of the frames that were tracked. Lengths are in frame heights.
    `services.extractor.quality.measurement` has the formulas.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    pose: Share  # share of the frames with a pose
    left_hand: Share  # share of the frames with the left hand
    right_hand: Share  # share of the frames with the right hand
    any_hand: Share  # share of the frames with at least one hand
    hand_jitter: Measure | None = None  # how far the joints of the hands tremble
    shoulder_jitter: Measure | None = None  # how far the shoulders tremble
    frame_rate: Measure | None = None  # frames of the video a second, where none is missing
    dropped_frames: Share | None = None  # share of the frames that are missing in the video
    longest_gap: Measure | None = None  # seconds from one frame of the video to the next, at most
    hands_outside: Share | None = None  # share of the frames of the sign with no wrist inside the picture
    signing_hand_outside: Share | None = None  # share of the frames of the sign with the signing hand outside it
    head_outside: Share | None = None  # share of the frames in which a part of the face is outside the picture
    palm_pixels: Measure | None = None  # length of a palm that faces the camera
    shoulder_width: Measure | None = None  # width of the shoulders
    # How much the left hand leads: positive if it does, negative if the right hand does.
    left_dominance: Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)] | None = None
    several_people: bool | None = None  # whether more than one person is in the picture
