"""The Serving dashboard: calls and latency of Recognize, the served model, and its accuracy."""

from typing import Any

from deploy.grafana.panels import BAD, GOOD, WARN, Ask, alerts, bars, dashboard, dashed, figure, lines, name, spread

# Statuses that the caller causes, and statuses that are no failure. The service causes all others.
_CALLER = "INVALID_ARGUMENT|NOT_FOUND|ALREADY_EXISTS|ABORTED|FAILED_PRECONDITION|OUT_OF_RANGE"
_FINE = "OK|CANCELLED"

# The objective of Recognize (deploy/prometheus/rules/recording.yml), for panels that cannot query it.
OBJECTIVE_SECONDS = 2

_NO_CALLS = "no calls"
_UP = {"0": ("down", BAD), "1": ("up", GOOD)}


def _share_of_calls(codes: str) -> str:
    """Share of the evaluator's calls that ended with these codes; 0 if there are no calls."""
    rate = 'sum(rate(signet_rpc_requests_total{{job="evaluator"{}}}[$__rate_interval]))'
    return f"({rate.format(f', {codes}')} or vector(0)) / ({rate.format('')} > 0) or vector(0)"


_FAULTS = _share_of_calls(f'code!~"{_FINE}|{_CALLER}"')


def _now_row() -> list[Any]:
    return [
        name(
            "Served model",
            "Name and version that answer Recognize now. It follows the model's alias within seconds.",
            Ask("signet_evaluator_model_info", "{{name}} {{version}}"),
            width=6,
            empty="no model is served",
        ),
        figure(
            "Store",
            "Whether the evaluator could read from the object store when it last looked, 2 seconds ago at most. "
            "Without it the served model goes on; new models and reports wait.",
            Ask("min(signet_evaluator_store_up)"),
            unit="none",
            width=3,
            words=_UP,
        ),
        figure(
            "Failing calls",
            "Share of calls that fail by the service's own fault now. 0 is good; wrong requests do not count.",
            Ask(_FAULTS),
            unit="percentunit",
            width=4,
            colours=((None, GOOD), (0.001, WARN), (0.01, BAD)),
        ),
        figure(
            "Slowest hundredth of Recognize",
            "99 of 100 calls in the last 5 minutes were answered within this time (99th percentile). The objective "
            f"is {OBJECTIVE_SECONDS} s.",
            Ask("max(instance:signet_recognize_seconds:p99)"),
            unit="s",
            width=5,
            colours=((None, GOOD), (OBJECTIVE_SECONDS, BAD)),
            empty=_NO_CALLS,
        ),
        figure(
            "Models not loaded",
            "Times, since the evaluator started, that a published version could not be loaded. 0 is good; the version "
            "before is served on.",
            Ask("sum(signet_evaluator_model_load_failures_total)"),
            unit="short",
            width=3,
            colours=((None, GOOD), (1, WARN)),
        ),
        alerts(width=3),
    ]


def _calls_row() -> list[Any]:
    return [
        lines(
            "Calls per second",
            "The evaluator's calls by method and status. OK should be most of them.",
            Ask(
                'sum by (method, code) (rate(signet_rpc_requests_total{job="evaluator"}[$__rate_interval]))',
                "{{method}} {{code}}",
            ),
            unit="reqps",
            width=8,
            empty=_NO_CALLS,
        ),
        lines(
            "Share of failing calls",
            "By whose fault: the service's should be 0; the caller's are requests that cannot be answered, such as a "
            "video that does not decode.",
            Ask(_FAULTS, "service"),
            Ask(_share_of_calls(f'code=~"{_CALLER}"'), "caller"),
            unit="percentunit",
            width=8,
            top=1,
        ),
        dashed(
            lines(
                "Latency of Recognize",
                "Half, nine tenths and 99 of 100 calls of the last 5 minutes are answered within these times. p99 "
                "should stay below the dashed objective.",
                Ask("max(instance:signet_recognize_seconds:p50)", "p50"),
                Ask("max(instance:signet_recognize_seconds:p90)", "p90"),
                Ask("max(instance:signet_recognize_seconds:p99)", "p99"),
                Ask("signet:recognize_seconds:objective", "objective"),
                unit="s",
                width=8,
                empty=_NO_CALLS,
            ),
            "objective",
        ),
    ]


