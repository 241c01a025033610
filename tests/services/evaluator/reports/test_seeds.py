"""The predictions of a run by seed: each clip keeps its own predictions in any order of the folds."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from services.evaluator.reports.seeds import HeldOutRun
from signet import heldout
from signet.datasets.snapshot import DatasetClip, Manifest
from signet.errors import DataLoss
from signet.heldout import GlossErrorCount, HeldOutPredictions, MemberPredictions

GLOSSES = ("book", "chair", "drink")
# Folds hold their clips in this order, which is not that of the ids.
FOLDS = (("f", "b", "d"), ("e", "a", "c"))
LABEL = {"a": 1, "b": 2, "c": 3, "d": 1, "e": 2, "f": 3}


def member(fold: int, seed: int, clips: tuple[str, ...], *, wrong: str = "", sure: float = 5.0) -> MemberPredictions:
    """A model that recognises its clips, but takes those of `wrong` for the next gloss. Each figure tells the clip."""
    scores = np.full((len(clips), 3), -9.0, np.float32)
    for row, clip in enumerate(clips):
        scores[row, (LABEL[clip] - 1 + (clip in wrong)) % 3] += sure
    return MemberPredictions(
        fold=fold,
        seed=seed,
        clip_ids=clips,
        labels=np.array([LABEL[clip] for clip in clips], np.int32),
        scores=scores,
        continuous=tuple((GLOSSES[LABEL[clip] - 1],) for clip in clips),
        greedy=tuple((GLOSSES[LABEL[clip] % 3],) for clip in clips),
        blank_ratio=np.array([ord(clip) / 1000 for clip in clips], np.float32),
        frames=np.array([ord(clip) for clip in clips], np.int32),
        gloss_errors=GlossErrorCount(1 + fold, 10),
    )


def run(*members: MemberPredictions, **changes: Any) -> HeldOutRun:
    manifest: dict[str, Any] = {
        "name": "made",
        "version": "1",
        "clips": tuple(
            DatasetClip(
                clip_id=clip,
                gloss=GLOSSES[label - 1],
                split="val",
                signer="",
                sha256="",
                source_sha256="",
                start=0,
                frames=1,
            )
            for clip, label in LABEL.items()
        ),
    }
    fields: dict[str, Any] = {
        "run_id": "run-7",
        "model_name": "signet",
        "dataset_name": "made",
        "dataset_version": "1",
        "protocol": heldout.CROSS_VALIDATION,
        "folds": 2,
        "vocabulary": GLOSSES,
        "parameters": 1,
        "members": members,
        **changes,
    }
    found = HeldOutRun(HeldOutPredictions(**fields), Manifest.model_construct(**manifest))
    found.__dict__["synonyms"] = {}
    return found


def seed(number: int, wrong: str = "", sure: float = 5.0) -> list[MemberPredictions]:
    return [member(fold, number, clips, wrong=wrong, sure=sure) for fold, clips in enumerate(FOLDS)]


def test_each_clip_keeps_its_own_predictions_in_the_order_of_ids() -> None:
    pooled = run(*seed(0, wrong="be")).seed(0)
    assert [clip.clip_id for clip in pooled.clips] == list("abcdef")
    assert pooled.folds == (1, 0, 1, 0, 1, 0)
    for result in pooled.results:
        label = LABEL[result.clip_id]
        assert result.truth == GLOSSES[label - 1]
        assert result.correct == (result.clip_id not in "be")
        assert result.continuous == (result.truth,)
        assert result.greedy == (GLOSSES[label % 3],)
        assert result.frames == ord(result.clip_id)
        assert result.blank_ratio == pytest.approx(ord(result.clip_id) / 1000)
    assert (pooled.members, pooled.gloss_errors and pooled.gloss_errors.value) == (2, 3 / 20)


@pytest.mark.parametrize(
    ("wrong", "shown"),
    [({4: "abc", 5: "", 6: "ab"}, 6), ({4: "a", 5: "ab"}, 5), ({4: "a", 5: "a", 6: "ab", 7: ""}, 4), ({9: ""}, 9)],
)
def test_the_shown_seed_is_the_median_and_the_lower_of_two(wrong: dict[int, str], shown: int) -> None:
    across = run(*(one for number, clips in wrong.items() for one in seed(number, clips))).summarise()
    assert across.shown == shown


def test_the_figures_of_a_seed_and_of_a_fold_are_its_own() -> None:
    across = run(*seed(0, wrong="be"), *seed(1, wrong="b"), *seed(2)).summarise()
    assert [one.top1.correct for one in across.seeds] == [4, 5, 6]
    assert [(one.continuous.correct, one.greedy.correct) for one in across.seeds] == [(6, 0)] * 3
    found = [(one.fold, one.seed, one.top1.correct, one.top1.n) for one in across.members]
    assert found == [(0, 0, 2, 3), (0, 1, 2, 3), (0, 2, 3, 3), (1, 0, 2, 3), (1, 1, 3, 3), (1, 2, 3, 3)]
    assert (across.top1.lowest, across.top1.highest) == (4 / 6, 1)
    assert (across.exact_continuous_gap.lowest, across.exact_continuous_gap.highest) == (4 / 6 - 1, 0)


def test_the_ensemble_is_decided_by_all_seeds_and_by_how_sure_they_are() -> None:
    one_sure = run(*seed(0), *seed(1, wrong="abcdef", sure=1), *seed(2, wrong="abcdef", sure=1)).summarise()
    assert one_sure.ensemble_top1 is not None
    assert one_sure.ensemble_top1.correct == 6
    two_sure = run(*seed(0), *seed(1, wrong="abc"), *seed(2, wrong="abc")).summarise()
    assert two_sure.ensemble_top1 is not None
    assert two_sure.ensemble_top1.correct == 3


def test_a_seed_without_a_fold_is_left_out() -> None:
    across = run(*seed(0), *seed(1)[:1], *seed(2)).summarise()
    assert ([one.seed for one in across.seeds], across.incomplete) == ([0, 2], (1,))
    with pytest.raises(DataLoss, match="each of its seeds lacks a fold"):
        run(*seed(0)[1:])


def test_seeds_on_different_clips_are_no_ensemble() -> None:
    fewer = dataclasses.replace(member(0, 1, FOLDS[0][:2]))
    with pytest.raises(DataLoss, match="not evaluated on the same clips"):
        run(*seed(0), fewer, seed(1)[1]).summarise()


def test_a_clip_of_another_gloss_than_the_snapshot_s_is_refused() -> None:
    first, second = seed(0)
    with pytest.raises(DataLoss, match="no clip 'f' of the gloss 'book'"):
        run(dataclasses.replace(first, labels=first.labels % 3 + 1), second)
