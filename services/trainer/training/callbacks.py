"""What a training reports within an epoch, between its batches.

`TrainingCallbacks` is for what happens within an epoch. `services.trainer.runs.events.RunCallbacks` is for what happens
to a run: its start, the end of each epoch, and the requests to end it.
"""


class TrainingCallbacks:
    """Events within an epoch. The methods of this class do nothing; a subclass overrides those that it needs."""

    def on_batch(self) -> None:
        """A batch was trained on."""

    def on_memory_split(self) -> None:
        """GPU memory was full: from now on each batch is divided into twice as many parts."""

    def on_nonfinite_loss(self) -> None:
        """The training ends because its loss is not finite."""

    def on_recovery_action(self, action: str) -> None:
        """The training lowered its learning rate: "recovery", after a loss that was not finite."""

    def on_throttling(self, paused: bool) -> None:
        """The training pauses because the GPU is too hot (True), or continues (False)."""

    def on_throttled_seconds(self, seconds: float) -> None:
        """The training was paused for this many more seconds."""


def no_op() -> None:
    """The default of a callback without arguments."""
