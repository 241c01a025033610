"""What there is to learn from: glosses by their supply of clips, and whether some clips are enough to begin with."""

import logging
from collections.abc import Mapping, Sequence

from signet.datasets.snapshot import Dataset, DatasetClip
from signet.errors import InvalidInput

_log = logging.getLogger(__name__)


def ranked(clips: Mapping[str, int]) -> list[str]:
    """Glosses by how many clips they have, the best supplied first; of equals, by name."""
    return sorted(clips, key=lambda gloss: (-clips[gloss], gloss))


def require_clips(dataset: Dataset, train_clips: Sequence[DatasetClip], *, gloss_may_lack_clips: bool) -> None:
    """Check that there are training clips, at least two glosses, and at least one clip of each gloss.

    Args:
        dataset: the snapshot.
        train_clips: its clips to train on.
        gloss_may_lack_clips: whether a gloss without clips is only logged, as in a fold.

    Raises:
        InvalidInput: something is missing; the message names it.
    """
    manifest = dataset.manifest
    name = f"dataset {manifest.name}/{manifest.version}"
    if not train_clips:
        raise InvalidInput(f"{name} has no training clips. Extract some: `signet extract --split train`.")
    if len(manifest.vocabulary) < 2:
        raise InvalidInput(
            f"{name} has one gloss, {manifest.vocabulary[0]!r}: whatever a model answered would be right. Take two "
            "glosses or more (--max-glosses), or extract clips of others."
        )
    there = {clip.gloss for clip in train_clips}
    missing = [gloss for gloss in manifest.vocabulary if gloss not in there]
    if not missing:
        return
    named = f"{name} has no training clips of {', '.join(missing)}"
    if not gloss_may_lack_clips:
        raise InvalidInput(f"{named}. Extract some, or leave these glosses out (--max-glosses).")
    _log.warning("%s in this fold. Their held-out clips cannot be recognised, and count as wrong", named)
