"""Epochs as lines of JSON, and back."""

import math

import pytest

from services.trainer.runs import history
from services.trainer.training.collapse import Posteriors
from services.trainer.training.epoch import Epoch
from services.trainer.training.validate import NOTHING, Score
from signet.errors import DataLoss

VAL = Score(1 / 3, 40, 30, 38, 25, 2, 0.6, {1: (30, 40)}, frozenset({1}), continuous_correct=29)
POSTERIORS = Posteriors(0.7, 0.2, 0.1, 0.9)
TRAIN = Score(0.1, 90, 88, 90, 80, 0, 0.5, {1: (88, 90)}, frozenset({1}))


def epochs() -> list[Epoch]:
    return [
        Epoch(1, 2 / 3, VAL, 0.1234, best=True, learning_rate=1e-3, posteriors=POSTERIORS),
        Epoch(2, 0.5, NOTHING, 0.1, best=False, train=TRAIN, learning_rate=2e-3, actions=("went back", "and on")),
    ]


def test_what_is_read_back_is_written_alike() -> None:
    written = history.dump_history(epochs())
    read = history.load_history(written, "history")
    assert history.dump_history(read) == written
    assert (read[0].train_loss, read[0].val.loss) == (2 / 3, 1 / 3), "to the last bit"
    assert (read[0].best, read[1].best) == (True, False)
    assert math.isnan(read[1].val.loss)
    assert read[1].actions == ("went back", "and on")
    assert (read[0].val.continuous_correct, read[1].val.continuous_correct) == (29, None)
    assert (read[0].posteriors, read[1].posteriors) == (POSTERIORS, None)
    assert read[0].train is None
    assert read[1].train is not None
    assert (read[1].train.correct, read[1].train.clips) == (88, 90)


@pytest.mark.parametrize("data", [b"{}\n", b"{\n", b'{"epoch": null}', b"[]\n"])
def test_what_is_no_history_is_named_with_its_line(data: bytes) -> None:
    with pytest.raises(DataLoss, match=r"runs/r/history.jsonl: line 2 "):
        history.load_history(history.dump_history(epochs()[:1]) + data, "runs/r/history.jsonl")
