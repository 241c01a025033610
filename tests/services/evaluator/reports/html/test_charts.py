"""The strip of signers: its dots do not overlap."""

import itertools

from services.evaluator.reports.html.charts import signer_strip
from services.evaluator.reports.report import Proportion, SignerResult, SignerSpread


def test_dots_of_signers_with_equal_accuracy_do_not_overlap() -> None:
    results = [(3, 4), (3, 4), (6, 8), (4, 4), (0, 3), (20, 30)]
    spread = SignerSpread(
        least_clips=3,
        signers=tuple(
            SignerResult(signer=str(index), recognised=Proportion(correct=correct, n=n))
            for index, (correct, n) in enumerate(results)
        ),
        minimum=0,
        median=0.75,
        maximum=1,
        rare_signers=0,
        rare_clips=0,
        unknown_clips=0,
    )
    strip = signer_strip(spread, 0.7)
    assert len(strip.marks) == len(results)
    for one, other in itertools.combinations(strip.marks, 2):
        apart = ((one.x - other.x) ** 2 + (one.y - other.y) ** 2) ** 0.5
        assert apart >= one.radius + other.radius
    for mark in strip.marks:
        assert mark.y - mark.radius >= 0
        assert mark.y + mark.radius <= strip.height + 1e-9
    assert (
        len({round(mark.x, 6) for mark in strip.marks if mark.title.startswith(("Signer 0", "Signer 1", "Signer 2"))})
        == 1
    )
