"""Makes recordings of signers as recorders store them: fractions of a 4:3 picture, zeros for absent parts."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tests.services.extractor.archives import left_hand, right_hand

Numbers = npt.NDArray[np.float32]

ASPECT = 4 / 3


@dataclass(frozen=True, eq=False)
class Film:
    """A recording: pose [T, 33, 4] and hands [T, 2, 21, 3] in fractions; zeros where a part is absent."""

    pose: Numbers
    hands: Numbers

    def rows(self, width: int = 1662) -> Numbers:
        """The numbers of each frame in the layout with this many numbers."""
        count = len(self.pose)
        hands = self.hands.reshape(count, -1)
        parts = {
            1662: [self.pose.reshape(count, -1), np.full((count, 468 * 3), 0.4, np.float32), hands],
            258: [self.pose.reshape(count, -1), hands],
            225: [self.pose[..., :3].reshape(count, -1), hands],
            126: [hands],
            63: [self.hands[:, 1].reshape(count, -1)],
        }
        return np.concatenate(parts[width], axis=1)

    def flipped(self) -> "Film":
        """The recording with x replaced by 1 - x, and the names of the sides kept."""
        pose, hands = self.pose.copy(), self.hands.copy()
        pose[..., 0] = 1 - pose[..., 0]
        found = hands.any(axis=(2, 3))
        hands[found, :, 0] = 1 - hands[found, :, 0]
        return Film(pose, hands)

    def mirrored(self) -> "Film":
        """The recording as MediaPipe finds it in the mirrored picture."""
        order = [0, 4, 5, 6, 1, 2, 3, 8, 7, 10, 9, *(j + 1 if j % 2 else j - 1 for j in range(11, 33))]
        flipped = self.flipped()
        return Film(flipped.pose[:, order], flipped.hands[:, ::-1])

    def noised(self, sigma: float, seed: int = 0) -> "Film":
        """The recording with noise on all joints that were found."""
        random = np.random.default_rng(seed)
        hands = self.hands + random.normal(0, sigma, self.hands.shape) * (self.hands != 0)
        pose = self.pose.copy()
        pose[..., :3] += random.normal(0, sigma, pose[..., :3].shape)
        return Film(pose, hands.astype(np.float32))

    def scaled(self, factor: float) -> "Film":
        """The recording in a picture that is scaled around its middle."""
        pose, hands = self.pose.copy(), self.hands.copy()
        pose[..., :2] = 0.5 + factor * (pose[..., :2] - 0.5)
        hands[..., :2] = np.where(hands[..., :2] != 0, 0.5 + factor * (hands[..., :2] - 0.5), 0)
        return Film(pose, hands)


def film(sign: int, take: int = 0, frames: int = 30, *, both_hands: bool = False) -> Film:
    """A take of a sign: the right hand moves on a path that belongs to the sign, a little differently in each take."""
    own = np.random.default_rng(sign)
    varied = np.random.default_rng((sign, take))
    moments = np.arange(frames) / 15
    rate, phase = own.uniform(0.3, 0.9, 2), own.uniform(0, 6, 2)
    phase = phase + varied.normal(0, 0.4, 2)
    path = np.array([0.45, 0.55]) + varied.normal(0, 0.02, 2)
    path = path + 0.12 * np.sin(2 * np.pi * rate * moments[:, None] + phase)
    path += 0.08 * np.sin(2 * np.pi * varied.uniform(0.5, 1.5, 2) * moments[:, None] + varied.uniform(0, 6, 2))
    body = np.zeros((frames, 33, 4), np.float32)
    standing = own.normal((0.66, 0.4, 0), (0.06, 0.05, 0.05), (33, 3))
    standing[0] = (0.66, 0.25, -0.3)
    standing[[11, 12]] = [[0.86, 0.5, 0], [0.46, 0.5, 0]]
    standing[[13, 14]] = [[0.92, 0.75, 0], [0.4, 0.75, 0]]
    standing[[15, 16]] = [[0.95, 0.95, 0], [0.36, 0.95, 0]]
    standing[23:, 1] += 0.6
    body[..., :3] = standing
    body[:, 16, :2] = path
    body[..., 3] = 0.9
    hands = np.zeros((frames, 2, 21, 3), np.float32)
    for index, (x, y) in enumerate(path):
        hands[index, 1] = right_hand(x, y, 0.08)
        if both_hands:
            hands[index, 0] = left_hand(1.32 - x, y, 0.08)
            body[index, 15, :2] = (1.32 - x, y)
    scale = np.array([ASPECT, 1, ASPECT], np.float32)
    body[..., :3] /= scale
    return Film(body, hands / scale)


def write_frames(folder: Path, rows: Numbers) -> Path:
    """A recording: one file for each frame."""
    folder.mkdir(parents=True)
    for index, row in enumerate(rows):
        np.save(folder / f"{index}.npy", row.astype(np.float64))
    return folder


def write_tree(root: Path, signs: int = 3, takes: int = 5, width: int = 1662, frames: int = 30) -> Path:
    """MP_Data of some signs, named sign0, sign1, ..."""
    for sign in range(signs):
        for take in range(takes):
            write_frames(root / f"sign{sign}" / str(take), film(sign, take, frames).rows(width))
    return root
