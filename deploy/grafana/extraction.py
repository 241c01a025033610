"""The Extraction dashboard: progress, speed, broken clips, and how often hands are found."""

from typing import Any

from deploy.grafana.panels import BAD, GOOD, PLAIN, WARN, Ask, alerts, bars, dashboard, figure, lines, share

# The limit of the alert ExtractionFailing (deploy/prometheus/rules/alerts.yml).
FAILING_RATIO = 0.20

_BROKEN = 'signet_extractor_clips_total{outcome="broken"}'

# If no clip is broken, one bar says so.
_REASONS = (
    f'sum by (reason) ({_BROKEN}) or (label_replace(vector(0), "reason", "none broken", "", "") unless on () {_BROKEN})'
)

# 0 if no clip was finished in the last 15 minutes.
_BROKEN_SHARE = "max(instance:signet_extractor_broken_clips:ratio15m) or vector(0)"


def _over_frames(counter: str, label: str) -> str:
    """The rate of a counter per frame; no value where there are no frames."""
    frames = "(sum(rate(signet_extractor_frames_total[$__rate_interval])) > 0)"
    return f"sum by ({label}) (rate({counter}[$__rate_interval])) / on () group_left () {frames}"


def _now_row() -> list[Any]:
    return [
        share(
            "Progress",
            "Clips done of the clips selected, in the extraction under way or the last one. It ends at 100 %, broken "
            "and missing clips included.",
            Ask("sum(signet_extractor_done_clips) / (sum(signet_extractor_selected_clips) > 0) or vector(0)"),
            width=5,
        ),
        figure(
            "State",
            "Whether an extraction is under way. An idle extractor still serves single videos.",
            Ask("max(signet_extractor_running)"),
            unit="none",
            width=4,
            words={"0": ("idle", PLAIN), "1": ("extracting", GOOD)},
        ),
        figure(
            "Clips done",
            "Clips done and clips selected, in the extraction under way or the last one.",
            Ask("sum(signet_extractor_done_clips)", "done"),
            Ask("sum(signet_extractor_selected_clips)", "selected"),
            unit="none",
            width=5,
        ),
        figure(
            "Broken in the last 15 minutes",
            "Share of the clips dealt with that could not be read. A few are usual in WLASL; above 20 % there is an "
            "alert.",
            Ask(_BROKEN_SHARE),
            unit="percentunit",
            width=6,
            colours=((None, GOOD), (FAILING_RATIO / 2, WARN), (FAILING_RATIO, BAD)),
        ),
        alerts(width=4),
    ]


def _clips_row() -> list[Any]:
    return [
        bars(
            "Clips by outcome",
            "Since the extractor started. present: done before, and not done again; missing: not in the clip folder, "
            "as about half of WLASL; broken: the next panel says why.",
            Ask("sum by (outcome) (signet_extractor_clips_total)", "{{outcome}}"),
            unit="short",
            width=8,
        ),
        bars(
            "Broken clips by reason",
            "Since the extractor started. Each broken clip is named in the extractor's log; one reason for most of "
            "them points at the download or at the video format.",
            Ask(_REASONS, "{{reason}}"),
            unit="short",
            width=8,
            colours=((None, GOOD), (1, WARN)),
        ),
        lines(
            "Hands and pose found",
            "Share of the frames in which each part was found. Hands are absent in about half of the frames of usual "
            "clips; pose below 90 % means that the signer is not in the picture.",
            Ask(_over_frames("signet_extractor_found_frames_total", "part"), "{{part}}"),
            unit="percentunit",
            width=8,
            top=1,
            join=True,
            empty="no frames in this time",
        ),
    ]


def _speed_row() -> list[Any]:
    return [
        lines(
            "Frames per second",
            "Frames turned into landmarks, by all workers. About 20 a second for each core is usual; 0 while nothing "
            "is extracted.",
            Ask("sum(rate(signet_extractor_frames_total[$__rate_interval]))", "all workers"),
            unit="suffix: frames/s",
            width=8,
        ),
        lines(
            "Mean time per stage",
            "Seconds that a clip spends in decoding, in MediaPipe and on its way to the store. landmarks is by far "
            "the longest; a store that is slow shows here first.",
            Ask(
                "sum by (stage) (rate(signet_extractor_stage_seconds_sum[$__rate_interval])) "
                "/ (sum by (stage) (rate(signet_extractor_stage_seconds_count[$__rate_interval])) > 0)",
                "{{stage}}",
            ),
            unit="s",
            width=8,
            join=True,
            empty="no clips in this time",
        ),
        lines(
            "Slowest tenth per stage",
            "Nine of ten clips take less than this in each stage (90th percentile). Far above the mean: some clips "
            "are much longer than the rest.",
            Ask(
                "histogram_quantile(0.9, sum by (stage, le) "
                "(rate(signet_extractor_stage_seconds_bucket[$__rate_interval]))) >= 0",
                "{{stage}}",
            ),
            unit="s",
            width=8,
            join=True,
            empty="no clips in this time",
        ),
    ]


def _process_row() -> list[Any]:
    return [
        lines(
            "Processor",
            "Share of one core that the extractor's service process takes. Its workers are processes of their own and "
            "are not counted: frames per second tells what they do.",
            Ask('rate(process_cpu_seconds_total{job="extractor"}[$__rate_interval])', "{{instance}}"),
            unit="percentunit",
            width=12,
        ),
        lines(
            "Memory",
            "What the extractor's service process holds, its workers not counted. It should be level; a steady rise "
            "is a leak.",
            Ask('process_resident_memory_bytes{job="extractor"}', "{{instance}}"),
            unit="bytes",
            width=12,
        ),
    ]


def extraction() -> Any:
    """The Extraction dashboard."""
    return dashboard(
        "signet-extraction",
        "Signet: extraction",
        "Video to landmarks: progress, speed, broken clips, and hands.",
        [("Now", _now_row()), ("Clips", _clips_row()), ("Speed", _speed_row()), ("Process", _process_row())],
    )
