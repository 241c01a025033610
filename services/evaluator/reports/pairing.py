"""Pairs two reports clip by clip."""

from dataclasses import dataclass

from services.evaluator.reports.report import Report
from signet.statistics.paired import PairedCounts


@dataclass(frozen=True, eq=False)
class ReportPair:
    """Two reports on the clips that both have, with the same true gloss."""

    first: Report
    second: Report
    counts: PairedCounts  # by top-1
    only_first: tuple[str, ...]  # ids of the clips that only the first one gets right
    only_second: tuple[str, ...]
    not_shared: int  # clips that only one report has, or that have another true gloss in the other


def pair_reports(first: Report, second: Report) -> ReportPair:
    """Pair two reports by the ids and the true glosses of their clips."""
    second_by_key = {(clip.clip_id, clip.truth): clip.correct for clip in second.clips}
    shared = [
        (clip.clip_id, clip.correct, second_by_key[key])
        for clip in first.clips
        if (key := (clip.clip_id, clip.truth)) in second_by_key
    ]
    only_first = tuple(clip_id for clip_id, one, other in shared if one and not other)
    only_second = tuple(clip_id for clip_id, one, other in shared if other and not one)
    both = sum(one and other for _, one, other in shared)
    return ReportPair(
        first=first,
        second=second,
        counts=PairedCounts(
            both=both,
            only_first=len(only_first),
            only_second=len(only_second),
            neither=len(shared) - both - len(only_first) - len(only_second),
        ),
        only_first=only_first,
        only_second=only_second,
        not_shared=len(first.clips) + len(second.clips) - 2 * len(shared),
    )
