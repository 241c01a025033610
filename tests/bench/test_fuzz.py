"""The fuzz bench in a short form: mutated videos go through a real pool of workers, and no bar is missed."""

from dataclasses import replace

import pytest

from bench.fuzz import FuzzReport, count_outcomes, extract_inputs, list_inputs
from bench.hostile.mutations import Mutator
from bench.hostile.samples import Sample, make_samples

INPUTS = 60


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return make_samples()


def test_mutated_videos_are_extracted_or_refused_and_others_do_not_change(samples: list[Sample]) -> None:
    mutator = Mutator(samples, seed=18)
    seen: list[int] = []

    def note_progress(report: FuzzReport) -> None:
        seen.append(len(report.outcomes))

    inputs = list_inputs(samples, [], map(mutator.make, range(INPUTS)))
    report = extract_inputs(inputs, frozenset(sample.name for sample in samples), on_progress=note_progress)
    assert report.missed == []
    assert report.controls == 2
    total = len(samples) + INPUTS + report.controls
    assert seen == list(range(1, total + 1))
    _, rows = count_outcomes(report)
    assert sum(map(int, rows[-1][1:])) == total
    assert {each.outcome for each in report.outcomes} >= {"extracted", "truncated", "undecodable"}


def test_missed_bars_are_reported_with_the_input(samples: list[Sample]) -> None:
    broken = replace(samples[0], name="broken", data=samples[0].data[:1000])
    other = Sample("control", "control", samples[1].data)
    control = replace(other, data=samples[0].data)
    report = extract_inputs([control, broken, other], frozenset({"broken"}))
    refused, changed = report.missed
    assert refused.startswith("broken: not mutated, but refused: broken: cut off")
    assert changed == "the clip between the inputs has 2 different results"
    assert report.offenders == [broken]


def test_a_seed_and_a_number_make_the_same_input_again(samples: list[Sample]) -> None:
    first = [Mutator(samples, seed=1).make(number) for number in range(20)]
    again = Mutator(make_samples(), seed=1)
    assert [again.make(number) for number in reversed(range(20))] == first[::-1]
    assert [Mutator(samples, seed=2).make(number) for number in range(20)] != first
