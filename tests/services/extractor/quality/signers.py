"""Made signers: a body in the middle of the picture whose hands move as a test wants."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from signet.landmarks import JOINTS, LEFT_HAND, POSE_JOINTS, RIGHT_HAND, ClipRecord, Landmarks

Points = npt.NDArray[np.float64]
Move = Callable[[Points], Points]


def make_signer(fps: float = 30.0, seconds: float = 3.0, move: Move | None = None) -> Landmarks:
    """A signer in the middle of a picture of 640 x 480 pixels, whose right hand is moved by `move` of the times."""
    times = np.arange(0, seconds, 1 / fps)
    joints = np.zeros((len(times), JOINTS, 3))
    joints[..., :2] = (0.66, 0.3)
    joints[:, 11, :2], joints[:, 12, :2] = (0.85, 0.5), (0.45, 0.5)
    joints[:, 15, :2], joints[:, 16, :2] = (0.9, 0.95), (0.5, 0.6)
    joints[:, LEFT_HAND, :2], joints[:, RIGHT_HAND, :2] = (0.9, 0.95), (0.5, 0.6)
    for hand in (LEFT_HAND, RIGHT_HAND):
        joints[:, hand.start + 9, 1] -= 0.1
    presence = np.ones((len(times), 3), np.uint8)
    if move is not None:
        joints[:, RIGHT_HAND, :2] += move(times)[:, None]
        joints[:, 16, :2] += move(times)
    joints[0::2, LEFT_HAND] = np.nan
    presence[0::2, 1] = 0
    record = ClipRecord(clip_id="c", fps=fps, width=640, height=480, frame_end=len(times))
    visibility = np.ones((len(times), POSE_JOINTS), np.float16)
    return Landmarks(joints.astype(np.float16), presence, visibility, times.astype(np.float32), record)


def make_sign(seed: int, clip_id: str, *, start: float = 0.0, seconds: float = 3.0, **fields: object) -> Landmarks:
    """A clip of a recording: equal seeds give parts of the same recording, which begin at `start`."""
    rng = np.random.default_rng(seed)
    sizes, rates, phases = rng.uniform(0.03, 0.12, (3, 2)), rng.uniform(0.2, 1.5, (3, 2)), rng.uniform(0, 6, (3, 2))

    def move(times: Points) -> Points:
        angles = 2 * np.pi * rates * (times[:, None, None] + start) + phases
        return np.asarray((sizes * np.sin(angles)).sum(axis=1))

    clip = make_signer(seconds=seconds, move=move)
    record = {"clip_id": clip_id, "corpus": "made", "gloss": clip_id, "split": "train"} | fields
    return replace(clip, record=clip.record.model_copy(update=record))
