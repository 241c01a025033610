"""The learning rate against torch's own schedule, and against a loss that stands still."""

import pytest
import torch

from services.trainer.training.schedule import PLATEAU_EPOCHS, Plateau, one_cycle


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


def test_a_plateau_is_left_at_half_the_rate() -> None:
    plateau = Plateau()
    for loss in (3.0, 2.0, *(1.995,) * PLATEAU_EPOCHS):
        plateau = plateau.after(loss, comparable=True)
    assert plateau.rate(0.1, 500, 1000) == pytest.approx(0.05)
    for loss in (1.9, *(1.89,) * (PLATEAU_EPOCHS - 1)):
        plateau = plateau.after(loss, comparable=True)
    assert plateau.rate(0.1, 500, 1000) == pytest.approx(0.05), "not long enough"
    assert plateau.after(1.89, comparable=True).rate(0.1, 500, 1000) == pytest.approx(0.025)


def test_a_loss_that_has_changed_its_meaning_is_no_plateau() -> None:
    plateau = Plateau()
    for epoch in range(100):
        plateau = plateau.after(1.0 + epoch, comparable=False)
    assert plateau.factor == 1.0


def test_a_plateau_schedule_warms_up() -> None:
    rates = [Plateau().rate(0.1, step, 1000) for step in (0, 9, 19, 999)]
    assert rates == pytest.approx([0.005, 0.05, 0.1, 0.1])
