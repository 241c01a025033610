"""Variants of an example, as other signers, cameras and speeds would show it: a few examples become many.

The changes and their bounds are those of the training (`services.trainer.data.augmentation`), in numpy.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from signet.landmarks import LEFT_HAND, RIGHT_HAND

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Variation:
    """The bounds of the changes. Each is drawn uniformly between minus and plus its bound, unless it says otherwise."""

    rotation: float = 0.2  # of the picture, radians
    shear: float = 0.15  # of the picture
    stretch: float = 0.15  # of the picture's height, relative
    hand_rotation: float = 0.2  # of each hand about its wrist, radians
    hand_scale: float = 0.15  # of each hand about its wrist, relative
    jitter: float = 0.003  # standard deviation of normal noise on each coordinate, frame heights
    speed: float = 0.3  # relative
    crop: float = 0.1  # from 0, share of the clip that is cut from each end
    hand_loss: float = 0.3  # the probability that a hand is lost for up to a third of the frames


_VARIATION = Variation()


def make_variant(samples: Floats, samples_per_frame: int, random: np.random.Generator) -> Floats:
    """A variant of a clip.

    Args:
        samples: float32 [S, 75, 3], more samples than a model sees.
        samples_per_frame: how many of them there are for each frame of a model.
        random: draws the changes.

    Returns:
        A model input float32 [T, 75, 3], at least 2 frames if the clip has two samples.
    """
    bounds = _VARIATION

    def draw(bound: float) -> float:
        return bound * random.uniform(-1.0, 1.0)

    frames = max(2, round(len(samples) / samples_per_frame / (1 + draw(bounds.speed))))
    first, last = bounds.crop * random.random(), 1 - bounds.crop * random.random()
    places = np.linspace(first, last, frames) * (len(samples) - 1)
    variant = samples[np.round(places).astype(np.int64)].astype(np.float64)
    angle, shear, stretch = draw(bounds.rotation), draw(bounds.shear), 1 + draw(bounds.stretch)
    x, y = variant[..., 0].copy(), variant[..., 1].copy()
    variant[..., 0] = np.cos(angle) * x + (shear - np.sin(angle)) * y
    variant[..., 1] = np.sin(angle) * x + np.cos(angle) * stretch * y
    for part in (LEFT_HAND, RIGHT_HAND):
        wrist = variant[:, part][:, :1].copy()
        turn, scale = draw(bounds.hand_rotation), 1 + draw(bounds.hand_scale)
        rotation = np.array([[np.cos(turn), np.sin(turn), 0], [-np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
        variant[:, part] = wrist + scale * (variant[:, part] - wrist) @ rotation
        if random.random() < bounds.hand_loss:
            start, span = random.random() * frames, random.random() * frames / 3
            steps = np.arange(frames)
            variant[(steps >= start) & (steps < start + span), part] = np.nan
    return np.asarray(variant + bounds.jitter * random.standard_normal(variant.shape), np.float32)
