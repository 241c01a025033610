"""The check that a training has clips of every gloss."""

import logging
from collections.abc import Sequence

from signet.datasets.snapshot import Dataset, DatasetClip
from signet.errors import InvalidInput

_log = logging.getLogger(__name__)


def require_clips(dataset: Dataset, train_clips: Sequence[DatasetClip], *, gloss_may_lack_clips: bool) -> None:
    """Refuse a training without clips, with fewer than two glosses, or with a gloss that has no clip.

    In a fold and in pre-training, a gloss may lack clips. Then it is only logged.

    Raises:
        InvalidInput: the message names what is missing.
    """
    manifest = dataset.manifest
    name = f"dataset {manifest.name}/{manifest.version}"
    if not train_clips:
        raise InvalidInput(f"{name} has no training clips. Extract some: `signet extract --split train`.")
    if len(manifest.vocabulary) < 2:
        raise InvalidInput(
            f"{name} has only the gloss {manifest.vocabulary[0]!r}, and every answer would be right. Take two glosses "
            "or more (--max-glosses), or extract clips of others."
        )
    present = {clip.gloss for clip in train_clips}
    missing = [gloss for gloss in manifest.vocabulary if gloss not in present]
    if not missing:
        return
    fault = f"{name} has no training clips of {', '.join(missing)}"
    if not gloss_may_lack_clips:
        raise InvalidInput(f"{fault}. Extract some, or leave these glosses out (--max-glosses).")
    _log.warning("%s in this fold. Their held-out clips cannot be recognised, and count as wrong", fault)
