"""A training without enough clips is refused."""

import logging

import pytest

from services.trainer.data.clip_requirements import require_clips
from signet.datasets.snapshot import Dataset, assemble_snapshot, sample_clip
from signet.errors import InvalidInput
from signet.landmarks import Landmarks


def test_a_training_needs_clips_of_every_gloss(small_dataset: Dataset, caplog: pytest.LogCaptureFixture) -> None:
    train = small_dataset.split("train")
    require_clips(small_dataset, train, gloss_may_lack_clips=False)
    with pytest.raises(InvalidInput, match=r"has no training clips\. Extract some: `signet extract --split train`"):
        require_clips(small_dataset, [], gloss_may_lack_clips=True)
    without_who = [clip for clip in train if clip.gloss != "who"]
    with pytest.raises(InvalidInput, match=r"has no training clips of who\. Extract some, or leave"):
        require_clips(small_dataset, without_who, gloss_may_lack_clips=False)
    with caplog.at_level(logging.WARNING):
        require_clips(small_dataset, without_who, gloss_may_lack_clips=True)
    assert "no training clips of who in this fold" in caplog.text


def test_a_training_needs_two_glosses(clips: list[Landmarks]) -> None:
    of_book = [sample_clip(clip, clip.record.clip_id) for clip in clips if clip.record.gloss == "book"]
    one_gloss = assemble_snapshot("wlasl", of_book)
    with pytest.raises(InvalidInput, match="has only the gloss 'book'"):
        require_clips(one_gloss, one_gloss.split("train"), gloss_may_lack_clips=False)
