"""The parity vector of an exported model: made-up signing, and what torch answers for it.

The inputs are made, and no clips of the data set: the file leaves the machine with the model, and people can be
recognised by their movements. `services.trainer.export.onnx` compares the export on real clips.
"""

import logging

import numpy as np
import numpy.typing as npt
import torch

from services.trainer.export.onnx import new_session
from services.trainer.model.sign_model import SignModel
from signet.landmarks import FRAME_RATE, JOINTS, LEFT_HAND, POSE, RIGHT_HAND
from signet.parity import MAX_EXPORT_DIFFERENCE, ParityVector, largest_difference

_log = logging.getLogger(__name__)

Clip = npt.NDArray[np.float32]

# Frames of each input, and which hands it shows. A batch of them has padding.
_INPUTS = ((8, "left"), (20, "right"), (37, "both"))
_SEED = 20261128

# Joints of MediaPipe's pose on a standing person, x and y in frame heights: the person is in the middle of the picture.
_BODY = {
    0: (0.5, 0.25), 9: (0.48, 0.29), 10: (0.52, 0.29), 11: (0.6, 0.4), 12: (0.4, 0.4), 13: (0.65, 0.58),
    14: (0.35, 0.58), 15: (0.62, 0.72), 16: (0.38, 0.72), 23: (0.56, 0.75), 24: (0.44, 0.75),
}  # fmt: skip
_LEFT_WRIST, _RIGHT_WRIST = 15, 16
# Distances of the joints of each finger from the wrist, and the angles of the fingers of a left hand.
_FINGER_LENGTHS = (0.04, 0.06, 0.075, 0.085)
_FINGER_ANGLES = (-0.9, -0.35, -0.1, 0.15, 0.4)


def make_parity_vector(model: SignModel, graph: bytes) -> ParityVector | None:
    """The answers of torch on made inputs, and how far those of the exported graph differ.

    Returns:
        None if they differ by more than `MAX_EXPORT_DIFFERENCE`: a server could not tell a fault from rounding.
    """
    session = new_session(graph)
    model = model.cpu().eval()
    clips = [_make_clip(frames, hands) for frames, hands in _INPUTS]
    expected, answers = [], []
    for clip in clips:
        lengths = np.array([len(clip)])
        (answer,) = session.run(["log_probs"], {"landmarks": clip[None], "lengths": lengths})
        with torch.no_grad():
            reference = model(torch.from_numpy(clip)[None], torch.from_numpy(lengths))
        answers.append(answer[0])
        expected.append(reference[0].numpy())
    difference = largest_difference(answers, expected)
    if difference > MAX_EXPORT_DIFFERENCE:
        _log.warning(
            "the model is published without a parity vector: for made inputs, the log-probabilities of ONNX and torch "
            "differ by %.1e, and more than %.0e is no rounding", difference, MAX_EXPORT_DIFFERENCE,
        )  # fmt: skip
        return None
    return ParityVector(tuple(clips), tuple(expected), difference)


def _make_clip(frames: int, hands: str) -> Clip:
    """A model input float32 [T, 75, 3] of a person who moves one hand or both; a hand is absent at the beginning."""
    noise = np.random.default_rng(_SEED + frames)
    seconds = np.arange(frames) / FRAME_RATE
    clip = np.full((frames, JOINTS, 3), np.nan)
    clip[:, POSE] = 0.5 + 0.1 * noise.standard_normal((33, 3))
    for joint, place in _BODY.items():
        clip[:, joint, :2] = place
    clip[:, POSE, 2] *= 0.1
    for part, name, wrist, side in ((LEFT_HAND, "left", _LEFT_WRIST, 1), (RIGHT_HAND, "right", _RIGHT_WRIST, -1)):
        if hands not in {name, "both"}:
            continue
        phase = noise.uniform(0, 2 * np.pi, 4)
        clip[:, wrist, 0] = 0.5 + side * (0.1 + 0.08 * np.sin(3.0 * seconds + phase[0]))
        clip[:, wrist, 1] = 0.5 + 0.12 * np.sin(4.1 * seconds + phase[1])
        turn, bend = 0.5 * np.sin(2.3 * seconds + phase[2]), 0.75 + 0.2 * np.sin(5.0 * seconds + phase[3])
        hand = np.zeros((frames, 21, 3))
        for finger, angle in enumerate(_FINGER_ANGLES):
            for knuckle, length in enumerate(_FINGER_LENGTHS):
                joint, reach = 1 + 4 * finger + knuckle, length * bend ** (knuckle + 0.2 * finger)
                hand[:, joint, 0] = side * reach * np.sin(angle + turn)
                hand[:, joint, 1] = -reach * np.cos(angle + turn)
                hand[:, joint, 2] = 0.02 * knuckle * np.sin(turn)
        hand[..., :2] += clip[:, wrist, None, :2]
        clip[2:, part] = hand[2:]
    return clip.astype(np.float32)
