"""Which models a run trains, and on what."""

from collections import Counter

import pytest

from services.trainer.config.train_config import TrainConfig
from services.trainer.data.members import plan_members
from signet.datasets.snapshot import Dataset
from signet.errors import InvalidInput


def test_a_run_of_one_seed_trains_on_train_and_is_evaluated_on_val(small_dataset: Dataset) -> None:
    (only,) = plan_members(small_dataset.manifest, TrainConfig(seed=5))
    assert only.key == (0, 5)
    assert (list(only.train), list(only.held_out)) == (small_dataset.split("train"), small_dataset.split("val"))


def test_seeds_follow_one_another(small_dataset: Dataset) -> None:
    assert [member.key for member in plan_members(small_dataset.manifest, TrainConfig(seed=5, seeds=3))] == [
        (0, 5),
        (0, 6),
        (0, 7),
    ]


def test_folds_hold_out_every_clip_once_for_every_seed_and_no_signer_is_on_both_sides(small_dataset: Dataset) -> None:
    members = plan_members(small_dataset.manifest, TrainConfig(seeds=2, folds=4))
    assert [member.key for member in members] == [(fold, seed) for seed in (0, 1) for fold in range(4)]
    for seed in (0, 1):
        held_out = Counter(clip.clip_id for one in members if one.seed == seed for clip in one.held_out)
        assert held_out == Counter(clip.clip_id for clip in small_dataset.manifest.clips)
    for member in members:
        assert len(member.train) + len(member.held_out) == 24
        assert not {clip.signer for clip in member.train} & {clip.signer for clip in member.held_out}


def test_a_fold_parts_all_clips_and_no_duplicates(small_dataset: Dataset) -> None:
    """Two clips of different signers that show the same recording are held out together."""
    manifest = small_dataset.manifest
    config = TrainConfig(folds=4)
    apart = [member for member in plan_members(manifest, config) if "book-0" in {c.clip_id for c in member.held_out}]
    other = next(clip for clip in apart[0].train if clip.signer != "0")
    audit = manifest.audit.model_copy(update={"near_identical": (("book-0", other.clip_id),)})
    members = plan_members(manifest.model_copy(update={"audit": audit}), config.model_copy(update={"folds": 3}))
    for member in members:
        held_out, train = ({clip.clip_id for clip in clips} for clips in (member.held_out, member.train))
        assert held_out | train == {clip.clip_id for clip in manifest.clips}
        assert not held_out & train
        assert len({"book-0", other.clip_id} & held_out) in {0, 2}


def test_clips_of_another_split_belong_to_no_member(small_dataset: Dataset) -> None:
    first, *rest = small_dataset.manifest.clips
    test_clip = first.model_copy(update={"split": "test"})
    manifest = small_dataset.manifest.model_copy(update={"clips": (test_clip, *rest)})
    for config in (TrainConfig(), TrainConfig(folds=2)):
        for member in plan_members(manifest, config):
            assert test_clip.clip_id not in {clip.clip_id for clip in (*member.train, *member.held_out)}


def test_more_folds_than_signers_are_refused(small_dataset: Dataset) -> None:
    with pytest.raises(InvalidInput, match="5 folds of 24 clips: they have only 4 signers"):
        plan_members(small_dataset.manifest, TrainConfig(folds=5))
