"""What is shown on /metrics stays bounded and is about what is served."""

import pytest
from prometheus_client import CollectorRegistry

from services.evaluator.metrics import REPORTS_SHOWN, EvaluatorMetrics


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
