"""The comparison of two versions of a model: their cards side by side, and their reports on the same clips."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from services.evaluator.models.summary import newest_reports
from services.evaluator.reports.pairing import ReportPair, pair_reports
from services.evaluator.reports.report import Report
from signet.registry import ModelCard

Value = str | int | float | bool | None


class FieldDifference(BaseModel):
    """A field of the cards in which two versions differ."""

    model_config = ConfigDict(frozen=True)

    field: str
    first: Value
    second: Value


class PairedFigures(BaseModel):
    """The figures of two versions on the clips of a split that both reports have."""

    model_config = ConfigDict(frozen=True)

    split: str
    first_report: str
    second_report: str
    clips: int
    first_correct: int
    second_correct: int
    only_first: tuple[str, ...]  # ids of the clips that only the first version gets right
    only_second: tuple[str, ...]
    gain: float  # top-1 accuracy of the second version less that of the first one, as a share
    gain_low: float  # 95 % interval
    gain_high: float
    p: float  # McNemar's exact test, two-sided
    not_shared: int


@dataclass(frozen=True)
class VersionComparison:
    """Two versions side by side."""

    first: ModelCard
    second: ModelCard
    differences: tuple[FieldDifference, ...]
    only_first_glosses: tuple[str, ...]
    only_second_glosses: tuple[str, ...]
    figures: tuple[PairedFigures, ...]  # one for each split that both versions have a report on


def compare_versions(first: ModelCard, second: ModelCard, reports: Sequence[Report]) -> VersionComparison:
    """Compare two versions. `reports` are sorted, newest first; reports on other versions are ignored."""
    one, other = list_facts(first), list_facts(second)
    first_glosses, second_glosses = set(first.vocabulary), set(second.vocabulary)
    by_split = {report.provenance.split: report for report in newest_reports(reports, second.name, second.version)}
    return VersionComparison(
        first=first,
        second=second,
        differences=tuple(
            FieldDifference(field=field, first=one.get(field), second=other.get(field))
            for field in dict.fromkeys([*one, *other])
            if one.get(field) != other.get(field)
        ),
        only_first_glosses=tuple(gloss for gloss in first.vocabulary if gloss not in second_glosses),
        only_second_glosses=tuple(gloss for gloss in second.vocabulary if gloss not in first_glosses),
        figures=tuple(
            _summarise_pair(pair_reports(report, by_split[report.provenance.split]))
            for report in newest_reports(reports, first.name, first.version)
            if report.provenance.split in by_split
        ),
    )


def list_facts(card: ModelCard) -> dict[str, Value]:
    """The fields of a card as single values, by their names in model.json. Fields of `config` come last."""
    facts: dict[str, Value] = {}
    for name, value in card.model_dump(by_alias=True).items():
        if name in {"version", "vocabulary", "files", "config"}:
            continue
        if isinstance(value, dict):
            facts |= {f"{name}.{part}": number for part, number in value.items()}
        else:
            facts[name] = value
    facts["glosses"] = len(card.vocabulary)
    return facts | {f"config.{name}": value for name, value in sorted(card.config.items())}


def _summarise_pair(pair: ReportPair) -> PairedFigures:
    counts = pair.counts
    low, high = counts.gain_interval
    return PairedFigures(
        split=pair.first.provenance.split,
        first_report=pair.first.report_id,
        second_report=pair.second.report_id,
        clips=counts.clips,
        first_correct=counts.both + counts.only_first,
        second_correct=counts.both + counts.only_second,
        only_first=pair.only_first,
        only_second=pair.only_second,
        gain=counts.gain,
        gain_low=low,
        gain_high=high,
        p=counts.p,
        not_shared=pair.not_shared,
    )