def _inside_row() -> list[Any]:
    return [
        lines(
            "Mean time per stage",
            "Where Recognize spends its time: extract is the extractor's work on a video, and absent where callers "
            "send landmarks; model is the network itself, and takes milliseconds.",
            Ask(
                "sum by (stage) (rate(signet_evaluator_recognise_seconds_sum[$__rate_interval])) "
                "/ (sum by (stage) (rate(signet_evaluator_recognise_seconds_count[$__rate_interval])) > 0)",
                "{{stage}}",
            ),
            unit="s",
            width=8,
            join=True,
            empty=_NO_CALLS,
        ),
        lines(
            "Mean batch size",
            "Clips that go through the model at once. 1 is usual under light load; it grows with calls at the same "
            "time, which is what batching is for.",
            Ask(
                "sum(rate(signet_evaluator_batch_clips_sum[$__rate_interval])) "
                "/ (sum(rate(signet_evaluator_batch_clips_count[$__rate_interval])) > 0)",
                "clips",
            ),
            unit="none",
            width=8,
            join=True,
            empty=_NO_CALLS,
        ),
        spread(
            "Batch sizes",
            "How many batches had how many clips, over time. Cells at the top under load mean that batching works; "
            "only there, that the evaluator is at its limit.",
            Ask("sum by (le) (increase(signet_evaluator_batch_clips_bucket[$__rate_interval]))", "{{le}}"),
            unit="none",
            width=8,
            empty=_NO_CALLS,
        ),
        lines(
            "Compute processes",
            "Worker processes that are ready to run models, for each evaluator (SIGNET_COMPUTE_PROCESSES). A short dip "
            "is a process that ended and was replaced; 0 all the time means that the evaluator's own process computes.",
            Ask("signet_evaluator_compute_processes", "{{instance}}"),
            unit="short",
            width=8,
        ),
        lines(
            "Ends of compute processes",
            "Worker processes per minute that ended unexpectedly and were replaced. 0 is good. Repeated ends mean that "
            "memory is short, or that a model makes them fail.",
            Ask(
                "60 * sum by (instance) (rate(signet_evaluator_compute_process_ends_total[$__rate_interval]))",
                "{{instance}}",
            ),
            unit="short",
            width=8,
        ),
        lines(
            "Memory of compute processes",
            "Resident memory of all worker processes of an evaluator. It should be level; each model in memory adds to "
            "every process.",
            Ask("signet_evaluator_compute_memory_bytes", "{{instance}}"),
            unit="bytes",
            width=8,
        ),
    ]


def _models_row() -> list[Any]:
    return [
        bars(
            "Versions in memory",
            "The version that is served for each alias that calls have named. Calls that name a version are not "
            "listed here. An alias appears when its first version is loaded.",
            Ask("max by (name, alias, version) (signet_evaluator_alias_info)", "{{name}}/{{alias}}: {{version}}"),
            unit="none",
            width=8,
            top=1,
            empty="no model is served",
        ),
        lines(
            "Memory of models",
            "What the versions in memory need, as measured in the trial of each, and how many they are. When the limit "
            "(SIGNET_MODEL_MEMORY_MIB, SIGNET_MAX_MODELS) is reached, the least recently used one is unloaded.",
            Ask("sum(signet_evaluator_model_memory_bytes)", "memory"),
            unit="bytes",
            width=5,
        ),
        lines(
            "Loads and unloads",
            "Versions per minute that were loaded, and unloaded because an alias moved (replaced) or because another "
            "version needed room. Many of the last kind mean that the memory is too small for the models in use.",
            Ask("60 * sum(rate(signet_evaluator_model_load_seconds_count[$__rate_interval]))", "loaded"),
            Ask(
                "60 * sum by (reason) (rate(signet_evaluator_model_unloads_total[$__rate_interval]))",
                "unloaded: {{reason}}",
            ),
            unit="short",
            width=6,
        ),
        lines(
            "Refused versions",
            "Attempts per minute to load a version that failed, by status. PARITY: its answers differ from those of "
            "the trainer. UNTRUSTED: it has no signature of a trusted key.",
            Ask("60 * sum by (reason) (rate(signet_evaluator_model_refusals_total[$__rate_interval]))", "{{reason}}"),
            unit="short",
            width=5,
        ),
    ]


