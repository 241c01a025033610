"""history.jsonl: the epochs of a member as lines of JSON, and the epochs of such lines."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from services.trainer.runs import history
from services.trainer.training.epoch import EpochResult
from services.trainer.training.validate import NO_SCORE, Score
from signet.errors import DataLoss

VAL = Score(1 / 3, 40, 30, 38, 25, 2, 0.6, continuous_correct=29)
TRAIN = Score(0.1, 90, 88, 90, 80, 0, 0.5)


def epochs() -> list[EpochResult]:
    return [
        EpochResult(1, 2 / 3, VAL, 0.1234, best=True, learning_rate=1e-3),
        EpochResult(
            2, 0.5, NO_SCORE, 0.1, best=False, train=TRAIN, learning_rate=2e-3, actions=("went back", "and on")
        ),
    ]


def test_an_epoch_that_was_stored_and_loaded_is_stored_in_the_same_bytes() -> None:
    written = history.dump_history(epochs())
    read = history.load_history(written, "history")
    assert history.dump_history(read) == written
    assert (read[0].train_loss, read[0].val.loss) == (2 / 3, 1 / 3), "to the last bit"
    assert (read[0].best, read[1].best) == (True, False)
    assert math.isnan(read[1].val.loss)
    assert read[1].actions == ("went back", "and on")
    assert (read[0].val.continuous_correct, read[1].val.continuous_correct) == (29, None)
    assert read[0].train is None
    assert read[1].train is not None
    assert (read[1].train.correct, read[1].train.clips) == (88, 90)


GOLDEN = (Path(__file__).parent / "golden" / "history.jsonl").read_bytes()


def test_a_history_of_an_older_version_is_loaded_to_the_last_bit_and_stored_in_the_same_bytes() -> None:
    """Five lines: without and with the continuous decoder, without val clips, of a pre-training, with NaN figures."""
    loaded = history.load_history(GOLDEN, "history.jsonl")
    of_collapse_watch = rb', "train_(blank_ratio|empty|silent|emitted)": [0-9.]+'
    assert history.dump_history(loaded) == re.sub(of_collapse_watch, b"", GOLDEN), "figures of a removed feature"
    first, second, without_val, pretraining, not_finite = loaded
    assert [epoch.number for epoch in loaded] == [1, 2, 3, 4, 5]
    assert [epoch.best for epoch in loaded] == [True, True, False, False, False], "30 of 40 clips only once as a best"
    assert (first.train_loss, first.val.loss, first.learning_rate) == (3.7011914253234863, 2.9957275390625, 8e-5)
    assert (first.val.clips, first.val.correct, first.val.top5, first.val.greedy_correct) == (40, 3, 38, 0)
    assert (first.val.empty, first.val.blank_ratio, first.val.continuous_correct) == (40, 1.0, None)
    assert (second.val.continuous_correct, second.val.continuous_empty, second.seconds) == (29, 3, 0.1234)
    assert second.train is not None
    assert (second.train.correct, second.train.clips, first.train) == (88, 90, None)
    assert without_val.actions == (
        "the loss of epoch 3 was not finite: went back to the end of epoch 2 \u2014 \u00d70.5",
    )
    assert without_val.val.clips == 0
    assert math.isnan(without_val.val.loss)
    assert (pretraining.val.loss, pretraining.val.clips) == (0.7853981633974483, 0)
    assert math.isnan(pretraining.learning_rate)
    assert math.isnan(not_finite.val.loss)
    assert math.isnan(not_finite.val.blank_ratio)
    assert not_finite.val.correct == 30


def test_an_epoch_is_the_best_only_if_it_recognises_more_clips_than_all_before_it() -> None:
    correct = [0, 5, 5, 3, 4, 6]
    written = history.dump_history(
        EpochResult(number, 1.0, replace(VAL, correct=count), 0.1, best=False)
        for number, count in enumerate(correct, 1)
    )
    assert [epoch.best for epoch in history.load_history(written, "h")] == [True, True, False, False, False, True]


@pytest.mark.parametrize("data", [b"{}\n", b"{\n", b'{"epoch": null}', b"[]\n"])
def test_a_line_that_is_not_an_epoch_is_named_with_its_number(data: bytes) -> None:
    with pytest.raises(DataLoss, match=r"runs/r/history.jsonl: line 2 is not an epoch"):
        history.load_history(history.dump_history(epochs()[:1]) + data, "runs/r/history.jsonl")


@pytest.mark.parametrize(
    "field", ["val_clips", "val_correct", "val_top5", "val_greedy_correct", "val_empty", "blank_ratio"]
)
def test_a_line_with_only_some_of_its_results_is_refused_and_not_read_as_zeros(field: str) -> None:
    line = json.loads(GOLDEN.splitlines()[1])
    del line[field]
    with pytest.raises(DataLoss, match=f"line 1 is not an epoch.*{field} missing"):
        history.load_history(json.dumps(line).encode() + b"\n", "history.jsonl")


def test_a_line_without_results_and_without_a_loss_is_no_pretraining_and_is_refused() -> None:
    line = {"epoch": 1, "train_loss": 1.0, "val_loss": None, "learning_rate": 0.1, "seconds": 1.0}
    with pytest.raises(DataLoss, match="val_clips"):
        history.load_history(json.dumps(line).encode() + b"\n", "history.jsonl")
