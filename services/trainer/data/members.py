"""The members of a run: which models it trains, and on which clips.

A member is one trained model. A run has one member for each seed; with cross-validation, one for each seed and fold.
"""

from dataclasses import dataclass

from services.trainer.config.train_config import TrainConfig
from signet.datasets.snapshot import TRAIN, VAL, DatasetClip, Manifest
from signet.datasets.splits import signer_folds

# Fold and seed.
MemberKey = tuple[int, int]


@dataclass(frozen=True)
class Member:
    """One model of a run."""

    fold: int  # the fold that is held out, from 0; also 0 without cross-validation
    seed: int  # of the weights, the order of clips and the augmentation
    train: tuple[DatasetClip, ...]  # the clips that it is trained on
    held_out: tuple[DatasetClip, ...]  # the clips that it is evaluated on

    @property
    def key(self) -> MemberKey:
        """Identifies the member within its run."""
        return (self.fold, self.seed)


def plan_members(manifest: Manifest, config: TrainConfig) -> tuple[Member, ...]:
    """The members of a run, in training order: all folds of the first seed first.

    Raises:
        InvalidInput: the clips have fewer signers than there are folds.
    """
    train, val = (tuple(clip for clip in manifest.clips if clip.split == split) for split in (TRAIN, VAL))
    divisions = [(train, val)]
    if config.folds:
        clips = (*train, *val)
        divisions = [
            (
                tuple(clip for clip in clips if clip.clip_id not in held_out),
                tuple(clip for clip in clips if clip.clip_id in held_out),
            )
            for held_out in signer_folds(clips, config.folds, manifest.audit.duplicates)
        ]
    return tuple(
        Member(fold, config.seed + number, *division)
        for number in range(config.seeds)
        for fold, division in enumerate(divisions)
    )
