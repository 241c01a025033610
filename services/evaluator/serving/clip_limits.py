"""The longest clip that is recognised as one isolated sign."""

from signet.errors import InvalidInput
from signet.landmarks import ClipLength, Landmarks, load, read_length

# A sign takes seconds. Videos of two minutes are answered too. Three minutes are 1,800 frames of the model, which take
# a core about one second.
MAX_SECONDS = 180.0
# Two minutes at 60 frames a second, 3.8 MB: 64 such calls at once stay below 600 MB of memory.
MAX_FRAMES = 7_200
# More than the 36,000 frames that a landmark tensor v1 may have.
MAX_BYTES = 20 * 1024 * 1024


def measure_clip(landmarks: bytes, name: str) -> ClipLength:
    """The length of a clip, read without its tensors; 0 frames if the bytes are not a landmark tensor v1.

    `name` is the name of the input in an error.

    Raises:
        InvalidInput: the clip is too long for one sign.
    """
    if len(landmarks) > MAX_BYTES:
        raise InvalidInput(
            f"{name}: {len(landmarks)} bytes of landmarks; at most {MAX_BYTES} can be recognised as one sign. "
            f"{_advice(name)}"
        )
    length = read_length(landmarks) or ClipLength(0, 0.0)
    _check_length(length, name)
    return length


def load_isolated_clip(landmarks: bytes, name: str) -> Landmarks:
    """Decode the landmark tensor v1 of one isolated clip that `measure_clip` has accepted.

    Raises:
        InvalidInput: the clip is too long for one sign, or the bytes are not a landmark tensor v1.
    """
    clip = load(landmarks, name)
    _check_length(clip.length, name)
    return clip


def _check_length(length: ClipLength, name: str) -> None:
    if length.seconds > MAX_SECONDS or length.frames > MAX_FRAMES:
        raise InvalidInput(
            f"{name}: the clip has {length.frames} frames and lasts {length.seconds:.1f} s. At most {MAX_FRAMES} "
            f"frames and {MAX_SECONDS:g} s can be recognised as one sign. {_advice(name)}"
        )


def _advice(name: str) -> str:
    if name == "video":
        return "Cut it to the sign. This takes 10 s from second 5 on: ffmpeg -ss 5 -i video -t 10 sign.mp4"
    return "Cut the clip to the sign, and send its landmarks."
