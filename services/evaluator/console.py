"""Console output of the evaluator's commands: reports and lists."""

from collections.abc import Sequence

from services.evaluator.reports.continuous_figures import ContinuousSigning
from services.evaluator.reports.gate import MAX_P, GateResult
from services.evaluator.reports.pairing import ReportPair
from services.evaluator.reports.report import AcrossSeeds, GlossAccuracy, Proportion, Report
from signet.terminal.output import Console, TableColumn, bar, print_table, say

# How many of the best and of the worst glosses are shown.
_SHOWN_GLOSSES = 5


def show_report(console: Console, report: Report) -> None:
    """Print the main figures of a report and its caveats."""
    about = report.provenance
    version = f"corpus {about.dataset_name} {about.corpus_version}"
    clips = version if about.corpus_version else f"{about.dataset_name} {about.dataset_version}"
    say(console, f"{report.title} on {about.split} of {clips}", "bold")
    if report.across_seeds:
        _show_seeds(console, report.across_seeds, report.top1.n)
    _show_accuracies(console, report)
    ranked = report.ranked_glosses
    best = ranked[:_SHOWN_GLOSSES]
    _show_glosses(console, "best", best)
    _show_glosses(console, "worst", [gloss for gloss in reversed(ranked) if gloss not in best][:_SHOWN_GLOSSES])
    blank = report.blank
    say(
        console,
        f"blank: best in {_percent(blank.frame_ratio)} of all frames; {blank.empty.correct} of {blank.empty.n} best "
        f"paths empty ({_percent(blank.empty.value)}, {_interval(blank.empty)}); exact-greedy gap "
        f"{100 * report.exact_greedy_gap:.0f} points; {blank.verdict}",
        "" if blank.verdict.startswith("not") else "red",
    )
    if report.calibration:
        before, after = report.calibration.before, report.calibration.after
        with_temperature = f", with a temperature {_percent(after.expected_error)}" if after else ""
        say(console, f"calibration: expected error {_percent(before.expected_error)}{with_temperature}")
    if report.unknown_signs:
        unknown = report.unknown_signs
        say(
            console,
            f"unknown signs: area under the ROC curve {unknown.auroc:.2f} ({unknown.low:.2f}–{unknown.high:.2f}), "
            f"{unknown.known} clips of the vocabulary and {unknown.unknown} of other signs; with 95 % of the former, "
            f"{_percent(unknown.false_positive_rate)} of the latter are accepted",
        )
    if report.continuous_signing:
        _show_continuous_signing(console, report.continuous_signing)
    if report.signers:
        signers = report.signers
        say(
            console,
            f"signers with {signers.least_clips} clips or more: {len(signers.signers)}; accuracy of the worst "
            f"{_percent(signers.minimum)}, of the median {_percent(signers.median)}, of the best "
            f"{_percent(signers.maximum)}",
        )
    say(
        console,
        f"{report.glosses_predicted} of {about.glosses} glosses predicted; mean p(truth) "
        f"{report.mean_truth_probability:.2f}; {report.seconds['total']:.1f} s",
    )
    for note in report.notes:
        say(console, f"note: {note.title}. {note.text}", "yellow" if note.caution else "dim")


def _show_continuous_signing(console: Console, signing: ContinuousSigning) -> None:
    if signing.missing:
        say(console, f"continuous signing: not measured, because {signing.missing}", "dim")
        return
    columns = [
        TableColumn(f"sequences of {signing.clips} clips"),
        TableColumn("gloss errors", "right", "bold"),
        TableColumn("95 % interval", "right", optional=True),
        *(TableColumn(name, "right") for name in ("wrong", "missed", "inserted")),
        TableColumn("overlap", "right", optional=True),
        TableColumn("delay, 95 %", "right", optional=True),
    ]
    rows = []
    for kind in signing.kinds:
        total = kind.total
        interval = "" if total.low is None or total.high is None else f"{100 * total.low:.0f}–{100 * total.high:.0f} %"
        delays = [kind.delay_median, kind.delay_p95]
        rows.append(
            [
                kind.kind,
                _percent(total.share),
                interval,
                *(_percent(errors.share) for errors in (kind.wrong, kind.missed, kind.inserted)),
                "" if kind.overlap_median is None else f"{kind.overlap_median:.2f}",
                " ".join(f"{delay:.1f} s" for delay in delays if delay is not None),
            ]
        )
    print_table(console, columns, rows)
    for name, alarms in (("silence", signing.silence), ("signs outside the vocabulary", signing.other_signs)):
        if alarms is None:
            continue
        rate = f"not measured, because {alarms.missing}"
        if alarms.a_minute is not None:
            rate = f"{alarms.a_minute:.1f} a minute ({alarms.low:.1f}–{alarms.high:.1f}, {alarms.seconds:.0f} s)"
        say(console, f"false alarms on {name}: {rate}")


