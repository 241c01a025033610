"""Runs streams over recorded frames, and collects the signs that they find."""

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from signet.landmarks.body import Frames
from signet.streaming import FinalSign, RecognitionModel, SignStream, StreamSettings, StreamWindow
from signet.streaming.evaluation.sequences import TimedFrame

LogProbs = npt.NDArray[np.float32]

# Computes windows [T, 75, 3] with their dominance (see `StreamWindow`): log-probabilities [T, C + 1] of each window.
Graph = Callable[[Sequence[Frames], Sequence[float]], Sequence[LogProbs]]


@dataclass(frozen=True)
class FoundSign:
    """A final sign, and when it came."""

    sign: FinalSign
    newest: float  # the time of the newest frame when the event came
    # CPU seconds of this process since that frame came in. If several streams run at a time, those of all.
    computing: float = 0.0

    @property
    def score(self) -> float:
        """The vocabulary score; for a model that has none, the probability of the gloss."""
        return self.sign.probability if self.sign.vocabulary_score is None else self.sign.vocabulary_score


def run_stream(
    model: RecognitionModel, graph: Graph, frames: Sequence[TimedFrame], settings: StreamSettings | None = None
) -> list[FoundSign]:
    """The final signs of a stream, rejected ones included."""
    return run_streams(model, graph, [frames], settings)[0]


def run_streams(
    model: RecognitionModel,
    graph: Graph,
    streams: Sequence[Sequence[TimedFrame]],
    settings: StreamSettings | None = None,
) -> list[list[FoundSign]]:
    """The final signs of each stream, rejected ones included. All streams run at a time and share batches of windows.

    A stream's windows depend on its frames only, so each finds what it would find alone.
    """
    found: list[list[FoundSign]] = [[] for _ in streams]
    running = [_run(SignStream(model, settings), frames, signs) for frames, signs in zip(streams, found, strict=True)]
    answers: list[LogProbs | None] = [None] * len(running)
    while running:
        asked = [(stream, window) for stream, answer in zip(running, answers, strict=True)
                 if (window := _send(stream, answer)) is not None]  # fmt: skip
        running = [stream for stream, _ in asked]
        windows = [window for _, window in asked]
        answers = list(graph([w.frames for w in windows], [w.dominance for w in windows])) if windows else []
    return found


_Run = Generator[StreamWindow, LogProbs | None, None]


def _send(run: _Run, answer: LogProbs | None) -> StreamWindow | None:
    """The next window of a stream after an answer; None at the end of the stream."""
    try:
        return run.send(answer)
    except StopIteration:
        return None


def _run(stream: SignStream, frames: Sequence[TimedFrame], found: list[FoundSign]) -> _Run:
    """Pass all frames to a stream. Yields windows, and gets their log-probabilities."""
    newest = 0.0
    for position in range(len(frames) + 1):
        started = time.process_time()
        if position < len(frames):
            newest, joints = frames[position]
            stream.add_frame(newest, joints)
        else:
            stream.finish()
        while (window := stream.next_window()) is not None:
            log_probs = yield window
            if log_probs is not None:
                stream.add_log_probs(window, log_probs)
        computing = time.process_time() - started
        found += [FoundSign(event, newest, computing) for event in stream.take_events() if isinstance(event, FinalSign)]
