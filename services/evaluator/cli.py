"""The evaluator's commands: evaluate, predict, models, reports."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import grpc
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from services.evaluator.reports import evaluate as evaluation
from services.evaluator.reports import report
from services.evaluator.reports.report import AcrossSeeds, GlossAccuracy, Proportion, Report
from services.evaluator.serving.recognizer import DEFAULT_TOP_K
from services.evaluator.settings import EvaluatorSettings
from services.evaluator.tables import TableColumn, bar, print_table, say
from signet import registry
from signet.errors import DataLoss, InvalidInput, InvalidSetting, NotFound, Unavailable
from signet.rpc.client import signet_errors
from signet.rpc.limits import CHANNEL_OPTIONS, MAX_MESSAGE_BYTES
from signet.statistics.counts import Spread
from signet.store import ObjectStore
from signet.store.options import StoreOption, open_store_option
from signet.v1 import evaluator_pb2, evaluator_pb2_grpc

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

_SHOWN_GLOSSES = 5
# To tell a server that is not there from one that is slow.
_CONNECT_SECONDS = 5.0

ModelNameOption = Annotated[str, typer.Option(help="The model. Default: SIGNET_MODEL_NAME, or signet")]
HtmlOption = Annotated[Path | None, typer.Option("--html", help="Save the report's page here", dir_okay=False)]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Save the report's figures here", dir_okay=False)]


@app.command()
def evaluate(
    *,
    model_name: ModelNameOption = "",
    model_version: Annotated[str, typer.Option(help="A version or an alias")] = registry.LATEST,
    split: Annotated[
        str,
        typer.Option(
            help="Split of the model's own dataset snapshot; of its corpus, where the snapshot has none, such as test "
            "clips that were extracted later"
        ),
    ] = evaluation.DEFAULT_SPLIT,
    run: Annotated[
        str,
        typer.Option(
            help="Instead of a published model: all seeds, and all folds, of this training run, on what each was not "
            "trained on"
        ),
    ] = "",
    store: StoreOption = "",
    html: HtmlOption = None,
    json: JsonOption = None,
) -> None:
    """Measure a published model on a split, or all models of a run, and store the report."""
    settings = _settings()
    opened = open_store_option(store)
    console = Console()
    if run:
        if model_name or model_version != registry.LATEST or split != evaluation.DEFAULT_SPLIT:
            raise InvalidInput(
                "--run reports on the run's own models and held-out clips; leave --model-name, --model-version and "
                "--split out."
            )
        _tell(console, opened, *evaluation.evaluate_run(opened, run, commit=settings.commit), html, json)
        return
    errors = Console(stderr=True)
    with Progress(
        TextColumn("evaluating"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=errors, disable=not errors.is_terminal, transient=True,
    ) as progress:  # fmt: skip
        task = progress.add_task("evaluating", total=None)
        made, page = evaluation.evaluate(
            opened,
            model_name or settings.model_name,
            model_version,
            split,
            commit=settings.commit,
            threads=settings.threads,
            watch=lambda now: progress.update(task, completed=now.done, total=now.total),
        )
    _tell(console, opened, made, page, html, json)


@app.command()
def predict(
    clip: Annotated[Path, typer.Argument(help="A video, or a landmark tensor (.safetensors)", show_default=False)],
    *,
    server: Annotated[
        str, typer.Option(help="host:port of a running evaluator", envvar="SIGNET_EVALUATOR", show_default=False)
    ],
    top_k: Annotated[int, typer.Option(min=1, help="How many signs to show")] = DEFAULT_TOP_K,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for the answer")] = 60.0,
) -> None:
    """Ask a running evaluator which sign a clip shows."""
    try:
        data = clip.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{clip}: cannot be read ({error.strerror}).") from error
    if len(data) > MAX_MESSAGE_BYTES:
        raise InvalidInput(f"{clip}: {len(data)} bytes are more than a call can carry ({MAX_MESSAGE_BYTES}). Cut it.")
    kind = "landmarks" if clip.suffix == ".safetensors" else "video"
    request = evaluator_pb2.RecognizeRequest(**{kind: data}, top_k=top_k)
    with grpc.insecure_channel(server, options=CHANNEL_OPTIONS) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=min(_CONNECT_SECONDS, timeout))
        except grpc.FutureTimeoutError as error:
            raise Unavailable(
                f"{server}: no evaluator answers there. Start one (`signet up`), or name another with --server."
            ) from error
        with signet_errors():
            answer = evaluator_pb2_grpc.RecognizerStub(channel).Recognize(request, timeout=timeout)
    _show_prediction(Console(), answer)


@app.command()
def models(*, model_name: ModelNameOption = "", store: StoreOption = "") -> None:
    """List a model's versions, newest first, and what they reached on val when they were published."""
    settings = _settings()
    opened = open_store_option(store)
    name = model_name or settings.model_name
    versions = registry.versions(opened, name)
    if not versions:
        raise NotFound(f"{opened.url}: no model {name!r} is published. `signet train` publishes one.")
    named: dict[str, list[str]] = {}
    for alias, version in registry.aliases(opened, name).items():
        named.setdefault(version, []).append(alias)
    rows = [_model_row(opened, name, version, named.get(version, [])) for version in reversed(versions)]
    columns = [
        TableColumn("version", style="bold", whole=True),
        TableColumn("aliases", style="green"),
        TableColumn("published"),
        TableColumn("val", "right"),
        TableColumn("best path", "right", optional=True),
        TableColumn("glosses", "right", optional=True),
        TableColumn("parameters", "right", optional=True),
        TableColumn("dataset", style="dim", optional=True),
    ]
    print_table(Console(), columns, rows)


