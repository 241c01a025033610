"""Console output of `signet models`."""

from collections.abc import Sequence
from datetime import datetime

from services.evaluator.models.comparison import PairedFigures, Value, VersionComparison
from services.evaluator.models.summary import VersionDetails, VersionSummary
from services.evaluator.reports.report import Proportion, Report
from signet.registry import AliasMove, ModelCard
from signet.terminal.output import Console, TableColumn, print_table, say

# The newest moves of each alias in the description of a version. `signet models show ALIAS` shows all.
_SHOWN_MOVES = 10
# On a terminal of fewer columns, two versions leave no room for the reason of a move.
_WIDE = 100
# The longest list of glosses or clips in a line.
_SHOWN_NAMES = 20


def show_versions(console: Console, versions: Sequence[VersionSummary]) -> None:
    """Print a table of versions."""
    columns = [
        TableColumn("version", style="bold", whole=True),
        TableColumn("aliases", style="green"),
        TableColumn("published"),
        TableColumn("val", "right"),
        TableColumn("glosses", "right", optional=True),
        TableColumn("best path", "right", optional=True),
        TableColumn("parameters", "right", optional=True),
        TableColumn("dataset", style="dim", optional=True),
    ]
    rows = []
    for version in versions:
        if version.damaged:
            fault = "no signature of a trusted key" if version.untrusted else "its card is damaged: publish it again"
            cells = [fault, "", "", "", "", ""]
        else:
            cells = [
                f"{datetime.fromisoformat(version.created):%Y-%m-%d}",
                _share(version.val),
                str(version.glosses),
                f"{100 * version.val_best_path.value:.0f} %" if version.val_best_path else "",
                f"{version.parameters:,}",
                f"{version.dataset_name}/{version.dataset_version}",
            ]
        rows.append([version.version, " ".join(version.aliases), *cells])
    print_table(console, columns, rows)


def show_details(console: Console, details: VersionDetails, alias: str = "") -> None:
    """Print everything about a version. Of an alias by which it was named, all moves are shown."""
    card = details.card
    val = card.metrics
    penalties = f"penalties: blank {card.blank_penalty:g}, insertion {card.insertion_penalty:g}, "
    best_path = _share(_proportion(val.val_greedy_correct, val.val_clips))
    files = [
        f"{file} ({f'{details.file_sizes[file]:,} bytes' if file in details.file_sizes else 'it is gone'}, "
        f"sha256 {sha256[:12]}...)"
        for file, sha256 in sorted(card.files.items())
    ]
    facts = [
        ("aliases", " ".join(details.named_by) or "none names this version"),
        ("published", _time(card.created)),
        ("run", card.run_id),
        ("dataset", f"{card.dataset_name}/{card.dataset_version}"),
        ("glosses", f"{len(card.vocabulary)}: {_names(card.vocabulary)}"),
        ("enrolled", _enrolment(card)),
        ("val", f"{_share(_proportion(val.val_correct, val.val_clips))} at publication, after epoch {val.epoch}"),
        ("best path", f"{best_path}; blank in {100 * val.blank_ratio:.0f} % of frames"),
        ("selected on", card.selected_on),
        ("decoder", f"beam {card.beam_width}, {penalties}repetition {card.repetition_penalty:g}"),
        ("frames", f"{card.frame_rate:g} a second, smoothed over {card.smoothing_seconds:g} s"),
        ("parameters", f"{card.parameters:,}"),
        ("ONNX", f"differs from torch by {card.onnx_difference:.1g} at most"),
        *(("file" if index == 0 else "", file) for index, file in enumerate(files)),
    ]
    columns = [TableColumn(card.name, style="dim"), TableColumn(card.version)]
    print_table(console, columns, [[label, text] for label, text in facts if text])
    if details.reports:
        _show_reports(console, details.reports)
    else:
        say(console, f"no report yet: `signet evaluate --model-version {card.version}` writes one", "dim")
    for name, moving in sorted(details.aliases.items()):
        moves = moving.history
        if name != alias:
            moves = tuple(move for move in moves if card.version in {move.version, move.previous})[-_SHOWN_MOVES:]
        if moves:
            _show_moves(console, name, moves)
        if name == alias and moving.older_moves:
            say(console, f"{moving.older_moves} older moves are no longer kept", "dim")


def _enrolment(card: ModelCard) -> str:
    """The signs that were enrolled, and how well the trained ones are recognised since; "" for a trained version."""
    enrolment = card.enrolment
    if enrolment is None:
        return ""
    enrolled = card.vocabulary[enrolment.trained :]
    return (
        f"{len(enrolled)}: {_names(enrolled)}; made from {enrolment.parent}; of {enrolment.clips} clips of trained "
        f"signs ({enrolment.measured_on}), {enrolment.correct} are recognised, {enrolment.parent_correct} by the parent"
    )


