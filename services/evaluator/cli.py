"""The evaluator's commands: evaluate and reports. `services.evaluator.models.cli` has `models`."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from services.evaluator.console import show_gate, show_report, show_reports
from services.evaluator.reports import evaluate as evaluation
from services.evaluator.reports import report_store
from services.evaluator.reports.gate import MAX_P, check_gate
from services.evaluator.reports.report import Report
from services.evaluator.settings import UNKNOWN_COMMIT, EvaluatorSettings, read_evaluator_settings
from signet import registry
from signet.errors import InvalidInput, NotFound
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
from signet.whole_file import write_whole_file

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

# The exit status of `signet evaluate --gate` for a version that is worse.
WORSE = 3

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
        "reports on these clips by this code (SIGNET_COMMIT) are used. It is worse if its top-1 accuracy is lower by "
        "more than --margin, and if chance does not explain that it is lower (McNemar's exact test, one-sided, p at "
        f"most {MAX_P:g})",
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
ContinuousOption = Annotated[
    bool,
    typer.Option(
        "--continuous/--no-continuous",
        help="Measure the recognition of continuous signing, on sequences made from the held-out clips. It takes about "
        "two thirds of the time of a report; --no-continuous leaves it out",
    ),
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
    continuous: ContinuousOption = True,
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
            report_store.ReportIndex(opened) if gate and settings.commit != UNKNOWN_COMMIT else None,
            continuous,
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
    continuous: bool,
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
            continuous=continuous,
        )
    if page:
        return report, page
    # An index has no clips of its reports.
    return report_store.read_report(store, report.report_id), report_store.read_report_html(store, report.report_id)


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


def _save(console: Console, path: Path | None, data: bytes) -> None:
    if path is None:
        return
    try:
        write_whole_file(path, data)
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be written ({error.strerror}).") from error
    print_line(console, f"saved {path}")
