"""The gate of a version: is it worse than another one on the same clips?

The rule: the candidate fails if its top-1 accuracy on the clips that both reports have is lower by more than the
margin, and if chance does not explain that it is lower: the one-sided p-value of McNemar's exact test is at most
`MAX_P`. So a margin of 0 refuses each version that is worse beyond chance. Without the test, another seed of the same
training would fail about every second time.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from services.evaluator.reports.pairing import ReportPair, pair_reports
from services.evaluator.reports.report import Report
from signet import registry
from signet.errors import InvalidInput, NotFound, quote
from signet.store import ObjectStore

MAX_P = 0.05

# Makes the report on a version of the model, or finds the stored one.
ReportOnVersion = Callable[[str], Report]


@dataclass(frozen=True, eq=False)
class GateResult:
    """What the gate has decided, and why."""

    passed: bool
    verdict: str  # the reason in one sentence
    margin: float  # in points
    against: str  # the version or alias that the candidate was compared with
    pair: ReportPair | None  # the report against which it was compared is the first one; None if there was nothing
    cautions: tuple[str, ...] = ()


def check_gate(
    store: ObjectStore, candidate: Report, against: str, margin: float, report_on: ReportOnVersion
) -> GateResult:
    """Compare the candidate's report with that of the version that `against` names.

    If the model has no alias `production` yet and `against` is this alias, the candidate passes.

    Raises:
        InvalidInput: the margin is no number of points, or the two reports have no clip in common.
        NotFound: there is no such version or alias.
        SignetError: the errors of `report_on`.
    """
    if not 0 <= margin <= 100 or not math.isfinite(margin):
        raise InvalidInput(f"--margin {margin}: give a number of points of accuracy, 0 to 100.")
    about = candidate.provenance
    try:
        version = registry.resolve(store, about.model_name, against)
    except NotFound:
        if against != registry.PRODUCTION:
            raise
        verdict = (
            f"there is no alias {quote(against)} yet, so there is nothing to compare with. "
            f"`signet models promote {about.model_version}` makes it."
        )
        return GateResult(True, verdict, margin, against, None)
    if version == about.model_version:
        return GateResult(True, f"the candidate is the version that {against} names.", margin, against, None)
    pair = pair_reports(report_on(version), candidate)
    if not pair.counts.clips:
        raise InvalidInput(
            f"the reports on {version} and {about.model_version} have no clip of split {quote(about.split)} in common, "
            "so the versions cannot be compared. Evaluate both on a split that both corpora have, for example "
            "--split test."
        )
    passed, verdict = _decide(pair, margin)
    return GateResult(passed, verdict, margin, against, pair, tuple(_list_cautions(pair)))


def _decide(pair: ReportPair, margin: float) -> tuple[bool, str]:
    counts, p = pair.counts, pair.counts.p_second_is_worse
    lost = counts.only_first - counts.only_second
    points = 100 * lost / counts.clips
    limit = f"the margin of {margin:g} points"
    if lost <= 0:
        return True, "the candidate is not worse on these clips."
    # In whole clips, so that a loss of exactly the margin is not more than the margin.
    if 100 * lost <= margin * counts.clips + 1e-9:
        return True, f"the candidate is {points:.1f} points worse, which is not more than {limit}."
    if p > MAX_P:
        return True, (
            f"the candidate is {points:.1f} points worse, which is more than {limit}, but this may be chance: "
            f"p = {p:.2g}, and the limit is {MAX_P:g}."
        )
    return False, (
        f"the candidate is {points:.1f} points worse, which is more than {limit}, and chance does not explain it: "
        f"p = {p:.2g}, and the limit is {MAX_P:g}."
    )


def _list_cautions(pair: ReportPair) -> list[str]:
    """What makes the comparison less fair than it looks."""
    first, second = pair.first.provenance, pair.second.provenance
    cautions = []
    if pair.not_shared:
        cautions.append(f"{pair.not_shared} clips are in one report only. They are left out.")
    if first.glosses != second.glosses:
        cautions.append(
            f"the vocabularies have {first.glosses} and {second.glosses} glosses. A larger one is harder on the same "
            "clips."
        )
    if first.extractor != second.extractor:
        cautions.append(f"the landmarks were made by different extractors: {first.extractor} and {second.extractor}.")
    cautions += [
        f"{about.model_version} was selected on {about.split}, so its figure there is optimistic."
        for about in (first, second)
        if about.selected
    ]
    return cautions