@app.command()
def reports(
    report_id: Annotated[str, typer.Argument(help="Show this one", show_default=False)] = "",
    *,
    store: StoreOption = "",
    html: HtmlOption = None,
    json: JsonOption = None,
) -> None:
    """List all reports, newest first, or show one."""
    opened = open_store_option(store)
    console = Console()
    if report_id:
        _show(console, report.read_report(opened, report_id))
        if html is not None:
            _save(console, html, report.read_html(opened, report_id).encode())
        if json is not None:
            _save(console, json, report.read_json(opened, report_id))
        return
    if html is not None or json is not None:
        raise InvalidInput("name the report that is to be saved: signet reports REPORT_ID --html FILE")
    found = report.list_reports(opened)
    if not found:
        raise NotFound(f"{opened.url}: there are no reports yet. `signet evaluate` writes one.")
    columns = [
        TableColumn("report", style="bold", whole=True),
        TableColumn("version or run"),
        TableColumn("split"),
        TableColumn("top-1", "right"),
        TableColumn("seeds", "right", optional=True),
        TableColumn("top-5", "right", optional=True),
        TableColumn("continuous", "right", optional=True),
        TableColumn("model", optional=True),
    ]
    rows = [
        [
            made.report_id,
            made.provenance.model_version,
            made.provenance.split,
            _seeds_figure(made.across_seeds, made.top1.n) if made.across_seeds else _figure(made.top1),
            str(len(made.across_seeds.seeds)) if made.across_seeds else "",
            _percent(made.across_seeds.top5.mean if made.across_seeds else made.top5.value),
            _continuous(made),
            made.provenance.model_name,
        ]
        for made in found
    ]
    print_table(console, columns, rows)


def _tell(console: Console, store: ObjectStore, made: Report, page: str, html: Path | None, json: Path | None) -> None:
    """Show a report that was just made, say where it is, and save what is to be saved."""
    _show(console, made)
    say(console, f"report {made.report_id} in {store.url}")
    _save(console, html, page.encode())
    _save(console, json, made.to_json())


def _settings() -> EvaluatorSettings:
    """The environment's settings."""
    try:
        return EvaluatorSettings(_cli_parse_args=False)
    except ValidationError as error:
        fault = error.errors()[0]
        variable = "SIGNET_" + "_".join(map(str, fault["loc"])).upper()
        raise InvalidSetting(f"{variable}={fault['input']!r}: {fault['msg']}.") from error


