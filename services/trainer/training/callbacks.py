"""Who is told what happens within an epoch, between its batches; whoever wants to hear of it makes another of these."""


class Telemetry:
    """Is told what happens within an epoch. This one keeps it to itself."""

    def batch(self) -> None:
        """A batch was learnt from."""

    def split(self) -> None:
        """GPU memory was full: from now on batches are taken in twice as many parts."""

    def nonfinite_loss(self) -> None:
        """The run ends since its loss is not finite."""

    def acted(self, what: str) -> None:
        """The training did something by itself: "recovery" (a loss was not finite) or "larger-steps" (a collapse)."""

    def throttling(self, paused: bool) -> None:
        """The run pauses since the GPU is too hot, or goes on."""

    def throttled(self, seconds: float) -> None:
        """The run was paused for so many more seconds."""


def nothing() -> None:
    """What a hook does unless it is given."""
