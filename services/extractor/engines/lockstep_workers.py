"""Runs the clips of an extraction in batches, each in lockstep, on a device that many clips can share: a GPU."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, Self, TypeVar, cast

from services.extractor.jobs import worker
from services.extractor.jobs.workers import WorkerPool
from services.extractor.tracking.trackers import Device, TrackingQuality
from signet.errors import ClipError, InvalidSetting

# Clips that a worker tracks at a time. Each keeps one decoded frame.
CLIPS_AT_A_TIME = 32

Job = TypeVar("Job")
Result = TypeVar("Result")


@contextmanager
def workers_on_device(
    single: WorkerPool, device: Device, quality: TrackingQuality, clip_timeout: float
) -> Iterator["WorkerPool | LockstepWorkers"]:
    """The workers that track the clips of a corpus on a device. `single` are those of the CPU.

    Raises:
        InvalidSetting: the device does not track clips of this quality.
    """
    if device is Device.CPU:
        yield single
        return
    if quality is not TrackingQuality.FAST:
        raise InvalidSetting(f"--device {device} tracks clips with --quality fast only. Leave out one of both.")
    with LockstepWorkers(single, device, clip_timeout) as workers:
        yield workers


class LockstepWorkers:
    """Workers that each track many clips at a time on a device, as a context manager.

    A clip whose batch fails as a whole, because a worker died or took too long, is worked on again alone, on the CPU.

    Args:
        single: the workers of single jobs. They verify clips with little memory before a batch decodes them.
        device: "cuda", or "cpu".
        clip_timeout: seconds after which a clip is given up; a batch has this much more for each of its clips.
        clips: the largest number of clips at a time.
    """

    def __init__(self, single: WorkerPool, device: str, clip_timeout: float, clips: int = CLIPS_AT_A_TIME) -> None:
        self._single = single
        self._device = device
        self._clips = clips
        # The libraries of a GPU reserve more addresses than a worker may otherwise use.
        self._batches = WorkerPool(single.count, clip_timeout * clips, limits_memory=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._batches.close()

    def each(
        self,
        function: Callable[..., Result],
        jobs: Iterable[tuple[Job, tuple[Any, ...]]],
        stopped: Callable[[], bool] = lambda: False,
    ) -> Generator[tuple[Job, Result | ClipError], None, None]:
        """Run jobs as `WorkerPool.each` does; those of `worker.extract_file` in batches on the device."""
        if function is not worker.extract_file:
            yield from self._single.each(function, jobs, stopped)
            return
        pending = iter(jobs)
        batches = iter(lambda: list(islice(pending, self._clips)), [])
        tasks = ((batch, (self._device, self._clips, [arguments for _, arguments in batch])) for batch in batches)
        for batch, outcomes in self._batches.each(worker.extract_files, tasks, stopped):
            if isinstance(outcomes, ClipError):
                yield from self._single.each(function, batch, stopped)
            else:
                for (job, _), outcome in zip(batch, outcomes, strict=True):
                    yield job, cast("Result | ClipError", outcome)
