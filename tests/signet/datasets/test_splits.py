"""Folds: no signer is on both sides, each clip is held out once, and each gloss keeps clips to train on."""

import hashlib
import json
import random
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signet.datasets.snapshot import DatasetClip
from signet.datasets.splits import signer_folds
from signet.errors import InvalidInput


def _clip(clip_id: str, gloss: str, signer: str) -> DatasetClip:
    return DatasetClip(
        clip_id=clip_id, gloss=gloss, split="train", signer=signer, sha256="", source_sha256="", start=0, frames=1
    )


def _untrained(clips: Sequence[DatasetClip], held_out: frozenset[str]) -> tuple[str, ...]:
    """The glosses, sorted, all of whose clips are held out: a model of this fold cannot learn them."""
    trained = {clip.gloss for clip in clips if clip.clip_id not in held_out}
    return tuple(sorted({clip.gloss for clip in clips} - trained))


def _like_wlasl(clips: int = 195, glosses: int = 20, signers: int = 34) -> list[DatasetClip]:
    """Few signers made most of the clips, as in WLASL."""
    weights = 1 / np.arange(1, signers + 1)
    chosen = np.random.default_rng(1).choice(signers, clips, p=weights / weights.sum())
    return [_clip(f"{index:05d}", f"gloss{index % glosses}", str(signer)) for index, signer in enumerate(chosen)]


def test_every_clip_is_held_out_once_and_every_signer_is_on_one_side() -> None:
    clips = _like_wlasl()
    folds = signer_folds(clips, 5)
    assert Counter(clip_id for fold in folds for clip_id in fold) == Counter(clip.clip_id for clip in clips)
    for fold in folds:
        held = {clip.signer for clip in clips if clip.clip_id in fold}
        assert not held & {clip.signer for clip in clips if clip.clip_id not in fold}


def test_folds_are_balanced_and_leave_each_gloss_clips_to_train_on() -> None:
    clips = _like_wlasl()
    folds = signer_folds(clips, 5)
    # The most productive signer alone has more than a fifth of all clips.
    largest = Counter(clip.signer for clip in clips).most_common(1)[0][1]
    assert max(map(len, folds)) <= max(largest, len(clips) / 5 + 2)
    for fold in folds:
        assert _untrained(clips, fold) == ()
        by_gloss = Counter(clip.gloss for clip in clips if clip.clip_id in fold)
        assert max(by_gloss.values()) <= 6, "of 9 or 10 clips of each gloss"


@pytest.mark.parametrize(
    ("clips", "folds", "together", "digest"),
    [
        (_like_wlasl(), 5, [], "e48935dc3b29ccfc"),
        (_like_wlasl(), 4, [("00000", "00001", "x"), ("00005", "00001")], "ccad957f45351f90"),
        (_like_wlasl(60, 30, 25), 3, [], "bdcbdc3991e36af1"),
    ],
)
def test_the_folds_are_those_of_older_versions(
    clips: list[DatasetClip], folds: int, together: list[tuple[str, ...]], digest: str
) -> None:
    """The figures of cross-validation stay comparable, and a run that was interrupted keeps its folds."""
    found = json.dumps([sorted(fold) for fold in signer_folds(clips, folds, together)])
    assert hashlib.sha256(found.encode()).hexdigest()[:16] == digest


def test_no_fold_holds_all_clips_of_a_gloss_if_folds_of_less_equal_size_avoid_it() -> None:
    glosses, signers = "acaaaacbab", "yyuwxwzxwy"
    labels = enumerate(zip(glosses, signers, strict=True))
    clips = [_clip(f"{index}", gloss, signer) for index, (gloss, signer) in labels]
    assert [_untrained(clips, fold) for fold in signer_folds(clips, 2)] == [(), ()]


def test_duplicates_of_two_signers_keep_both_together() -> None:
    clips = _like_wlasl()
    first = {signer: next(clip.clip_id for clip in clips if clip.signer == signer) for signer in ("0", "1", "2")}
    together = [(first["0"], first["1"], "not-among-them"), (first["2"], first["1"])]
    for fold in signer_folds(clips, 4, together):
        held = {clip.signer for clip in clips if clip.clip_id in fold} & {"0", "1", "2"}
        assert held in (set(), {"0", "1", "2"})


def test_duplicates_without_a_signer_stay_together_and_other_clips_without_one_are_free() -> None:
    clips = [_clip(f"{index}", "book", "") for index in range(10)]
    folds = signer_folds(clips, 5, [("3", "7")])
    assert sorted(map(len, folds)) == [2, 2, 2, 2, 2]
    assert any({"3", "7"} <= fold for fold in folds)


def test_a_gloss_that_cannot_be_trained_in_a_fold_is_named() -> None:
    clips = [_clip("1", "book", "a"), _clip("2", "book", "b"), _clip("3", "chair", "b"), _clip("4", "book", "c")]
    folds = signer_folds(clips, 3)
    assert sorted(_untrained(clips, fold) for fold in folds) == [(), (), ("chair",)]


@pytest.mark.parametrize(("folds", "says"), [(1, "at least 2"), (4, "only 3 signers")])
def test_impossible_folds_are_refused(folds: int, says: str) -> None:
    clips = [_clip("1", "book", "a"), _clip("2", "book", "b"), _clip("3", "chair", "c"), _clip("4", "book", "c")]
    with pytest.raises(InvalidInput, match=says):
        signer_folds(clips, folds)


@settings(max_examples=40, deadline=None)
@given(
    labels=st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("uvwxyz")), min_size=2, max_size=40),
    folds=st.integers(2, 5),
    order=st.randoms(),
)
def test_the_same_clips_give_the_same_folds_in_any_order(
    labels: list[tuple[str, str]], folds: int, order: random.Random
) -> None:
    clips = [_clip(f"{index:02d}", gloss, signer) for index, (gloss, signer) in enumerate(labels)]
    if len({signer for _, signer in labels}) < folds:
        return
    shuffled = list(clips)
    order.shuffle(shuffled)
    made = signer_folds(clips, folds)
    assert made == signer_folds(shuffled, folds)
    assert all(made)
    assert sum(map(len, made)) == len(clips)


def test_all_of_wlasl_is_divided_in_seconds() -> None:
    clips = _like_wlasl(18_000, 2_000, 118)
    folds = signer_folds(clips, 5)
    assert sum(map(len, folds)) == 18_000