def _show(console: Console, made: Report) -> None:
    """The figures that a person wants first."""
    p = made.provenance
    clips = (
        f"corpus {p.dataset_name} {p.corpus_version}" if p.corpus_version else f"{p.dataset_name} {p.dataset_version}"
    )
    say(console, f"{made.title} on {p.split} of {clips}", "bold")
    if made.across_seeds:
        _show_seeds(console, made, made.across_seeds)
    figures = [("top-1", made.top1), ("top-5", made.top5), ("best path", made.greedy)]
    if made.continuous:
        figures.insert(2, ("continuous", made.continuous))
    if made.synonym_aware:
        figures.insert(2, ("top-1, synonyms alike", made.synonym_aware))
    print_table(
        console,
        [
            TableColumn(f"seed {made.across_seeds.shown}" if made.across_seeds else "figure"),
            TableColumn("share", "right", "bold"),
            TableColumn("95 % interval", "right"),
            TableColumn("clips", "right"),
        ],
        [[name, _percent(share.value), _interval(share), f"{share.correct} of {share.n}"] for name, share in figures],
    )
    ranked = sorted(
        (result for result in made.per_gloss if result.recognised.n),
        key=lambda result: (-result.recognised.value, -result.recognised.n, result.gloss),
    )
    best = ranked[:_SHOWN_GLOSSES]
    _show_glosses(console, "best", best)
    _show_glosses(console, "worst", [result for result in reversed(ranked) if result not in best][:_SHOWN_GLOSSES])
    blank = made.blank
    say(
        console,
        f"blank: best in {_percent(blank.frame_ratio)} of all frames; {blank.empty.correct} of {blank.empty.n} best "
        f"paths empty ({_percent(blank.empty.value)}, {_interval(blank.empty)}); exact-greedy gap "
        f"{100 * made.exact_greedy_gap:.0f} points; {blank.verdict}",
        "" if blank.verdict.startswith("not") else "red",
    )
    if made.calibration:
        after = made.calibration.after
        say(
            console,
            f"calibration: expected error {_percent(made.calibration.before.expected_error)}"
            + (f", with a temperature {_percent(after.expected_error)}" if after else ""),
        )
    if made.signers:
        spread = made.signers
        say(
            console,
            f"signers: {_percent(spread.minimum)} of the worst, {_percent(spread.median)} of the median, "
            f"{_percent(spread.maximum)} of the best of {len(spread.signers)} with {spread.least_clips} clips or more",
        )
    say(
        console,
        f"{made.glosses_predicted} of {p.glosses} glosses predicted; mean p(truth) {made.mean_truth_probability:.2f}; "
        f"{made.seconds['total']:.1f} s",
    )
    for note in made.notes:
        say(console, f"note: {note.title}. {note.text}", "yellow" if note.caution else "dim")


def _show_seeds(console: Console, made: Report, across: AcrossSeeds) -> None:
    """What the training comes to over seeds."""
    rows = [
        ("top-1", across.top1),
        ("top-5", across.top5),
        ("top-1, synonyms alike", across.synonym_aware),
        ("continuous", across.continuous),
        ("gap exact - continuous", across.exact_continuous_gap),
        ("nothing read", across.empty_continuous),
        ("gloss error rate", across.gloss_error_rate),
        ("calibration error", across.calibration_error),
    ]
    seeds = len(across.seeds)
    print_table(
        console,
        [
            TableColumn(f"{seeds} {'seed' if seeds == 1 else 'seeds'}, %"),
            TableColumn("mean", "right", "bold"),
            TableColumn("sd", "right"),
            TableColumn("lowest", "right"),
            TableColumn("highest", "right"),
        ],
        [
            [name, *("" if share is None else f"{100 * share:.1f}" for share in _of(spread))]
            for name, spread in rows
            if spread is not None
        ],
    )
    say(
        console,
        f"95 % interval of one such model on these {made.top1.n} clips: {100 * across.low:.0f}–{_percent(across.high)}",
    )
    if across.ensemble_top1 and across.ensemble_top5:
        say(console, f"all voting: top-1 {_figure(across.ensemble_top1)}, top-5 {_figure(across.ensemble_top5)}")


