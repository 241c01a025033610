"""What a model sees of a clip: joints in the body's frame, what is there, and every feature."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from services.trainer.drawing.posteriors import Frames
from services.trainer.features import names as feature_names
from services.trainer.features.groups import GROUPS
from services.trainer.features.phonology import (
    LEFT_HAND,
    PART_STARTS,
    POSE,
    RIGHT_HAND,
    USED_JOINTS,
    Features,
    body_origin_and_scale,
    mirror_left_led,
)

# Places among the joints of `Sight`.
FOLLOWING, LEADING = LEFT_HAND, RIGHT_HAND


@dataclass(frozen=True, eq=False)
class Standard:
    """What a model has seen of each feature in training: float32 [D] each."""

    mean: npt.NDArray[np.float32]
    deviation: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Measured:
    """One number over the whole clip.

    Attributes:
        group: of features.
        name: what it is.
        values: float32 [T]; NaN where there is nothing to measure.
    """

    group: str
    name: str
    values: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Sight:
    """A clip as a model sees it. A clip led by the left hand is mirrored; the hand that leads is the right one then.

    Attributes:
        joints: float32 [T, J, 2]: `features.USED_JOINTS` in the body's frame (from between the shoulders, in widths of
            the shoulders, y down); NaN where a part is absent.
        present: bool [T, 3]: body, following hand, leading hand.
        mirrored: whether the left hand leads.
        scale: width of the shoulders, in frame heights.
        by_body: whether that was measured of the body; otherwise it is reckoned from the hands.
        leading: what is measured of the hand that leads, as the model takes it.
        following: of the other one.
        both: of both together.
    """

    joints: npt.NDArray[np.float32]
    present: npt.NDArray[np.bool_]
    mirrored: bool
    scale: float
    by_body: bool
    leading: tuple[Measured, ...]
    following: tuple[Measured, ...]
    both: tuple[Measured, ...]

    @property
    def frames(self) -> int:
        """T."""
        return len(self.joints)


@torch.no_grad()
def look(frames: Frames, groups: tuple[str, ...] = GROUPS, standard: Standard | None = None) -> Sight:
    """See a clip.

    Args:
        frames: its model input, float32 [T, 75, 3].
        groups: of features, those that the model measures.
        standard: what the model takes them by; without one they stay as they are measured.
    """
    joints = torch.from_numpy(np.array(frames[:, USED_JOINTS])).permute(2, 1, 0)[:, :, None]
    given = ~joints[0, PART_STARTS].isnan()
    joints, lengths = joints.nan_to_num(), torch.tensor([len(frames)])
    features = Features(groups)
    values = features(joints, given, lengths)[0].numpy()
    if standard is not None:
        values = (values - standard.mean) / standard.deviation
    led, present = mirror_left_led(joints, given, lengths)
    hands = torch.stack([led[:, FOLLOWING], led[:, LEADING]], dim=1)
    origin, scale = body_origin_and_scale(led[:2, POSE], present[0], hands, present[1:])
    placed = ((led[:2] - origin[:, None]) / scale)[:, :, 0].permute(2, 1, 0).numpy()
    there = present[:, 0].T.numpy()
    for part, where in enumerate((POSE, FOLLOWING, LEADING)):
        placed[~there[:, part], where] = np.nan
    of_hand, of_both = feature_names.hand_feature_names(groups), feature_names.two_hand_feature_names(groups)
    following, leading, both = np.split(values, [features.hand_size, 2 * features.hand_size], axis=1)
    return Sight(
        joints=placed,
        present=there,
        mirrored=not torch.equal(led, joints),
        scale=float(scale),
        by_body=bool(present[0].any()),
        leading=_measured(of_hand, leading, there[:, 2], there[:, 0]),
        following=_measured(of_hand, following, there[:, 1], there[:, 0]),
        both=_measured(of_both, both, np.ones(len(frames), np.bool_), there[:, 0]),
    )


def _measured(
    names: list[tuple[str, str]],
    values: npt.NDArray[np.float32],
    handed: npt.NDArray[np.bool_],
    posed: npt.NDArray[np.bool_],
) -> tuple[Measured, ...]:
    """Numbers with their names, and without the zeros that stand for what is not there."""
    # The wrist is also known from the pose; near to something is a hand only where there is a body.
    there = {
        "location": handed | posed,
        "movement": handed | posed,
        "contact": handed & posed,
        "presence": np.ones_like(handed),
    }
    return tuple(
        Measured(group, name, np.where(there.get(group, handed), column, np.nan).astype(np.float32))
        for (group, name), column in zip(names, values.T, strict=True)
    )