def _show_moves(console: Console, name: str, moves: Sequence[AliasMove]) -> None:
    """Print moves of an alias, newest first."""
    columns = [
        TableColumn(f"moves of {name}", whole=True),
        TableColumn("from", style="dim", whole=True),
        TableColumn("to", style="bold", whole=True),
        TableColumn("why"),
    ]
    rows = [
        [
            _time(move.moved),
            move.previous or "",
            "" if move.deleted else move.version,
            ": ".join(part for part in (_kind(move), move.reason) if part),
        ]
        for move in reversed(moves)
    ]
    if console.is_terminal and console.width < _WIDE:  # each version is in the row below, too
        del columns[1]
        for row in rows:
            del row[1]
    print_table(console, columns, rows)


def _kind(move: AliasMove) -> str:
    """What kind of move it is, if it is not an ordinary one."""
    return "deleted" if move.deleted else "rolled back" if move.rollback else ""


def show_comparison(console: Console, comparison: VersionComparison) -> None:
    """Print two versions side by side."""
    first, second = comparison.first, comparison.second
    columns = [
        TableColumn("what differs"),
        TableColumn(f"A: {first.version}", "right"),
        TableColumn(f"B: {second.version}", "right"),
    ]
    rows = [
        [difference.field, _text(difference.first), _text(difference.second)] for difference in comparison.differences
    ]
    print_table(console, columns, rows)
    for name, glosses in (("A", comparison.only_first_glosses), ("B", comparison.only_second_glosses)):
        if glosses:
            say(console, f"{len(glosses)} glosses only in {name}: {_names(glosses)}")
    if comparison.figures:
        _show_figures(console, comparison.figures)
    else:
        say(
            console,
            "the newest reports have no split on which both versions were evaluated. Evaluate both, for example with "
            f"`signet evaluate --model-version {first.version}`.",
            "yellow",
        )


def _show_figures(console: Console, figures: Sequence[PairedFigures]) -> None:
    columns = [
        TableColumn("same clips"),
        TableColumn("clips", "right"),
        TableColumn("A", "right", "bold"),
        TableColumn("B", "right", "bold"),
        TableColumn("B - A, points", "right"),
        TableColumn("95 % interval", "right"),
        TableColumn("p", "right"),
        TableColumn("only A", "right", optional=True),
        TableColumn("only B", "right", optional=True),
    ]
    rows = [
        [
            pair.split,
            str(pair.clips),
            _percent(pair.first_correct, pair.clips),
            _percent(pair.second_correct, pair.clips),
            f"{100 * pair.gain:+.1f}",
            f"{100 * pair.gain_low:+.1f} to {100 * pair.gain_high:+.1f}",
            f"{pair.p:.2g}",
            str(len(pair.only_first)),
            str(len(pair.only_second)),
        ]
        for pair in figures
    ]
    print_table(console, columns, rows)
    say(console, "p: McNemar's exact test, two-sided; figures are top-1 from stored reports", "dim")
    for pair in figures:
        if pair.not_shared:
            say(console, f"{pair.split}: {pair.not_shared} clips are in one report only, and are left out", "yellow")


def _show_reports(console: Console, reports: Sequence[Report]) -> None:
    columns = [
        TableColumn("report", whole=True),
        TableColumn("split"),
        TableColumn("top-1", "right", "bold"),
        TableColumn("top-5", "right", optional=True),
    ]
    rows = [
        [report.report_id, report.provenance.split, _share(report.top1), f"{100 * report.top5.value:.0f} %"]
        for report in reports
    ]
    print_table(console, columns, rows)


def _proportion(correct: int, n: int) -> Proportion | None:
    return Proportion(correct=correct, n=n) if correct <= n else None


def _share(share: Proportion | None) -> str:
    """A share with its interval and the number of clips."""
    if share is None:
        return ""
    return f"{100 * share.value:.0f} % ({100 * share.low:.0f}–{100 * share.high:.0f}, n={share.n})"


def _percent(correct: int, n: int) -> str:
    return f"{100 * correct / n:.0f} %" if n else ""


def _time(text: str) -> str:
    """A time of a stored object, to the minute; the text itself if it is no time."""
    try:
        return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M}"
    except ValueError:
        return text


def _text(value: Value) -> str:
    if value is None:
        return "-"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _names(names: Sequence[str]) -> str:
    """At most `_SHOWN_NAMES` names in one line."""
    more = len(names) - _SHOWN_NAMES
    return ", ".join(names[:_SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")
