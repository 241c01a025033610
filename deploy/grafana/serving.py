"""The Serving dashboard: is Recognize answered, how fast, by which model, and how good is that model."""

from typing import Any

from deploy.grafana.panels import (
    BAD,
    GOOD,
    WARN,
    Ask,
    Text,
    alerts,
    bars,
    dashboard,
    dashed,
    figure,
    lines,
    name,
    spread,
)

# Statuses for which the caller is to blame; CANCELLED is nobody's fault. The rest is the service's.
_CALLER = "INVALID_ARGUMENT|NOT_FOUND|ALREADY_EXISTS|ABORTED|FAILED_PRECONDITION|OUT_OF_RANGE"
_FINE = "OK|CANCELLED"

# The objective of Recognize (deploy/prometheus/rules/recording.yml), where a panel cannot ask for it.
OBJECTIVE_SECONDS = 2

_NO_CALLS = "no calls"
_UP = {"0": ("down", BAD), "1": ("up", GOOD)}


def _share_of_calls(codes: str) -> str:
    """Share of the evaluator's calls that ended so; 0 where there are no such calls, or none at all."""
    rate = 'sum(rate(signet_rpc_requests_total{{job="evaluator"{}}}[$__rate_interval]))'
    return f"({rate.format(f', {codes}')} or vector(0)) / ({rate.format('')} > 0) or vector(0)"


_FAULTS = _share_of_calls(f'code!~"{_FINE}|{_CALLER}"')


def serving() -> Any:
    """Build it."""
    now = [
        name(
            Text(
                "Served model",
                "Name and version that answer Recognize now. It follows the model's alias within seconds.",
                "no model is served",
            ),
            Ask("signet_evaluator_model_info", "{{name}} {{version}}"),
            width=6,
        ),
        figure(
            Text(
                "Store",
                "Whether the evaluator could read from the object store when it last looked, 2 seconds ago at most. "
                "Without it the served model goes on; new models and reports wait.",
            ),
            "none",
            Ask("min(signet_evaluator_store_up)"),
            width=3,
            words=_UP,
        ),
        figure(
            Text(
                "Failing calls",
                "Share of calls that fail by the service's own fault now. 0 is good; wrong requests do not count.",
            ),
            "percentunit",
            Ask(_FAULTS),
            width=4,
            colours=((None, GOOD), (0.001, WARN), (0.01, BAD)),
        ),
        figure(
            Text(
                "Slowest hundredth of Recognize",
                "99 of 100 calls in the last 5 minutes were answered within this time (99th percentile). The objective "
                f"is {OBJECTIVE_SECONDS} s.",
                _NO_CALLS,
            ),
            "s",
            Ask("max(instance:signet_recognize_seconds:p99)"),
            width=5,
            colours=((None, GOOD), (OBJECTIVE_SECONDS, BAD)),
        ),
        figure(
            Text(
                "Models not loaded",
                "Times, since the evaluator started, that a published version could not be loaded. 0 is good; the "
                "version before is served on.",
            ),
            "short",
            Ask("sum(signet_evaluator_model_load_failures_total)"),
            width=3,
            colours=((None, GOOD), (1, WARN)),
        ),
        alerts(width=3),
    ]
    calls = [
        lines(
            Text(
                "Calls per second",
                "The evaluator's calls by method and status. OK should be most of them.",
                _NO_CALLS,
            ),
            "reqps",
            Ask(
                'sum by (method, code) (rate(signet_rpc_requests_total{job="evaluator"}[$__rate_interval]))',
                "{{method}} {{code}}",
            ),
            width=8,
        ),
        lines(
            Text(
                "Share of failing calls",
                "By whose fault: the service's should be 0; the caller's are requests that cannot be answered, such as "
                "a video that does not decode.",
            ),
            "percentunit",
            Ask(_FAULTS, "service"),
            Ask(_share_of_calls(f'code=~"{_CALLER}"'), "caller"),
            width=8,
            top=1,
        ),
        dashed(
            lines(
                Text(
                    "Latency of Recognize",
                    "Half, nine tenths and 99 of 100 calls of the last 5 minutes are answered within these times. p99 "
                    "should stay below the dashed objective.",
                    _NO_CALLS,
                ),
                "s",
                Ask("max(instance:signet_recognize_seconds:p50)", "p50"),
                Ask("max(instance:signet_recognize_seconds:p90)", "p90"),
                Ask("max(instance:signet_recognize_seconds:p99)", "p99"),
                Ask("signet:recognize_seconds:objective", "objective"),
                width=8,
            ),
            "objective",
        ),
    ]
    inside = [
        lines(
            Text(
                "Mean time per stage",
                "Where Recognize spends its time: extract is the extractor's work on a video, and absent where callers "
                "send landmarks; model is the network itself, and takes milliseconds.",
                _NO_CALLS,
            ),
            "s",
            Ask(
                "sum by (stage) (rate(signet_evaluator_recognise_seconds_sum[$__rate_interval])) "
                "/ (sum by (stage) (rate(signet_evaluator_recognise_seconds_count[$__rate_interval])) > 0)",
                "{{stage}}",
            ),
            width=8,
            join=True,
        ),
        lines(
            Text(
                "Mean batch size",
                "Clips that go through the model at once. 1 is usual under light load; it grows with calls at the same "
                "time, which is what batching is for.",
                _NO_CALLS,
            ),
            "none",
            Ask(
                "sum(rate(signet_evaluator_batch_clips_sum[$__rate_interval])) "
                "/ (sum(rate(signet_evaluator_batch_clips_count[$__rate_interval])) > 0)",
                "clips",
            ),
            width=8,
            join=True,
        ),
        spread(
            Text(
                "Batch sizes",
                "How many batches had how many clips, over time. Cells at the top under load mean that batching works; "
                "only there, that the evaluator is at its limit.",
                _NO_CALLS,
            ),
            "none",
            Ask("sum by (le) (increase(signet_evaluator_batch_clips_bucket[$__rate_interval]))", "{{le}}"),
            width=8,
        ),
    ]
    answers = [
        bars(
            Text(
                "Predictions by gloss",
                "The 20 glosses that were answered most since the evaluator started. One gloss far above the rest, on "
                "varied clips, points at a model that has settled on it.",
                "no predictions yet",
            ),
            "short",
            Ask("topk(20, sum by (gloss) (signet_evaluator_predictions_total))", "{{gloss}}"),
            width=12,
        ),
        bars(
            Text(
                "Accuracy by version",
                "Top-1 of the newest reports, by model version and split. A new version should not be below the one "
                "before; the report has the interval that says whether it is.",
                "no report yet",
            ),
            "percentunit",
            Ask(
                "max by (name, version, split) (signet_evaluator_report_accuracy)", "{{name}} {{version}} on {{split}}"
            ),
            width=12,
            top=1,
        ),
    ]
    return dashboard(
        "signet-serving",
        "Signet: serving",
        "Recognize: calls, latency, the served model, and how good it is.",
        [("Now", now), ("Calls", calls), ("Inside Recognize", inside), ("Answers", answers)],
    )
