"""A training's own stream of torch's random numbers."""

import pytest
import torch
from torch import Tensor

from services.trainer.runtime.rng import RngStream

CPU = torch.device("cpu")


def draw(stream: RngStream, count: int = 3) -> Tensor:
    with stream.active():
        return torch.rand(count)


@pytest.fixture(autouse=True)
def _same_start() -> None:
    torch.manual_seed(99)


def test_a_stream_draws_what_its_seed_gives_whatever_is_drawn_outside() -> None:
    stream = RngStream(7, CPU)
    first = draw(stream)
    torch.rand(5)
    second = draw(stream)
    torch.manual_seed(7)
    assert torch.equal(torch.cat([first, second]), torch.cat([torch.rand(3), torch.rand(3)]))


def test_the_outside_draws_what_it_would_have_drawn_without_the_stream() -> None:
    undisturbed = torch.rand(4)
    torch.manual_seed(99)
    stream = RngStream(7, CPU)
    before = torch.rand(2)
    draw(stream)
    assert torch.equal(torch.cat([before, torch.rand(2)]), undisturbed)


def test_two_streams_do_not_disturb_each_other() -> None:
    one, other = RngStream(1, CPU), RngStream(2, CPU)
    mixed = [draw(one), draw(other), draw(one), draw(other)]
    one, other = RngStream(1, CPU), RngStream(2, CPU)
    apart = [draw(one), draw(one), draw(other), draw(other)]
    assert torch.equal(torch.stack(mixed), torch.stack([apart[0], apart[2], apart[1], apart[3]]))
    assert not torch.equal(mixed[0], mixed[1])


def test_an_error_within_leaves_the_outside_and_the_stream_where_they_are() -> None:
    stream, expected = RngStream(7, CPU), RngStream(7, CPU)
    outside = torch.get_rng_state()
    with pytest.raises(ValueError, match="broken"), stream.active():
        torch.rand(3)
        raise ValueError("broken")
    assert torch.equal(torch.get_rng_state(), outside)
    draw(expected)
    assert torch.equal(draw(stream), draw(expected))


def test_a_restored_stream_goes_on_where_it_was_saved() -> None:
    stream = RngStream(7, CPU)
    draw(stream)
    state = stream.state()
    following = draw(stream)
    other = RngStream(1, CPU)
    other.restore(state)
    assert torch.equal(draw(other), following)
    stream.restore(state)
    assert torch.equal(draw(stream), following), "the saved state has not moved on with the stream"


def test_a_state_is_one_tensor_for_each_generator() -> None:
    assert set(RngStream(7, CPU).state()) == {"cpu"}
    with pytest.raises(KeyError):
        RngStream(7, CPU).restore({})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_stream_on_a_gpu_has_the_generator_of_the_gpu_too() -> None:
    device = torch.device("cuda")
    stream = RngStream(7, device)
    with stream.active():
        first = torch.rand(3, device=device)
    state = stream.state()
    assert set(state) == {"cpu", "cuda"}
    outside = torch.cuda.get_rng_state(device)
    with stream.active():
        second = torch.rand(3, device=device)
    assert torch.equal(torch.cuda.get_rng_state(device), outside)
    torch.manual_seed(7)
    assert torch.equal(torch.cat([first, second]), torch.cat([torch.rand(3, device=device) for _ in range(2)]))
    stream.restore(state)
    with stream.active():
        assert torch.equal(torch.rand(3, device=device), second)
