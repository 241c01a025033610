"""The Extraction dashboard: how far it is, how fast, what breaks, and whether hands are found."""

from typing import Any

from deploy.grafana.panels import (
    BAD,
    GOOD,
    PLAIN,
    WARN,
    Ask,
    Text,
    alerts,
    bars,
    dashboard,
    figure,
    lines,
    share,
)

# The limit of the alert ExtractionFailing (deploy/prometheus/rules/alerts.yml).
FAILING_RATIO = 0.20

_BROKEN = 'signet_extractor_clips_total{outcome="broken"}'

# Without any broken clip, one bar that says so.
_REASONS = (
    f'sum by (reason) ({_BROKEN}) or (label_replace(vector(0), "reason", "none broken", "", "") unless on () {_BROKEN})'
)

# 0 where nothing was dealt with for 15 minutes.
_BROKEN_SHARE = "max(instance:signet_extractor_broken_clips:ratio15m) or vector(0)"


def _over_frames(counter: str, label: str) -> str:
    """How much of a counter there is in each frame; nothing where there are no frames."""
    frames = "(sum(rate(signet_extractor_frames_total[$__rate_interval])) > 0)"
    return f"sum by ({label}) (rate({counter}[$__rate_interval])) / on () group_left () {frames}"


def extraction() -> Any:
    """Build it."""
    now = [
        share(
            Text(
                "Progress",
                "Clips done of the clips selected, in the extraction under way or the last one. It ends at 100 %, "
                "broken and missing clips included.",
            ),
            Ask("sum(signet_extractor_done_clips) / (sum(signet_extractor_selected_clips) > 0) or vector(0)"),
            width=5,
        ),
        figure(
            Text("State", "Whether an extraction is under way. An idle extractor still serves single videos."),
            "none",
            Ask("max(signet_extractor_running)"),
            width=4,
            words={"0": ("idle", PLAIN), "1": ("extracting", GOOD)},
        ),
        figure(
            Text("Clips done", "Clips done and clips selected, in the extraction under way or the last one."),
            "none",
            Ask("sum(signet_extractor_done_clips)", "done"),
            Ask("sum(signet_extractor_selected_clips)", "selected"),
            width=5,
        ),
        figure(
            Text(
                "Broken in the last 15 minutes",
                "Share of the clips dealt with that could not be read. A few are usual in WLASL; above 20 % there is "
                "an alert.",
            ),
            "percentunit",
            Ask(_BROKEN_SHARE),
            width=6,
            colours=((None, GOOD), (FAILING_RATIO / 2, WARN), (FAILING_RATIO, BAD)),
        ),
        alerts(width=4),
    ]
    clips = [
        bars(
            Text(
                "Clips by outcome",
                "Since the extractor started. present: done before, and not done again; missing: not in the clip "
                "folder, as about half of WLASL; broken: the panel beside says why.",
            ),
            "short",
            Ask("sum by (outcome) (signet_extractor_clips_total)", "{{outcome}}"),
            width=8,
        ),
        bars(
            Text(
                "Broken clips by reason",
                "Since the extractor started. Each broken clip is named in the extractor's log; one reason for most of "
                "them points at the download or at the video format.",
            ),
            "short",
            Ask(_REASONS, "{{reason}}"),
            width=8,
            colours=((None, GOOD), (1, WARN)),
        ),
        lines(
            Text(
                "Hands and pose found",
                "Share of the frames in which each part was found. Hands are absent in about half of the frames of "
                "usual clips; pose below 90 % means that the signer is not in the picture.",
                "no frames in this time",
            ),
            "percentunit",
            Ask(_over_frames("signet_extractor_found_frames_total", "part"), "{{part}}"),
            width=8,
            top=1,
            join=True,
        ),
    ]
    speed = [
        lines(
            Text(
                "Frames per second",
                "Frames turned into landmarks, by all workers. About 20 a second for each core is usual; 0 while "
                "nothing is extracted.",
            ),
            "suffix: frames/s",
            Ask("sum(rate(signet_extractor_frames_total[$__rate_interval]))", "all workers"),
            width=8,
        ),
        lines(
            Text(
                "Mean time per stage",
                "Seconds that a clip spends in decoding, in MediaPipe and on its way to the store. landmarks is by far "
                "the longest; a store that is slow shows here first.",
                "no clips in this time",
            ),
            "s",
            Ask(
                "sum by (stage) (rate(signet_extractor_stage_seconds_sum[$__rate_interval])) "
                "/ (sum by (stage) (rate(signet_extractor_stage_seconds_count[$__rate_interval])) > 0)",
                "{{stage}}",
            ),
            width=8,
            join=True,
        ),
        lines(
            Text(
                "Slowest tenth per stage",
                "Nine of ten clips take less than this in each stage (90th percentile). Far above the mean: some clips "
                "are much longer than the rest.",
                "no clips in this time",
            ),
            "s",
            Ask(
                "histogram_quantile(0.9, sum by (stage, le) "
                "(rate(signet_extractor_stage_seconds_bucket[$__rate_interval]))) >= 0",
                "{{stage}}",
            ),
            width=8,
            join=True,
        ),
    ]
    process = [
        lines(
            Text(
                "Processor",
                "Share of one core that the extractor's service process takes. Its workers are processes of their own "
                "and are not counted: frames per second tells what they do.",
            ),
            "percentunit",
            Ask('rate(process_cpu_seconds_total{job="extractor"}[$__rate_interval])', "{{instance}}"),
            width=12,
        ),
        lines(
            Text(
                "Memory",
                "What the extractor's service process holds, its workers not counted. It should be level; a steady "
                "rise is a leak.",
            ),
            "bytes",
            Ask('process_resident_memory_bytes{job="extractor"}', "{{instance}}"),
            width=12,
        ),
    ]
    return dashboard(
        "signet-extraction",
        "Signet: extraction",
        "Video to landmarks: progress, speed, broken clips, and hands.",
        [("Now", now), ("Clips", clips), ("Speed", speed), ("Process", process)],
    )
