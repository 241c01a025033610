"""The learning rate against torch's own schedule."""

from itertools import pairwise

import pytest
import torch

from services.trainer.training.schedule import one_cycle


@pytest.mark.parametrize("steps", [2, 7, 40, 1500])
def test_one_cycle_is_that_of_torch(steps: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.1, total_steps=steps, pct_start=0.2, cycle_momentum=False
    )
    for step in range(steps):
        assert one_cycle(0.1, step, steps) == optimizer.param_groups[0]["lr"]
        optimizer.step()
        if step < steps - 1:
            schedule.step()


def test_a_cycle_of_any_length_has_a_rate_for_each_step() -> None:
    for steps in range(1, 30):  # of 5 steps, torch divides by zero
        rates = [one_cycle(0.1, step, steps) for step in range(steps)]
        assert all(0 < rate <= 0.1 for rate in rates)


def test_a_cycle_starts_low_peaks_after_a_fifth_of_the_steps_and_ends_near_zero() -> None:
    rates = [one_cycle(0.1, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1 / 25)
    assert rates[19] == 0.1
    assert rates.index(max(rates)) == 19
    assert rates[99] == pytest.approx(0.1 / 25 / 1e4)
    assert all(before < after for before, after in pairwise(rates[:20]))
    assert all(before > after for before, after in pairwise(rates[19:]))