def _of(spread: Spread) -> tuple[float | None, ...]:
    return (spread.mean, spread.deviation, spread.lowest, spread.highest)


def _show_glosses(console: Console, title: str, results: list[GlossAccuracy]) -> None:
    if results:
        columns = [
            TableColumn(title),
            TableColumn("share", "right", "bold"),
            TableColumn("clips", "right"),
            TableColumn("", style="cyan"),
        ]
        print_table(
            console,
            columns,
            [
                [
                    result.gloss,
                    _percent(result.recognised.value),
                    f"{result.recognised.correct} of {result.recognised.n}",
                    bar(result.recognised.value),
                ]
                for result in results
            ],
        )


def _show_prediction(console: Console, answer: evaluator_pb2.RecognizeResponse) -> None:
    columns = [
        TableColumn("", "right", "dim"),
        TableColumn("sign", style="bold"),
        TableColumn("p", "right"),
        TableColumn("", style="cyan"),
    ]
    print_table(
        console,
        columns,
        [
            [str(rank), guess.gloss, f"{guess.probability:.3f}", bar(guess.probability)]
            for rank, guess in enumerate(answer.predictions, 1)
        ],
    )
    if answer.HasField("moment"):  # a server of version 0.1 sends none
        say(
            console,
            f"{answer.predictions[0].gloss}: {answer.moment.start_seconds:.1f} to {answer.moment.end_seconds:.1f} s "
            f"into the clip; read as continuous signing: {' '.join(answer.continuous_glosses) or '(nothing)'}",
        )
    timing = answer.timing
    extract = f", of which extraction {timing.extract_seconds:.2f} s" if timing.extract_seconds else ""
    say(
        console,
        f"{answer.model_name} {answer.model_version}; best path: {' '.join(answer.greedy_glosses) or '(empty)'}; blank "
        f"in {_percent(answer.blank_ratio)} of {answer.frames} frames; {timing.total_seconds:.2f} s{extract}",
        "dim",
    )


def _model_row(store: ObjectStore, name: str, version: str, aliases: list[str]) -> list[str]:
    try:
        card = registry.read_card(store, name, version)
    except DataLoss:
        return [version, " ".join(aliases), "its card is damaged: publish it again", "", "", "", "", ""]
    reached = card.metrics
    return [
        version,
        " ".join(sorted(aliases)),
        f"{datetime.fromisoformat(card.created):%Y-%m-%d}",
        _figure(Proportion(correct=reached.val_correct, n=reached.val_clips)),
        _percent(Proportion(correct=reached.val_greedy_correct, n=reached.val_clips).value),
        str(len(card.vocabulary)),
        f"{card.parameters:,}",
        f"{card.dataset_name}/{card.dataset_version}",
    ]


def _save(console: Console, path: Path | None, data: bytes) -> None:
    if path is None:
        return
    try:
        path.write_bytes(data)
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be written ({error.strerror}).") from error
    say(console, f"saved {path}")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _interval(share: Proportion) -> str:
    return f"{100 * share.low:.0f}–{100 * share.high:.0f} %"


def _seeds_figure(across: AcrossSeeds, clips: int) -> str:
    """The mean over seeds, with the interval of one model."""
    return f"{_percent(across.top1.mean)} ({100 * across.low:.0f}–{100 * across.high:.0f}, n={clips})"


def _continuous(made: Report) -> str:
    if made.across_seeds:
        return _percent(made.across_seeds.continuous.mean)
    return _percent(made.continuous.value) if made.continuous else ""


def _figure(share: Proportion) -> str:
    """A share that is never quoted bare."""
    return f"{_percent(share.value)} ({100 * share.low:.0f}–{100 * share.high:.0f}, n={share.n})"
