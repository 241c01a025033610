"""What streams cost: the share of a core, many streams at once, and memory over an hour of frames."""

import time
from collections.abc import Iterator, Sequence
from itertools import chain, cycle

import psutil

from bench.streaming.material import FoldModel
from signet.streaming import SignStream, StreamWindow
from signet.streaming.evaluation.sequences import TimedFrame

_FPS = 30.0


def endless(parts: Sequence[Sequence[TimedFrame]]) -> Iterator[TimedFrame]:
    """The frames of sequences, again and again, as one stream of 30 frames a second."""
    for number, (_, joints) in enumerate(chain.from_iterable(cycle(parts))):
        yield number / _FPS, joints


def measure_streams(
    fold: FoldModel, parts: Sequence[Sequence[TimedFrame]], streams: int, seconds: float
) -> dict[str, float]:
    """Frames of many streams on one core, as fast as it can. Windows that wait at the same time are one batch.

    Returns:
        `share`: CPU seconds for each second of each stream, the model included.
    """
    opened = [SignStream(fold.model) for _ in range(streams)]
    # Streams are at different places of the material.
    sources = [endless([*parts[number % len(parts) :], *parts[: number % len(parts)]]) for number in range(streams)]
    started = time.process_time()
    windows = 0
    for _ in range(round(seconds * _FPS)):
        waiting: list[tuple[SignStream, StreamWindow]] = []
        for stream, source in zip(opened, sources, strict=True):
            stream.add_frame(*next(source))
            waiting += [(stream, window) for window in [stream.next_window()] if window is not None]
        if waiting:
            answers = fold.graph([window.frames for _, window in waiting], [window.dominance for _, window in waiting])
            windows += len(waiting)
            for (stream, window), log_probs in zip(waiting, answers, strict=True):
                stream.add_log_probs(window, log_probs)
        for stream in opened:
            stream.take_events()
    share = (time.process_time() - started) / seconds / streams
    return {"streams": streams, "seconds": seconds, "share": share, "windows_a_second": windows / seconds / streams}


def measure_memory(fold: FoldModel, parts: Sequence[Sequence[TimedFrame]], seconds: float) -> dict[str, float]:
    """The resident memory of this process during one long stream, after the first tenth and at the end."""
    stream = SignStream(fold.model)
    process = psutil.Process()
    source = endless(parts)
    frames = round(seconds * _FPS)
    begin = 0
    signs = 0
    for number in range(frames):
        stream.add_frame(*next(source))
        while (window := stream.next_window()) is not None:
            (log_probs,) = fold.graph([window.frames], [window.dominance])
            stream.add_log_probs(window, log_probs)
        signs += len(stream.take_events())
        if number == frames // 10:
            begin = process.memory_info().rss
    end = process.memory_info().rss
    return {"seconds": seconds, "events": signs, "mib": end / 2**20, "growth": end / begin - 1}
