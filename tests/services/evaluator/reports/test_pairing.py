"""Reports are paired clip by clip."""

from typing import TYPE_CHECKING

from services.evaluator.reports.evaluate import evaluate
from services.evaluator.reports.pairing import pair_reports
from signet.datasets.snapshot import Dataset
from tests.services.evaluator.conftest import GLOSSES, make_graph, place_of

if TYPE_CHECKING:
    from tests.services.evaluator.conftest import World


def test_two_versions_are_paired_on_the_clips_of_their_snapshot(world: "World", snapshot: Dataset) -> None:
    good = world.publish(snapshot)
    places = [place_of(index, len(GLOSSES)) for index in range(len(GLOSSES))]
    bad = world.publish(snapshot, make_graph([places[1], places[0], *places[2:]]))
    first, second = (evaluate(world.store, "signet", card.version)[0] for card in (good, bad))
    pair = pair_reports(first, second)
    counts = pair.counts
    assert (counts.clips, pair.not_shared) == (14, 0)
    assert counts.both + counts.only_first == first.top1.correct
    assert counts.both + counts.only_second == second.top1.correct
    assert len(pair.only_first) == 4  # two clips of `book` and two of `chair`
    truths = {clip.clip_id: clip.truth for clip in first.clips}
    assert {truths[clip_id] for clip_id in pair.only_first} == {"book", "chair"}
    swapped = pair_reports(second, first)
    assert (swapped.only_second, swapped.counts.gain) == (pair.only_first, -counts.gain)


def test_clips_with_another_true_gloss_are_not_paired(world: "World", snapshot: Dataset) -> None:
    report, _ = evaluate(world.store, "signet", world.publish(snapshot).version)
    relabelled = tuple(clip.model_copy(update={"truth": "who"}) for clip in report.clips)
    pair = pair_reports(report, report.model_copy(update={"clips": relabelled}))
    same = sum(clip.truth == "who" for clip in report.clips)
    assert (pair.counts.clips, pair.not_shared) == (same, 2 * (len(report.clips) - same))
