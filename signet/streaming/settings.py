"""The settings of a stream, and why they have their values. docs/experiments.md has the measurements."""

from dataclasses import dataclass

from signet.errors import InvalidSetting


@dataclass(frozen=True)
class StreamSettings:
    """How a stream is recognised. Frames are those of the model, 10 a second.

    Raises:
        InvalidSetting: sizes that do not fit together.
    """

    # The model sees the last `window` frames each time. The log-probabilities of its last frames are not settled: of at
    # least `look_ahead` frames, and of more, up to `most_ahead`, if a sign is emitted within `guard` frames.
    window: int = 40
    look_ahead: int = 6
    most_ahead: int = 11
    guard: int = 3
    # Until a frame is settled, the probabilities of all windows with at least so many frames after it are averaged.
    average_ahead: int = 4
    hop: int = 2  # frames from one window to the next
    # A sign is decided for at the latest so many frames after the model emitted it.
    decide_after: int = 5
    top_k: int = 5  # alternatives of a sign, and partial hypotheses
    reorder_seconds: float = 0.07  # a frame may be older than the newest one by this much
    statistics_seconds: float = 10.0  # between statistics, in time of the stream

    def __post_init__(self) -> None:
        if min(self.hop, self.decide_after, self.top_k) < 1 or min(self.look_ahead, self.guard, self.average_ahead) < 0:
            raise InvalidSetting(
                "hop, decide_after and top_k are at least 1; look_ahead, guard and average_ahead at least 0."
            )
        least = self.hop + max(self.look_ahead, self.most_ahead)
        if self.window < least:
            raise InvalidSetting(
                f"a window of {self.window} frames is too short for a hop of {self.hop} frames and {self.most_ahead} "
                f"frames of look-ahead. Give it {least} frames or more."
            )
        if not 0 <= self.reorder_seconds <= 1 or not self.statistics_seconds > 0:
            raise InvalidSetting("reorder_seconds is 0 to 1, and statistics_seconds more than 0.")
