"""torch's global randomness, one stream for each training: dropout draws from it, and so may anybody else's code.

A training that draws from its own stream is the same whatever else is drawn in its process, and can be continued in
another one.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


class RngStream:
    """A stream of torch's global generators, set aside while nobody draws from it.

    Args:
        seed: where it begins.
        device: a CUDA device has a generator of its own beside the CPU's.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._device = device
        outside = self._now()
        torch.manual_seed(seed)
        self._streams = self._now()
        self._set(outside)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Within, whatever draws from torch's global generators draws from this stream."""
        outside = self._now()
        self._set(self._streams)
        try:
            yield
        finally:
            self._streams = self._now()
            self._set(outside)

    def state(self) -> dict[str, Tensor]:
        """Where the stream is: uint8 tensors by generator."""
        return dict(self._streams)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from there."""
        self._streams = {name: state[name] for name in self._streams}

    def _now(self) -> dict[str, Tensor]:
        streams = {"cpu": torch.get_rng_state()}
        if self._device.type == "cuda":
            streams["cuda"] = torch.cuda.get_rng_state(self._device)
        return streams

    def _set(self, streams: Mapping[str, Tensor]) -> None:
        torch.set_rng_state(streams["cpu"])
        if "cuda" in streams:
            torch.cuda.set_rng_state(streams["cuda"], self._device)
