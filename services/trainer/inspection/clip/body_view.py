"""What a model sees of a clip: joints relative to the body, present parts, and features."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from services.trainer.features.groups import GROUPS, hand_feature_names, two_hand_feature_names
from services.trainer.features.phonology import (
    LEFT_HAND,
    PART_STARTS,
    POSE,
    RIGHT_HAND,
    USED_JOINTS,
    Features,
    body_origin_and_scale,
    mirror_left_dominant,
)
from services.trainer.inspection.posteriors import Frames

# Places of the hands among the joints of a `BodyView`.
NON_DOMINANT, DOMINANT = LEFT_HAND, RIGHT_HAND

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class FeatureStatistics:
    """Mean and standard deviation of each feature over the training frames of a model: float32 [D] each."""

    mean: npt.NDArray[np.float32]
    deviation: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class FeatureRow:
    """One feature over time."""

    group: str  # its feature group
    name: str
    values: npt.NDArray[np.float32]  # float32 [T]; NaN where the part that it measures is absent


@dataclass(frozen=True, eq=False)
class BodyView:
    """A clip as the model sees it. If the left hand is dominant, the clip is mirrored."""

    # float32 [T, J, 2]; the joints `USED_JOINTS`, y down. The origin is between the shoulders and the unit is the width
    # of the shoulders. NaN where a part is absent.
    joints: npt.NDArray[np.float32]
    present: Mask  # bool [T, 3]; body, non-dominant hand, dominant hand
    mirrored: bool  # whether the left hand is dominant
    scale: float  # width of the shoulders in frame heights
    by_body: bool  # whether origin and unit are measured on the body; otherwise they are estimated from the hands
    dominant: tuple[FeatureRow, ...]  # the features of the dominant hand
    non_dominant: tuple[FeatureRow, ...]  # the features of the non-dominant hand
    both: tuple[FeatureRow, ...]  # the features of both hands together

    @property
    def frames(self) -> int:
        """T."""
        return len(self.joints)


@torch.no_grad()
def compute_body_view(
    frames: Frames, groups: tuple[str, ...] = GROUPS, statistics: FeatureStatistics | None = None
) -> BodyView:
    """Compute what a model sees of a clip.

    Args:
        frames: the model input, float32 [T, 75, 3].
        groups: the feature groups of the model.
        statistics: standardises the features, as the model does; None leaves them in their units.
    """
    joints = torch.from_numpy(np.array(frames[:, USED_JOINTS])).permute(2, 1, 0)[:, :, None]
    given = ~joints[0, PART_STARTS].isnan()
    joints, lengths = joints.nan_to_num(), torch.tensor([len(frames)])
    features = Features(groups)
    values = features(joints, given, lengths)[0].numpy()
    if statistics is not None:
        values = (values - statistics.mean) / statistics.deviation
    right_dominant, parts = mirror_left_dominant(joints, given, lengths)
    hands = torch.stack([right_dominant[:, NON_DOMINANT], right_dominant[:, DOMINANT]], dim=1)
    origin, scale = body_origin_and_scale(right_dominant[:2, POSE], parts[0], hands, parts[1:])
    placed = ((right_dominant[:2] - origin[:, None]) / scale)[:, :, 0].permute(2, 1, 0).numpy()
    present = parts[:, 0].T.numpy()
    for part, places in enumerate((POSE, NON_DOMINANT, DOMINANT)):
        placed[~present[:, part], places] = np.nan
    body, non_dominant_hand, dominant_hand = present.T
    non_dominant, dominant, both = np.split(values, [features.hand_size, 2 * features.hand_size], axis=1)
    hand_names = hand_feature_names(groups)
    return BodyView(
        joints=placed,
        present=present,
        mirrored=not torch.equal(right_dominant, joints),
        scale=float(scale),
        by_body=bool(body.any()),
        dominant=_feature_rows(hand_names, dominant, dominant_hand, body),
        non_dominant=_feature_rows(hand_names, non_dominant, non_dominant_hand, body),
        both=_feature_rows(two_hand_feature_names(groups), both, np.ones_like(body), body),
    )


def _feature_rows(
    names: list[tuple[str, str]], values: npt.NDArray[np.float32], hand: Mask, body: Mask
) -> tuple[FeatureRow, ...]:
    """Features with their names; NaN instead of the zeros that stand for an absent part."""
    # The wrist is also known from the pose. A hand is near a place of the body only where both are present.
    measured = {
        "location": hand | body, "movement": hand | body, "contact": hand & body, "presence": np.ones_like(hand)
    }  # fmt: skip
    return tuple(
        FeatureRow(group, name, np.where(measured.get(group, hand), column, np.nan).astype(np.float32))
        for (group, name), column in zip(names, values.T, strict=True)
    )
