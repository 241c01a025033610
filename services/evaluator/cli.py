"""The evaluator's commands: evaluate, predict, reports. `services.evaluator.models.cli` has `models`."""

import math
import shlex
from functools import partial
from pathlib import Path
from typing import Annotated

import grpc
import typer

from services.evaluator.clip_length import estimate_seconds
from services.evaluator.console import show_gate, show_prediction, show_report, show_reports
from services.evaluator.reports import evaluate as evaluation
from services.evaluator.reports import report_store
from services.evaluator.reports.gate import MAX_P, check_gate
from services.evaluator.reports.report import Report
from services.evaluator.serving.recognizer import DEFAULT_TOP_K
from services.evaluator.settings import EvaluatorSettings, read_evaluator_settings
from signet import registry
from signet.errors import DeadlineExceeded, InvalidInput, NotFound, Unavailable
from signet.rpc.client import signet_errors
from signet.rpc.limits import CHANNEL_OPTIONS, MAX_MESSAGE_BYTES
from signet.rpc.probe import check_address, describe_listener
from signet.store import ObjectStore
from signet.store.options import StoreOption, open_store_option
from signet.terminal.output import (
    BarColumn,
    Console,
    MofNCompleteColumn,
    TimeElapsedColumn,
    open_console,
    print_line,
    progress_bar,
)
from signet.v1 import evaluator_pb2, evaluator_pb2_grpc

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

# The exit status of `signet evaluate --gate` for a version that is worse.
WORSE = 3

# A server that does not accept a connection within this time is not there.
_CONNECT_SECONDS = 5.0

# The time to wait for an answer: a minute, and four times the work of one core on a video of 30 frames a second. A
# frame takes 50 ms of it. The extractor may work on other clips at the same time. Longer videos are refused at once.
_LEAST_SECONDS = 60.0
_SECONDS_PER_SECOND = 4 * 0.05 * 30
_LONGEST_VIDEO_SECONDS = 600.0

ModelNameOption = Annotated[str, typer.Option(help="The model. Default: SIGNET_MODEL_NAME, or signet")]
HtmlOption = Annotated[Path | None, typer.Option("--html", help="Save the report's page to this file", dir_okay=False)]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Save report.json to this file", dir_okay=False)]
SplitOption = Annotated[
    str,
    typer.Option(
        help="Split of the snapshot that the model was trained on. If the snapshot does not have it, the clips are "
        "taken from the corpus, for example test clips that were extracted after the training"
    ),
]
RunOption = Annotated[
    str,
    typer.Option(
        help="A training run. Reports on the models of all its seeds and folds, each on its held-out clips, instead of "
        "on a published model"
    ),
]
GateOption = Annotated[
    bool,
    typer.Option(
        "--gate",
        help=f"Compare the version with that of --against on the same clips. Exit status {WORSE}: it is worse. Stored "
        "reports of this code on these clips are used. A version is worse if its top-1 accuracy is lower by more than "
        "--margin, and if chance does not explain that it is lower (McNemar's exact test, one-sided, p at most "
        f"{MAX_P:g})",
    ),
]
AgainstOption = Annotated[
    str | None,
    typer.Option(
        help="The version or alias to compare with, for --gate. Without an alias production yet, the version passes",
        show_default=registry.PRODUCTION,
    ),
]
MarginOption = Annotated[
    float | None,
    typer.Option(help="Points of top-1 accuracy that a version may lose, for --gate", min=0, max=100, show_default="0"),
]


@app.command()
def evaluate(
    *,
    model_name: ModelNameOption = "",
    model_version: Annotated[str, typer.Option(help="A version or an alias")] = registry.LATEST,
    split: SplitOption = evaluation.DEFAULT_SPLIT,
    run: RunOption = "",
    gate: GateOption = False,
    against: AgainstOption = None,
    margin: MarginOption = None,
    store: StoreOption = "",
    html: HtmlOption = None,
    json: JsonOption = None,
) -> int:
    """Evaluate a published model on a split, or all models of a training run, and store the report."""
    settings = read_evaluator_settings()
    opened = open_store_option(store, must_exist=True, writable=True)
    console = open_console()
    if not gate and (against is not None or margin is not None):
        raise InvalidInput("--against and --margin belong to --gate. Add --gate, or leave them out.")
    if run:
        if model_name or gate or model_version != registry.LATEST or split != evaluation.DEFAULT_SPLIT:
            raise InvalidInput(
                "--run reports on the models and the held-out clips of the run. Leave out --model-name, "
                "--model-version, --split and --gate."
            )
        report, page = evaluation.evaluate_run(opened, run, commit=settings.commit)
    else:
        report_on = partial(
            _report_on,
            opened,
            settings,
            model_name or settings.model_name,
            split,
            report_store.ReportIndex(opened) if gate else None,
        )
        report, page = report_on(model_version)
    show_report(console, report)
    print_line(console, f"report {report.report_id} in {opened.url}")
    _save(console, html, page.encode())
    _save(console, json, report.to_json())
    if not gate:
        return 0
    result = check_gate(
        opened, report, against or registry.PRODUCTION, margin or 0.0, lambda version: report_on(version)[0]
    )
    show_gate(console, result)
    return 0 if result.passed else WORSE


