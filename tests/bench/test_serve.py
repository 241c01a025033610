"""The bench of serving: its messages, its comparison of answers, and its bars."""

from pathlib import Path

from bench.serve import BATCHED, MLSERVER, NEW, OLD, Row, missed_bars
from bench.serving.check import difference
from bench.serving.load import read_messages, write_messages
from signet.v1 import evaluator_pb2


def test_messages_are_read_as_they_were_written(tmp_path: Path) -> None:
    messages = [b"", b"one", bytes(70_000)]
    write_messages(tmp_path / "messages", messages)
    assert read_messages(tmp_path / "messages") == messages


def test_an_answer_that_differs_is_named() -> None:
    def answer(probability: float = 0.7, gloss: str = "book", version: str = "1") -> evaluator_pb2.RecognizeResponse:
        guess = evaluator_pb2.Prediction(gloss=gloss, probability=probability)
        return evaluator_pb2.RecognizeResponse(model_version=version, predictions=[guess])

    assert difference(answer(), answer()) == ""
    assert difference(answer(0.700009), answer()) == ""
    assert difference(answer(0.70002), answer()) == "numbers differ by 2e-05"
    assert difference(answer(gloss="go"), answer()) == "other glosses"
    assert difference(answer(version="2"), answer()) == "model_version is '2' instead of '1'"


def _rows(new: float, mlserver: float = 500, old: float = 60, p50: float = 2.0, p99: float = 20) -> dict[str, Row]:
    def row(rate: float, p99: float = 30, p50: float = 9) -> Row:
        return {"requests_per_second": rate, "p50_ms": p50, "p99_ms": p99, "errors": 0}

    rows = {}
    for callers in (1, 8, 32):
        rows[f"{NEW}, {callers}"] = row(new, p99, p50)
        rows[f"{MLSERVER}, {callers}"] = row(mlserver)
        rows[f"{BATCHED}, {callers}"] = row(mlserver / 2)
        rows[f"{OLD}, {callers}"] = row(old)
    return rows


def test_the_bars_are_measured_against_the_better_mlserver() -> None:
    assert missed_bars(_rows(800)) == []
    assert missed_bars(_rows(700)) == [
        "signet, 8: 1.40 times the requests a second of MLServer, 8; the bar is 1.5",
        "signet, 32: 1.40 times the requests a second of MLServer, 32; the bar is 1.5",
        "signet, 32: 11.7 times the older commit; the bar is 12",
    ]
    assert missed_bars(_rows(800, p50=3)) == ["signet, 1: p50 3 ms; the bar is 2.5"]
    assert len(missed_bars(_rows(800, p99=40))) == 3
    falling = _rows(800)
    falling["signet, 32"]["requests_per_second"] = 755
    assert missed_bars(falling) == ["signet: 32 callers get less than 8"]
