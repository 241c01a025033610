"""The lines that a run writes to the console and to the log."""

import math
from typing import Any

from services.trainer.runs import messages
from services.trainer.runs.events import MemberEpoch, RunStarted
from services.trainer.runs.result import GlossResult, HeldOutCounts, MemberResult, Result
from services.trainer.training.epoch import EpochResult
from services.trainer.training.validate import NO_SCORE, Score

STARTED = RunStarted("cuda:0", "H200", 2**37, 55_461, "v1", 20, 157, 37, 300)


def test_the_end_of_a_collapsed_run_says_what_to_do() -> None:
    score = Score(3.0, 4, 3, 4, 0, 4, 1.0)
    result = Result(
        state="succeeded", model_name="m", model_version="v", epochs=9, val_clips=4, val_correct=3,
        val_greedy_correct=0, blank_ratio=1.0, collapsed=True, goal=0.5, goal_met=True, seconds=1.0,
        glosses=(GlossResult(gloss="book", correct=2, clips=2), GlossResult(gloss="who", correct=1, clips=2)),
        actions=("went back to epoch 7",),
    )  # fmt: skip
    text = "\n".join(messages.end_messages(result, "r1"))
    assert "BLANK COLLAPSE" in text
    assert "--blank-penalty" in text
    assert "best        book 2/2, who 1/2" in text
    assert "went back to epoch 7" in text
    line = messages.epoch_message(MemberEpoch(EpochResult(7, 1.5, score, 0.2, best=True), 1, 0, 0), STARTED)
    for part in ("7/300", "train loss", "val loss", "75.0 % (3/4)", "blank 1.00", "new best"):
        assert part in line


def test_the_end_of_a_run_of_several_members_is_a_table_over_the_seeds() -> None:
    def member(fold: int, seed: int, correct: int) -> MemberResult:
        return MemberResult(
            fold=fold, seed=seed, epochs=9, clips=100, correct=correct, top5=97, continuous_correct=correct - 1,
            continuous_empty=3, greedy_correct=correct - 2, empty=1, blank_ratio=0.6, concatenated=99, gloss_errors=9,
        )  # fmt: skip

    members = tuple(member(fold, seed, 80 + 2 * seed) for seed in range(3) for fold in range(2))
    result = Result(
        state="succeeded", model_name="", model_version="", epochs=9, val_clips=200, val_correct=164,
        val_greedy_correct=160, blank_ratio=0.6, collapsed=False, goal=0.5, goal_met=True, seconds=1.0, folds=2,
        glosses=(GlossResult(gloss="book", correct=2, clips=2),), members=members,
        ensemble=HeldOutCounts.sum([member(0, 0, 90), member(1, 0, 88)]),
    )  # fmt: skip
    text = "\n".join(messages.end_messages(result, "r1"))
    assert "82.0 % (164/200)" in text, "seed 1"
    assert "mean        82.0 ± 2.0 % top-1 over 3 seeds, 95 % interval 76 to 87 (n = 200)" in text
    assert "97.0 ± 0.0 % top-5, 81.0 ± 2.0 % continuous, 3.0 ± 0.0 % empty" in text
    assert "89.0 % (178/200)" in text, "all seeds together"
    event = MemberEpoch(EpochResult(7, 1.5, Score(3.0, 4, 3, 4, 0, 4, 1.0), 0.2, best=True), 4, 1, 1)
    started = RunStarted("cpu", "", 0, 9, "v1", 20, 195, 195, 300, seeds=3, folds=2)
    assert messages.epoch_message(event, started).startswith("4/6 fold 2/2 seed 1  epoch   7/300")


def test_the_start_of_a_run_names_device_parameters_target_and_data() -> None:
    text = "\n".join(messages.start_messages(STARTED))
    for part in ("cuda:0 (H200, 131,072 MiB)", "55,461", "50,000", "20 glosses", "157 train", "37 val"):
        assert part in text


def result(**changes: Any) -> Result:
    """A run of 20 clips, of which it recognised 13."""
    values: dict[str, Any] = {
        "state": "succeeded", "model_name": "m", "model_version": "v1", "epochs": 9, "val_clips": 20, "val_correct": 13,
        "val_top5": 19, "val_continuous_correct": 12, "val_greedy_correct": 11, "val_empty": 2, "blank_ratio": 0.634,
        "collapsed": False, "goal": 0.75, "goal_met": False, "seconds": 61.4,
        "glosses": tuple(GlossResult(gloss=f"g{rank}", correct=6 - rank, clips=6) for rank in range(7)),
    }  # fmt: skip
    return Result(**(values | changes))


