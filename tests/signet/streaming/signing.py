"""Camera frames of a made signer, and a made model, for the tests of streams."""

import numpy as np
import numpy.typing as npt

from signet.decoding import ContinuousDecoder
from signet.landmarks import JOINTS, LEFT_HAND, RIGHT_HAND
from signet.landmarks.body import Frames
from signet.statistics.vocabulary_score import VocabularyScore
from signet.streaming import RecognitionModel, SignStream, StreamEvent, StreamSettings, StreamWindow

FrameAt = tuple[float, Frames]

MODEL = RecognitionModel(
    vocabulary=("near", "middle", "far"),
    decoder=ContinuousDecoder(insertion_penalty=0.5, repetition_penalty=2.0),
    vocabulary_score=VocabularyScore(temperature=1.0, weight=2.0, bias=-1.0),
)

_WIDTH = 0.25  # of the shoulders


def camera_frame(seconds: float, signed: tuple[tuple[float, int], ...], *, trembling: float = 0.0) -> Frames:
    """A person who signs at some times, each for a second, and rests otherwise.

    Args:
        seconds: the time of the frame.
        signed: the begin of each sign, and its class: the hand is farther out for a larger one.
        trembling: frame heights by which the hands move at rest.
    """
    joints = np.full((JOINTS, 3), np.nan, np.float32)
    joints[:33] = (0.5, 0.4, 0.0)
    joints[11, 0], joints[12, 0] = 0.5 + _WIDTH / 2, 0.5 - _WIDTH / 2
    x, y = 0.5, 0.4 + 1.5 * _WIDTH + trembling * np.sin(40 * seconds)
    for begin, sign in signed:
        if begin <= seconds < begin + 1:
            x = 0.5 - _WIDTH * (sign - 1) + 0.03 * np.sin(12 * seconds)
            y = 0.4 + 0.2 * _WIDTH + 0.03 * np.cos(9 * seconds)
            joints[RIGHT_HAND] = (x, y, 0.0)
            joints[RIGHT_HAND, 1] -= np.linspace(0, _WIDTH / 3, 21, dtype=np.float32)
    joints[16, :2] = x, y
    joints[15, :2] = 0.5, 0.4 + 1.5 * _WIDTH
    return joints


def signing(*signed: tuple[float, int], seconds: float, fps: float = 30.0, origin: float = 0.0) -> list[FrameAt]:
    """The frames of a camera, with their times."""
    times = np.arange(int(seconds * fps)) / fps
    return [(origin + float(time), camera_frame(float(time), signed)) for time in times]


def made_model(frames: Frames) -> npt.NDArray[np.float32]:
    """Log-probabilities [T, 4]: a sign is emitted in the fifth frame after the hand appears, by where the hand is."""
    found = np.isfinite(frames[:, RIGHT_HAND.start, 0])
    emission = np.full((len(frames), 4), 0.01)
    emission[:, 0] = 0.97
    for frame in np.flatnonzero(found):
        run = found[max(0, frame - 5) : frame + 1]
        if len(run) == 6 and run[1:].all() and not run[0]:
            place = round(float(0.5 - frames[frame, RIGHT_HAND.start, 0]) / _WIDTH)
            emission[frame] = 0.02
            emission[frame, 1 + int(np.clip(place, 0, 2))] = 0.94
    return np.asarray(np.log(emission), np.float32)


def compute(stream: SignStream) -> list[StreamWindow]:
    """Answer all windows that a stream asks for, and return them."""
    windows = []
    while (window := stream.next_window()) is not None:
        windows.append(window)
        stream.add_log_probs(window, made_model(window.frames))
    return windows


def recognise(
    frames: list[FrameAt], *, together: int = 1, settings: StreamSettings | None = None, model: RecognitionModel = MODEL
) -> list[StreamEvent]:
    """All events of a stream whose windows are computed after each `together` frames."""
    stream = SignStream(model, settings)
    for number, (seconds, joints) in enumerate(frames, start=1):
        stream.add_frame(seconds, joints)
        if number % together == 0:
            compute(stream)
    stream.finish()
    compute(stream)
    return stream.take_events()


def left_hand_is(joints: Frames, present: bool) -> Frames:
    """The frame with or without a left hand."""
    changed = joints.copy()
    changed[LEFT_HAND] = (0.6, 0.7, 0.0) if present else np.nan
    return changed
