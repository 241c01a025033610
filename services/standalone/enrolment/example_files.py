"""Reads the examples of a sign: videos and landmark tensors. All files that cannot be used are named at once."""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from services.evaluator.enrolment.examples import ExampleClip, UnusableExamples
from services.extractor.jobs import worker
from services.extractor.jobs.worker import Labels
from services.extractor.jobs.workers import WorkerPool
from services.extractor.tracking.trackers import TrackingQuality
from services.standalone.recognition import clip_name
from signet.client.inputs import is_landmark_file, read_clip
from signet.errors import InvalidInput
from signet.terminal.output import say_error

# Each worker process needs 0.5 GB of memory, and takes seconds of two cores to start. A sign has a few short examples.
_CORES_PER_WORKER, _MOST_WORKERS = 2, 4


def read_examples(paths: Sequence[Path], show: Callable[[int], None]) -> list[ExampleClip]:
    """The landmarks of files. Worker processes track the videos among them.

    Args:
        paths: the files.
        show: called after each file with the number of files that are done.

    Raises:
        UnusableExamples: some files cannot be used. All of them are named.
        InvalidInput: a file is given twice.
    """
    _check_distinct(paths)
    return asyncio.run(_read_all(paths, show))


@contextmanager
def explain_unusable_examples() -> Iterator[None]:
    """Name each example that cannot be used on a line of its own.

    Raises:
        InvalidInput: more than one cannot be used; the message has their number.
    """
    try:
        yield
    except UnusableExamples as error:
        if len(error.faults) == 1:
            raise
        for fault in error.faults:
            say_error(f"error: {fault}")
        raise InvalidInput(
            f"{len(error.faults)} of {error.given} examples cannot be used. Leave them out, or replace them. Nothing "
            "was changed."
        ) from error


async def _read_all(paths: Sequence[Path], show: Callable[[int], None]) -> list[ExampleClip]:
    videos = [path for path in paths if not is_landmark_file(path)]
    done = 0

    async def read(path: Path, workers: WorkerPool | None, places: asyncio.Semaphore) -> ExampleClip | InvalidInput:
        nonlocal done
        try:
            if workers is None or path not in videos:
                return ExampleClip(str(path), read_clip(path).data)
            async with places:
                return await _track(path, workers)
        except InvalidInput as error:
            return error
        finally:
            done += 1
            show(done)

    if videos:
        count = min(len(videos), max(1, len(os.sched_getaffinity(0)) // _CORES_PER_WORKER), _MOST_WORKERS)
        with WorkerPool(count) as workers:
            places = asyncio.Semaphore(count)
            found = await asyncio.gather(*(read(path, workers, places) for path in paths))
    else:
        found = [await read(path, None, asyncio.Semaphore()) for path in paths]
    faults = [str(example) for example in found if isinstance(example, InvalidInput)]
    if faults:
        raise UnusableExamples(faults, len(paths))
    return [example for example in found if isinstance(example, ExampleClip)]


async def _track(path: Path, workers: WorkerPool) -> ExampleClip:
    """The landmarks of a video. Its errors begin with the path."""
    name = clip_name(path)
    try:
        extracted = await workers.one(worker.extract_upload, (Labels(name), path, TrackingQuality.FAST), None)
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {str(error).removeprefix(f'{name}: ')}") from error
    return ExampleClip(str(path), extracted.data)


def _check_distinct(paths: Sequence[Path]) -> None:
    """Raises `InvalidInput` if two paths are those of one file."""
    first: dict[str, Path] = {}
    for path in paths:
        real = os.path.realpath(path)
        if real in first:
            other = "" if first[real] == path else f", first as {first[real]}"
            raise InvalidInput(
                f"{path}: this file is given twice{other}. Give each example once: a second take shows how much the "
                "sign varies, and a copy does not."
            )
        first[real] = path
