"""The Training dashboard: accuracy, loss and blanks of the runs, and the state of the GPU."""

from typing import Any

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import dashboard as model

from deploy.grafana.panels import (
    BAD,
    GOOD,
    SOURCE,
    WARN,
    Ask,
    alerts,
    bars,
    dashboard,
    figure,
    lines,
    measured,
    name,
    states,
)

# The limits of the alerts GpuTooHot and BlankCollapse (deploy/prometheus/rules/alerts.yml).
HOT_CELSIUS = 70
COLLAPSED_BLANK_RATIO = 0.98
COLLAPSED_GAP = 0.30

_RUN = 'signet_trainer_run_info{run_id=~"$run"}'

_NO_RUN = "no run in this time"
_NO_GPU = "no GPU"


def _of_run(expression: str) -> str:
    """The expression for the selected runs, one series per run."""
    return f"{expression} * on (instance, job) group_left (run_id) {_RUN}"


def _latest_run(expression: str) -> str:
    """The expression for the selected runs as one series. Its last value belongs to the latest run."""
    return f"max({_of_run(expression)})"


# The selected run that was shown last has the highest time. The value is not printed.
_LATEST_NAME = f"topk(1, max_over_time(timestamp({_RUN})[$__range:]))"


def _now_row() -> list[Any]:
    return [
        name(
            "Run",
            "The latest of the picked runs. Pick others at the top; a run is in the list if it was under way, or was "
            "the last one, in the chosen time.",
            Ask(_LATEST_NAME, "{{run_id}}"),
            width=6,
            empty=_NO_RUN,
        ),
        name(
            "Device",
            "What that run computes on. cpu on a machine with a GPU means that it was not found.",
            Ask(_LATEST_NAME, "{{device}}"),
            width=3,
            empty=_NO_RUN,
        ),
        figure(
            "Epoch",
            "Epochs of the member under way that are finished, and that were planned.",
            Ask(_latest_run("signet_trainer_epoch"), "done"),
            Ask(_latest_run("signet_trainer_planned_epochs"), "planned"),
            unit="none",
            width=4,
            latest=True,
            empty=_NO_RUN,
        ),
        figure(
            "Validation accuracy",
            "Share of val clips that exact decoding gets right after the latest epoch. Compare it with runs on the "
            "same dataset only.",
            Ask(_latest_run('signet_trainer_accuracy_ratio{split="val"}')),
            unit="percentunit",
            width=3,
            latest=True,
            empty=_NO_RUN,
        ),
        figure(
            "Blank share",
            "Share of val frames in which blank wins. At the end of a run around 95 % is usual, one frame for each "
            "sign; from 98 % on the model says nothing, as it does in the first fifth of the epochs.",
            Ask(_latest_run("signet_trainer_blank_ratio")),
            unit="percentunit",
            width=3,
            colours=((None, GOOD), (COLLAPSED_BLANK_RATIO, BAD)),
            latest=True,
            empty=_NO_RUN,
        ),
        figure(
            "GPU temperature now",
            "The hottest GPU. Above its limit (70 °C unless changed) training pauses until it has cooled.",
            Ask("max(signet_gpu_temperature_celsius)"),
            unit="celsius",
            width=3,
            colours=((None, GOOD), (HOT_CELSIUS, BAD)),
            empty=_NO_GPU,
        ),
        alerts(width=2),
    ]


def _learning_row() -> list[Any]:
    return [
        lines(
            "Loss",
            "Nats per sign on the training and the val clips; both should fall. train far below val means that the "
            "model learns the clips by heart. Both jump where CTC follows the flat start.",
            Ask(_of_run("signet_trainer_loss"), "{{split}} · {{run_id}}"),
            unit="suffix: nats",
            width=12,
            empty=_NO_RUN,
        ),
        lines(
            "Accuracy",
            "Share of clips recognised: by exact decoding on val, and on train every tenth epoch, and by greedy "
            "decoding on val. All should rise, and greedy should end close to exact.",
            Ask(_of_run("signet_trainer_accuracy_ratio"), "{{split}} exact · {{run_id}}"),
            Ask(
                _of_run(
                    '(signet_trainer_accuracy_ratio{split="val"} - ignoring (split) '
                    "signet_trainer_exact_greedy_gap_ratio)"
                ),
                "val greedy · {{run_id}}",
            ),
            unit="percentunit",
            width=12,
            top=1,
            empty=_NO_RUN,
        ),
        lines(
            "Blanks and empty outputs",
            "Share of val frames in which blank wins, and of val clips in which greedy decoding finds no sign, or "
            "(every tenth epoch) the decoder for continuous signing. The last two should end near 0; blanks at the "
            "line (98 %) are a collapse, unless it is early.",
            Ask(_of_run("signet_trainer_blank_ratio"), "blank frames · {{run_id}}"),
            Ask(_of_run("signet_trainer_empty_ratio"), "empty clips, greedy · {{run_id}}"),
            Ask(_of_run("signet_trainer_continuous_empty_ratio"), "empty clips, continuous · {{run_id}}"),
            unit="percentunit",
            width=8,
            limit=COLLAPSED_BLANK_RATIO,
            top=1,
            empty=_NO_RUN,
        ),
        lines(
            "Gap between exact and other decoding",
            "Exact accuracy on val less that of greedy decoding, and every tenth epoch of the decoder for continuous "
            "signing: the measure of blank collapse. It may cross the line (30 %) in the first half of the epochs; a "
            "good run ends well below it.",
            Ask(_of_run("signet_trainer_exact_greedy_gap_ratio"), "greedy · {{run_id}}"),
            Ask(_of_run("signet_trainer_exact_continuous_gap_ratio"), "continuous · {{run_id}}"),
            unit="percentunit",
            width=8,
            limit=COLLAPSED_GAP,
            empty=_NO_RUN,
        ),
        lines(
            "Time per epoch",
            "Mean duration of an epoch, validation included. It should be level; a rise means that something else "
            "takes the device, or that the thermal guard pauses.",
            Ask(
                _of_run(
                    "(rate(signet_trainer_epoch_seconds_sum[$__rate_interval]) "
                    "/ (rate(signet_trainer_epoch_seconds_count[$__rate_interval]) > 0))"
                ),
                "{{run_id}}",
            ),
            unit="s",
            width=8,
            join=True,
            empty="no epoch ended in this time",
        ),
    ]


