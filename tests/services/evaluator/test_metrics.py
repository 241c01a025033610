"""The evaluator's metrics: their number is bounded, and they are about the served version."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from services.evaluator.metrics import REPORTS_SHOWN, EvaluatorMetrics
from signet.registry import ModelCard


def test_the_accuracies_of_the_newest_reports_are_shown_and_no_others() -> None:
    collected = CollectorRegistry()
    metrics = EvaluatorMetrics(collected)

    def shown() -> dict[str, float]:
        (family,) = (one for one in collected.collect() if one.name == "signet_evaluator_report_accuracy")
        return {sample.labels["version"]: sample.value for sample in family.samples}

    for number in range(REPORTS_SHOWN):
        metrics.show_accuracy("signet", f"v{number}", "val", number / 10)
    assert shown() == pytest.approx({f"v{number}": number / 10 for number in range(5)})
    metrics.show_accuracy("signet", "v0", "val", 0.9)
    assert shown()["v0"] == 0.9
    assert len(shown()) == REPORTS_SHOWN
    metrics.show_accuracy("signet", "v5", "val", 0.5)
    assert shown().keys() == {"v2", "v3", "v4", "v0", "v5"}, "v1 is the oldest, since v0 was shown again"


def test_a_report_that_is_shown_again_takes_no_second_place() -> None:
    collected = CollectorRegistry()
    metrics = EvaluatorMetrics(collected)
    for version in ("v0", "v0", "v1", "v2", "v3", "v4"):
        metrics.show_accuracy("signet", version, "val", 0.5)
    for version in ("v0", "v1", "v2", "v3", "v4"):
        labels = {"name": "signet", "version": version, "split": "val"}
        assert collected.get_sample_value("signet_evaluator_report_accuracy", labels) == 0.5


def test_a_gloss_that_is_no_longer_served_is_not_counted() -> None:
    collected = CollectorRegistry()
    metrics = EvaluatorMetrics(collected)
    metrics.count_prediction("signet", "book")
    for version, vocabulary in (("1", ("book", "go")), ("2", ("go", "who"))):
        card: dict[str, Any] = {"name": "signet", "version": version, "vocabulary": vocabulary}
        metrics.show_served(ModelCard.model_construct(**card))
        metrics.count_prediction("signet", "go")
    metrics.count_prediction("signet", "book")
    count = {
        gloss: collected.get_sample_value("signet_evaluator_predictions_total", {"gloss": gloss})
        for gloss in ("book", "go", "who")
    }
    assert count == {"book": None, "go": 2, "who": 0}
