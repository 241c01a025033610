"""A stream of torch's global random numbers for each training.

Dropout and weight initialisation draw from torch's global generators, and so may other code of the process. A training
with its own stream is independent of that code, and another process can continue it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


class RngStream:
    """A state of torch's global generators of CPU and GPU, which is in effect only within `active`."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self._device = device
        outside = self._global_states()
        torch.manual_seed(seed)
        self._states = self._global_states()
        self._set_global_states(outside)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Within this context torch's global generators draw from this stream."""
        outside = self._global_states()
        self._set_global_states(self._states)
        try:
            yield
        finally:
            self._states = self._global_states()
            self._set_global_states(outside)

    def state(self) -> dict[str, Tensor]:
        """The position of the stream: a uint8 tensor for each generator, "cpu" and "cuda"."""
        return dict(self._states)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a position that `state` returned."""
        self._states = {name: state[name] for name in self._states}

    def _global_states(self) -> dict[str, Tensor]:
        states = {"cpu": torch.get_rng_state()}
        if self._device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self._device)
        return states

    def _set_global_states(self, states: Mapping[str, Tensor]) -> None:
        torch.set_rng_state(states["cpu"])
        if "cuda" in states:
            torch.cuda.set_rng_state(states["cuda"], self._device)