def _gpu_row() -> list[Any]:
    return [
        lines(
            "GPU temperature",
            "Each GPU's core. Above its limit (the line, unless changed) training pauses until it has cooled.",
            Ask(_by_gpu("signet_gpu_temperature_celsius"), "GPU {{gpu}}"),
            unit="celsius",
            width=8,
            limit=HOT_CELSIUS,
            empty=_NO_GPU,
        ),
        lines(
            "GPU memory",
            "Memory in use and memory there is. Where they meet, the trainer splits its batches, which costs time.",
            Ask(_by_gpu("signet_gpu_memory_used_bytes"), "GPU {{gpu}} used"),
            Ask(_by_gpu("signet_gpu_memory_total_bytes"), "GPU {{gpu}} total"),
            unit="bytes",
            width=8,
            empty=_NO_GPU,
        ),
        lines(
            "GPU utilisation",
            "Share of the time in which the GPU computed. Low during a run: the model is small, or waits for data.",
            Ask(_by_gpu("signet_gpu_utilisation_ratio"), "GPU {{gpu}}"),
            unit="percentunit",
            width=8,
            top=1,
            empty=_NO_GPU,
        ),
        lines(
            "GPU power",
            "What each GPU draws. It falls with the clocks where a GPU slows itself down.",
            Ask(_by_gpu("signet_gpu_power_watts"), "GPU {{gpu}}"),
            unit="watt",
            width=6,
            empty=_NO_GPU,
        ),
        lines(
            "GPU clocks",
            "How fast each GPU runs. A drop under load means that it slows itself down; the bands on the right say "
            "why.",
            Ask(_by_gpu("signet_gpu_clock_hertz", "clock"), "GPU {{gpu}} {{clock}}"),
            unit="hertz",
            width=6,
            empty=_NO_GPU,
        ),
        lines(
            "Time paused by the thermal guard",
            "Share of the time that training waited for the GPU to cool. 0 is good; above 50 % for 15 minutes there "
            "is an alert.",
            Ask("rate(signet_trainer_throttled_seconds_total[$__rate_interval])", "paused"),
            unit="percentunit",
            width=6,
            top=1,
        ),
        states(
            "Why the GPU slows down",
            "The driver's own reasons; orange while one holds. power_cap is usual under full load, the others mean "
            "heat or a fault.",
            Ask(_by_gpu("signet_gpu_throttle", "reason"), "GPU {{gpu}} {{reason}}"),
            width=6,
            words={"0": ("no", "transparent"), "1": ("yes", WARN)},
            empty=_NO_GPU,
        ),
    ]


def _runs_row() -> list[Any]:
    return [
        lines(
            "Queue",
            "Runs that wait for another to end, and whether one is under way. A queue without a run under way is "
            "wrong.",
            Ask("signet_trainer_queued_runs", "waiting"),
            Ask("signet_trainer_running", "under way"),
            unit="none",
            width=8,
        ),
        bars(
            "Runs by outcome",
            "How runs ended since the trainer started. A failed one wants a look at the trainer's log; stopped and "
            "interrupted ones were ended from outside.",
            Ask("sum by (state) (signet_trainer_runs_total)", "{{state}}"),
            unit="short",
            width=8,
        ),
        measured(
            bars(
                "Trouble",
                "Since the trainer started: time paused by the thermal guard, runs that ended on a loss that was not "
                "finite, batches split since GPU memory was full, and what trainings did by themselves against a "
                "collapse or a loss that was not finite. All 0 is best.",
                Ask("sum(signet_trainer_throttled_seconds_total)", "paused"),
                Ask("sum(signet_trainer_nonfinite_losses_total)", "losses not finite"),
                Ask("sum(signet_trainer_out_of_memory_total)", "batches split"),
                Ask("sum by (action) (signet_trainer_actions_total)", "{{action}}"),
                unit="short",
                width=8,
                colours=((None, GOOD), (1, WARN)),
            ),
            "paused",
            "s",
        ),
    ]


def training() -> Any:
    """The Training dashboard."""
    return dashboard(
        "signet-training",
        "Signet: training",
        "The runs of the trainer: learning, blanks, and the GPU.",
        [("Now", _now_row()), ("Learning", _learning_row()), ("GPU", _gpu_row()), ("Runs", _runs_row())],
        [_run_picker()],
    )


def _by_gpu(metric: str, *labels: str) -> str:
    """One series per GPU. Every service on a machine reports its GPUs, so each would appear several times."""
    return f"max by ({', '.join(('gpu', 'uuid', *labels))}) ({metric})"


def _run_picker() -> Any:
    """Selects runs among those of the chosen time. At first all are selected."""
    everything = model.VariableOption(selected=True, text=["All"], value=["$__all"])
    return (
        build.QueryVariable("run")
        .label("Run")
        .description("Runs to show; the dashboard is about the latest of them.")
        .datasource(SOURCE)
        .query({"qryType": 1, "query": "label_values(signet_trainer_run_info, run_id)", "refId": "run"})
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_DESC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(everything)
    )