def _report_on(
    store: ObjectStore,
    settings: EvaluatorSettings,
    model_name: str,
    split: str,
    stored: report_store.ReportIndex | None,
    version: str,
) -> tuple[Report, str]:
    """The report on a version, and its page: the stored one if `stored` has it, otherwise a new one."""
    console = open_console(stderr=True)
    with progress_bar(
        console, "{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    ) as progress:
        task = progress.add_task(f"evaluating {version}", total=None)
        report, page = evaluation.evaluate(
            store,
            model_name,
            version,
            split,
            commit=settings.commit,
            threads=settings.threads,
            on_progress=lambda done, total: progress.update(task, completed=done, total=total),
            stored=stored,
        )
    if page:
        return report, page
    # An index has no clips of its reports.
    return report_store.read_report(store, report.report_id), report_store.read_report_html(store, report.report_id)


@app.command()
def predict(
    clip: Annotated[Path, typer.Argument(help="A video, or a landmark tensor (.safetensors)", show_default=False)],
    *,
    server: Annotated[
        str, typer.Option(help="host:port of a running evaluator", envvar="SIGNET_EVALUATOR", show_default=False)
    ],
    top_k: Annotated[int, typer.Option(min=1, help="How many glosses to show")] = DEFAULT_TOP_K,
    timeout: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            max=86_400,
            help=f"Seconds to wait for the answer. Default: {_LEAST_SECONDS:.0f}, and {_SECONDS_PER_SECOND:.0f} for "
            "each second of the video",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Ask a running evaluator which sign a clip shows."""
    try:
        data = clip.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{clip}: cannot be read ({error.strerror}). Name the file of one clip.") from error
    if len(data) > MAX_MESSAGE_BYTES:
        raise InvalidInput(
            f"{clip}: {len(data)} bytes; a call carries at most {MAX_MESSAGE_BYTES}. Cut it to the sign. This takes "
            f"10 s from second 5 on: ffmpeg -ss 5 -i {shlex.quote(str(clip))} -t 10 sign.mp4"
        )
    check_address(server, "--server")
    kind = "landmarks" if clip.suffix.lower() == ".safetensors" else "video"
    seconds = timeout or _default_timeout(data, kind)
    request = evaluator_pb2.RecognizeRequest(**{kind: data}, top_k=top_k)
    with grpc.insecure_channel(server, options=CHANNEL_OPTIONS) as channel:
        _connect(channel, server, min(_CONNECT_SECONDS, seconds))
        try:
            with signet_errors(server):
                response = evaluator_pb2_grpc.RecognizerStub(channel).Recognize(request, timeout=seconds)
        except DeadlineExceeded as error:
            raise DeadlineExceeded(
                f"{clip}: {error} The option --timeout sets this time; it was {seconds:g} s."
            ) from error
        except InvalidInput as error:
            raise InvalidInput(_name_clip(str(error), clip)) from error
    show_prediction(open_console(), response)


@app.command()
def reports(
    report_id: Annotated[str, typer.Argument(help="Show this report", show_default=False)] = "",
    *,
    store: StoreOption = "",
    html: HtmlOption = None,
    json: JsonOption = None,
) -> None:
    """List all reports, newest first, or show one report."""
    opened = open_store_option(store, must_exist=True)
    console = open_console()
    if report_id:
        show_report(console, report_store.read_report(opened, report_id))
        if html is not None:
            _save(console, html, report_store.read_report_html(opened, report_id).encode())
        if json is not None:
            _save(console, json, report_store.read_report_json(opened, report_id))
        return
    if html is not None or json is not None:
        raise InvalidInput("--html and --json save one report. Name it: signet reports REPORT_ID --html FILE")
    stored = report_store.list_reports(opened)
    if not stored:
        raise NotFound(f"{opened.url}: there are no reports yet. `signet evaluate` writes one.")
    show_reports(console, stored)


def _name_clip(message: str, clip: Path) -> str:
    """A message of the server with the path of the clip. Servers call each video "video"."""
    named = message.removeprefix("video: ").replace(" -i video ", f" -i {shlex.quote(str(clip))} ")
    return f"{clip}: {named}"


def _default_timeout(data: bytes, kind: str) -> float:
    """The seconds to wait for the answer to a clip."""
    video_seconds = min(estimate_seconds(data), _LONGEST_VIDEO_SECONDS) if kind == "video" else 0.0
    return math.ceil(_LEAST_SECONDS + _SECONDS_PER_SECOND * video_seconds)


def _connect(channel: grpc.Channel, server: str, seconds: float) -> None:
    """Wait for the connection.

    Raises:
        Unavailable: there is none within this many seconds.
    """
    try:
        grpc.channel_ready_future(channel).result(timeout=seconds)
    except grpc.FutureTimeoutError as error:
        reason = describe_listener(server, seconds)
        raise Unavailable(
            f"{server}: no evaluator answers at this address{reason and f' ({reason})'}. Start one (`signet up`), "
            "or name another with --server."
        ) from error


def _save(console: Console, path: Path | None, data: bytes) -> None:
    if path is None:
        return
    try:
        path.write_bytes(data)
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be written ({error.strerror}).") from error
    print_line(console, f"saved {path}")