def show_reports(console: Console, reports: Sequence[Report]) -> None:
    """Print a table of reports."""
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
    rows = []
    for report in reports:
        about, across = report.provenance, report.across_seeds
        if across:
            top1 = f"{_percent(across.top1.mean)} ({100 * across.low:.0f}–{100 * across.high:.0f}, n={report.top1.n})"
            figures = [top1, str(len(across.seeds)), _percent(across.top5.mean), _percent(across.continuous.mean)]
        else:
            continuous = _percent(report.continuous.value) if report.continuous else ""
            figures = [_share(report.top1), "", _percent(report.top5.value), continuous]
        rows.append([report.report_id, about.model_version, about.split, *figures, about.model_name])
    print_table(console, columns, rows)


def show_gate(console: Console, gate: GateResult) -> None:
    """Print what the gate has decided, with the figures that decided it."""
    if gate.pair is not None:
        _show_pair(console, gate, gate.pair)
    for caution in gate.cautions:
        say(console, f"caution: {caution}", "yellow")
    result, style = ("passed", "bold green") if gate.passed else ("failed", "bold red")
    say(console, f"gate {result}: {gate.verdict}", style)


def _show_pair(console: Console, gate: GateResult, pair: ReportPair) -> None:
    counts = pair.counts
    columns = [
        TableColumn("gate"),
        TableColumn("version", style="bold", whole=True),
        TableColumn("top-1", "right", "bold"),
        TableColumn("95 % interval", "right"),
        TableColumn("clips", "right"),
        TableColumn("only it is right", "right"),
        TableColumn("report", style="dim", optional=True),
    ]
    rows = []
    versions = ((gate.against, pair.first, counts.only_first), ("candidate", pair.second, counts.only_second))
    for role, report, only in versions:
        share = Proportion(correct=counts.both + only, n=counts.clips)
        figures = [_percent(share.value), _interval(share), f"{share.correct} of {share.n}", str(only)]
        rows.append([role, report.provenance.model_version, *figures, report.report_id])
    print_table(console, columns, rows)
    low, high = counts.gain_interval
    say(
        console,
        f"difference on the same {counts.clips} clips: {100 * counts.gain:+.1f} points (95 % interval {100 * low:+.1f} "
        f"to {100 * high:+.1f}). McNemar's exact test that the candidate is worse: p = {counts.p_second_is_worse:.2g}.",
    )
    rule = f"it fails if it is more than {gate.margin:g} points worse, and p is at most {MAX_P:g}"
    say(console, f"the rule for the candidate: {rule}", "dim")


def _show_accuracies(console: Console, report: Report) -> None:
    accuracies = [("top-1", report.top1), ("top-5", report.top5), ("top-1, synonyms alike", report.synonym_aware)]
    accuracies += [("continuous", report.continuous), ("best path", report.greedy)]
    columns = [
        TableColumn(f"seed {report.across_seeds.shown}" if report.across_seeds else "figure"),
        TableColumn("share", "right", "bold"),
        TableColumn("95 % interval", "right"),
        TableColumn("clips", "right"),
    ]
    rows = [
        [name, _percent(share.value), _interval(share), f"{share.correct} of {share.n}"]
        for name, share in accuracies
        if share
    ]
    print_table(console, columns, rows)


def _show_seeds(console: Console, across: AcrossSeeds, clips: int) -> None:
    spreads = [
        ("top-1", across.top1),
        ("top-5", across.top5),
        ("top-1, synonyms alike", across.synonym_aware),
        ("continuous", across.continuous),
        ("gap exact - continuous", across.exact_continuous_gap),
        ("nothing decoded", across.empty_continuous),
        ("gloss error rate", across.gloss_error_rate),
        ("calibration error", across.calibration_error),
    ]
    seeds = len(across.seeds)
    columns = [
        TableColumn(f"{seeds} {'seed' if seeds == 1 else 'seeds'}, %"),
        TableColumn("mean", "right", "bold"),
        TableColumn("sd", "right"),
        TableColumn("lowest", "right"),
        TableColumn("highest", "right"),
    ]
    rows = [
        [name]
        + [
            "" if share is None else f"{100 * share:.1f}"
            for share in (spread.mean, spread.deviation, spread.lowest, spread.highest)
        ]
        for name, spread in spreads
        if spread is not None
    ]
    print_table(console, columns, rows)
    interval = f"{100 * across.low:.0f}–{_percent(across.high)}"
    say(console, f"95 % interval of one such model on these {clips} clips: {interval}")
    if across.ensemble_top1 and across.ensemble_top5:
        top1, top5 = _share(across.ensemble_top1), _share(across.ensemble_top5)
        say(console, f"ensemble of all seeds: top-1 {top1}, top-5 {top5}")


def _show_glosses(console: Console, title: str, glosses: Sequence[GlossAccuracy]) -> None:
    if not glosses:
        return
    columns = [
        TableColumn(title),
        TableColumn("share", "right", "bold"),
        TableColumn("clips", "right"),
        TableColumn("", style="cyan"),
    ]
    rows = []
    for gloss in glosses:
        share = gloss.recognised
        rows.append([gloss.gloss, _percent(share.value), f"{share.correct} of {share.n}", bar(share.value)])
    print_table(console, columns, rows)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _interval(share: Proportion) -> str:
    return f"{100 * share.low:.0f}–{100 * share.high:.0f} %"


def _share(share: Proportion) -> str:
    """A share with its interval and the number of clips."""
    return f"{_percent(share.value)} ({100 * share.low:.0f}–{100 * share.high:.0f}, n={share.n})"
