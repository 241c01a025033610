"""Continuous signing made from clips, as a camera would see it."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from signet.landmarks import Landmarks, to_model_input
from signet.landmarks.body import Frames, left_dominance
from signet.landmarks.concatenation import Joining, SignedSpan, concatenate_idle_parts, concatenate_landmarks

# The number of signs in a sequence.
SEQUENCE_LENGTHS = (3, 4, 5, 6, 8, 10, 14, 20)

TimedFrame = tuple[float, Frames]


@dataclass(frozen=True, eq=False)
class SignedSequence:
    """A concatenation of clips, as a camera would have seen it."""

    landmarks: Landmarks
    signs: tuple[SignedSpan, ...]

    @property
    def frames(self) -> list[TimedFrame]:
        """The frames and their times."""
        return timed_frames(self.landmarks)

    @property
    def seconds(self) -> float:
        """The time of the last frame; that of the first one is 0."""
        return float(self.landmarks.timestamps[-1])


def timed_frames(clip: Landmarks) -> list[TimedFrame]:
    """The frames of a clip and their times."""
    return [(float(time), joints) for time, joints in zip(clip.timestamps, clip.landmarks, strict=True)]


def find_left_handed(clips: Sequence[Landmarks]) -> frozenset[str]:
    """The signers in whose clips the left hand is dominant on average."""
    measures: dict[str, list[float]] = defaultdict(list)
    for clip in clips:
        measures[clip.record.signer].append(left_dominance(to_model_input(clip)))
    return frozenset(signer for signer, values in measures.items() if np.mean(values) > 0)


def make_sequences(
    clips: Sequence[Landmarks], joining: Joining, seed: int, lengths: Sequence[int] = SEQUENCE_LENGTHS
) -> list[SignedSequence]:
    """Sequences of clips in random order. Each clip is in one of them; a rest that is too short is left out.

    The clips of a sequence look like those of one signer: they have one body, and left-handed signers are mirrored.
    Every second sequence is mirrored as a whole, so half of the streams have a left-handed signer.

    Args:
        clips: the clips; their glosses are the truth.
        joining: how they are joined.
        seed: of the order and of the lengths.
        lengths: the numbers of clips of a sequence, all equally probable.
    """
    left_handed = find_left_handed(clips)
    sequences: list[SignedSequence] = []
    for number, chosen in enumerate(_draw_groups(clips, seed, lengths)):
        mirrored = number % 2 == 1
        flips = [(clip.record.signer in left_handed) != mirrored for clip in chosen]
        sequences.append(SignedSequence(*concatenate_landmarks(chosen, joining, flips)))
    return sequences


def make_idle_sequences(
    clips: Sequence[Landmarks], seed: int, lengths: Sequence[int] = SEQUENCE_LENGTHS
) -> list[SignedSequence]:
    """Sequences in which nothing is signed: the idle heads and tails of the groups of clips of `make_sequences`."""
    joined = [concatenate_idle_parts(group) for group in _draw_groups(clips, seed, lengths)]
    return [SignedSequence(idle, ()) for idle in joined if idle is not None]


def _draw_groups(clips: Sequence[Landmarks], seed: int, lengths: Sequence[int]) -> list[list[Landmarks]]:
    random = np.random.default_rng(seed)
    order = random.permutation(len(clips)).tolist()
    groups = []
    while len(order) >= min(lengths):
        length = min(len(order), int(random.choice(lengths)))
        groups.append([clips[index] for index in order[:length]])
        del order[:length]
    return groups