def _streams_row() -> list[Any]:
    return [
        lines(
            "Open streams",
            "Calls of RecognizeStream and TranscribeVideo, and streams of pictures that an extractor tracks. At their "
            "limits (SIGNET_STREAMS, SIGNET_PICTURE_STREAMS), further streams are refused.",
            Ask("sum(signet_evaluator_streams)", "recognised"),
            Ask("sum(signet_extractor_streams)", "pictures tracked"),
            unit="short",
            width=5,
        ),
        lines(
            "Delay of signs",
            "Time from the arrival of the frame in which a sign ends to its final event, for half of the signs and for "
            "19 of 20. Less than a second is good.",
            Ask("max(instance:signet_stream_event_seconds:p50)", "p50"),
            Ask("max(instance:signet_stream_event_seconds:p95)", "p95"),
            unit="s",
            width=5,
            empty="no signs",
        ),
        lines(
            "Frames behind",
            "Model frames, ten for each second of a stream, that have arrived and are not recognised yet. It should "
            "stay near the number of streams; if it grows, the cores are too slow for the streams.",
            Ask("sum(signet_evaluator_stream_frames_behind)", "frames"),
            unit="short",
            width=4,
        ),
        lines(
            "Rejected signs and lost frames",
            "Share of final signs that were rejected as not in the vocabulary, and share of frames that were late or "
            "dropped. Many lost frames point at a slow network, or at clocks of clients.",
            Ask(
                'sum(rate(signet_evaluator_stream_signs_total{outcome="rejected"}[$__rate_interval])) '
                "/ (sum(rate(signet_evaluator_stream_signs_total[$__rate_interval])) > 0)",
                "rejected signs",
            ),
            Ask(
                'sum(rate(signet_evaluator_stream_frames_total{outcome!="used"}[$__rate_interval])) '
                "/ (sum(rate(signet_evaluator_stream_frames_total[$__rate_interval])) > 0)",
                "lost frames",
            ),
            unit="percentunit",
            width=5,
            top=1,
            join=True,
        ),
        lines(
            "Ends of streams",
            "Streams per minute by how they ended. completed is usual; drained means that the server was stopped, and "
            "extractor_lost that pictures could not be tracked any more.",
            Ask("60 * sum by (outcome) (rate(signet_evaluator_streams_ended_total[$__rate_interval]))", "{{outcome}}"),
            unit="short",
            width=5,
        ),
    ]


def _answers_row() -> list[Any]:
    return [
        bars(
            "Predictions by gloss",
            "The 20 glosses that were answered most since the evaluator started. One gloss far above the rest, on "
            "varied clips, points at a model that has settled on it. Calls without a sign are shown with their reason.",
            Ask("topk(20, sum by (gloss) (signet_evaluator_predictions_total))", "{{gloss}}"),
            Ask("sum by (reason) (signet_evaluator_nothing_signed_total)", "({{reason}})"),
            unit="short",
            width=12,
            empty="no predictions yet",
        ),
        bars(
            "Accuracy by version",
            "Top-1 of the newest reports, by model version and split. A new version should not be below the one "
            "before; the report has the interval that says whether it is.",
            Ask(
                "max by (name, version, split) (signet_evaluator_report_accuracy)", "{{name}} {{version}} on {{split}}"
            ),
            unit="percentunit",
            width=12,
            top=1,
            empty="no report yet",
        ),
    ]


def serving() -> Any:
    """The Serving dashboard."""
    return dashboard(
        "signet-serving",
        "Signet: serving",
        "Recognize: calls, latency, the served model, and how good it is.",
        [
            ("Now", _now_row()),
            ("Calls", _calls_row()),
            ("Inside Recognize", _inside_row()),
            ("Streams", _streams_row()),
            ("Models", _models_row()),
            ("Answers", _answers_row()),
        ],
    )