def test_the_end_of_a_run_in_its_exact_lines() -> None:
    actions = tuple(f"action {number}" for number in range(1, 8))
    assert list(messages.end_messages(result(actions=actions), "r1")) == [
        "succeeded after 9 epochs, 61 s",
        "val         65.0 % exact (13/20, 95 % interval 43 to 82), 60.0 % continuous, 55.0 % greedy, 2 empty, blank "
        "ratio 0.63",
        "best        g0 6/6, g1 5/6, g2 4/6, g3 3/6, g4 2/6",
        "worst       g2 4/6, g3 3/6, g4 2/6, g5 1/6, g6 0/6",
        "goal        75 % of val: NOT met",
        "            2 clips short. Train longer (--num-epochs), on more clips a gloss, or on fewer glosses "
        "(--max-glosses). If the loss jumps, lower --lr.",
        "recovery    action 1", "recovery    action 2", "recovery    action 3", "recovery    action 4",
        "recovery    action 5", "            and 2 more: see history.jsonl",
        "published   models/m/v1/, alias latest",
    ]  # fmt: skip
    rounded = "\n".join(messages.end_messages(result(goal=0.71), "r1"))
    assert "2 clips short" in rounded, "14 of 20 are not 71 %"
    met = list(messages.end_messages(result(goal=0.65, goal_met=True), "r1"))
    assert "goal        65 % of val: met" in met
    assert not [line for line in met if "short" in line or "recovery" in line]


def test_the_end_of_a_run_says_why_it_published_nothing_and_how_to_report_on_it() -> None:
    unpublished = result(model_name="", model_version="")
    assert list(messages.end_messages(unpublished, "r1"))[-2:] == [
        "published   nothing (--publish none)", "report      signet evaluate --run r1",
    ]  # fmt: skip
    without_val = list(messages.end_messages(result(val_clips=0, val_correct=0, model_version=""), "r1"))
    assert without_val[1:] == [
        "val         this dataset has no val clips: the accuracy of the model is not known",
        "published   nothing (--publish none)",
    ]


def test_the_end_of_a_pretraining_says_how_to_start_from_it() -> None:
    members = tuple(
        MemberResult(fold=0, seed=seed, epochs=3, clips=0, correct=0, top5=0, continuous_correct=0, greedy_correct=0,
                     empty=0, blank_ratio=0.0)
        for seed in range(2)
    )  # fmt: skip
    pretrained = result(pretrained=True, val_loss=0.12345, val_clips=0, model_version="", members=members)
    assert list(messages.end_messages(pretrained, "r1")) == [
        "succeeded after 9 epochs, 61 s",
        "held out    masked loss 0.123, mean of the members, on clips that were not trained on",
        "weights     runs/r1/members/*/weights.safetensors",
        "published   nothing: a pre-training recognises no sign",
        "next        signet train --start-from r1",
    ]


def test_the_start_of_a_resumed_cross_validation_in_its_exact_lines() -> None:
    started = RunStarted(
        "cpu", "", 0, 1234, "v1", 21, 195, 195, 300, seeds=1, folds=5, epochs_before=310, members_before=1
    )
    assert list(messages.start_messages(started)) == [
        "device      cpu",
        "parameters  1,234",
        "dataset     v1: 21 glosses, 195 clips of train and val, in 5 folds of whole signers",
        "members     5: 5 folds, 1 seed",
        "epochs      300 each",
        "resumed     1 of 5 members are trained, 310 epochs in all are saved",
    ]


def test_the_line_of_an_epoch() -> None:
    started = RunStarted("cpu", "", 0, 1, "v1", 20, 157, 40, 300)
    score = Score(2.5, 40, 30, 38, 25, 2, 0.61)
    line = messages.epoch_message(MemberEpoch(EpochResult(7, 1.25, score, 0.254, best=False), 1, 0, 0), started)
    assert line == (
        "epoch   7/300  train loss   1.250  val loss   2.500  val acc  75.0 % (30/40)  greedy 25/40  blank 0.61  0.25 s"
    )
    without_val = EpochResult(8, 1.25, NO_SCORE, 0.3, best=True, learning_rate=math.nan)
    line = messages.epoch_message(MemberEpoch(without_val, 1, 0, 0), started)
    assert line == "epoch   8/300  train loss   1.250  0.30 s"
