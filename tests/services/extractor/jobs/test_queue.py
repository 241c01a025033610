"""The queue of extractions: few at a time, and no caller learns the id of another's extraction."""

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from services.extractor.jobs import leases, queue
from services.extractor.jobs.extraction import Extraction
from services.extractor.jobs.progress import ExtractionState
from services.extractor.jobs.queue import _REMEMBERED, MAX_EXTRACTIONS, ExtractionQueue, ExtractionView
from services.extractor.jobs.stored_jobs import job_name
from services.extractor.jobs.workers import WorkerPool
from services.extractor.metrics import ExtractorMetrics
from services.extractor.sources.selection import SelectionCriteria
from signet.errors import Busy, InvalidInput, NotFound, NotReady, SignetError, Unavailable
from signet.store import DirectoryStore, ObjectInfo, keys

INSTANCE = {"video_id": "1", "split": "train", "signer_id": 1, "frame_start": 1, "frame_end": -1, "fps": 25}


class GatedStore(DirectoryStore):
    """A store whose listings of landmarks wait, so that an extraction does not end before the test lets it."""

    gate = threading.Event()

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        if prefix.startswith("landmarks/"):
            assert self.gate.wait(60)
        return super().list(prefix)


@pytest.fixture
def store(tmp_path: Path) -> GatedStore:
    gated = GatedStore(tmp_path / "store")
    gated.gate = threading.Event()
    return gated


@pytest.fixture
def make_queue(tmp_path: Path, store: GatedStore) -> Iterator[Callable[[], ExtractionQueue]]:
    """Makes the queues of several services with the same clips and the same store."""
    folder = tmp_path / "wlasl"
    (folder / "clips").mkdir(parents=True)
    (folder / "clips/1.mp4").write_bytes(b"no video")
    (folder / "WLASL_v0.3.json").write_text(json.dumps([{"gloss": "book", "instances": [INSTANCE]}]))
    queues = []
    with WorkerPool(1, 60.0) as workers:

        def make() -> ExtractionQueue:
            queues.append(ExtractionQueue(folder, None, store, workers, ExtractorMetrics(CollectorRegistry())))
            return queues[-1]

        yield make
        store.gate.set()
        for each in queues:
            asyncio.run(each.drain(5))
            each._threads.shutdown()


@pytest.fixture
def extractions(make_queue: Callable[[], ExtractionQueue]) -> ExtractionQueue:
    return make_queue()


def _start(extractions: ExtractionQueue, corpus: str) -> str | SignetError:
    try:
        return extractions.start(corpus, SelectionCriteria())
    except SignetError as error:
        return error


def _found(extractions: ExtractionQueue, extraction_id: str) -> Extraction:
    extraction = extractions.find(extraction_id)
    assert extraction is not None
    return extraction


def test_a_hundred_corpora_at_once_are_not_all_extracted(extractions: ExtractionQueue, store: GatedStore) -> None:
    with ThreadPoolExecutor(16) as callers:
        answers = list(callers.map(lambda number: _start(extractions, f"corpus-{number}"), range(100)))
    started = [answer for answer in answers if isinstance(answer, str)]
    refused = [answer for answer in answers if isinstance(answer, Busy)]
    assert (len(started), len(refused)) == (MAX_EXTRACTIONS, 100 - MAX_EXTRACTIONS)
    assert all(error.retry_seconds and started[0] not in str(error) for error in refused)
    name = _found(extractions, started[0]).name
    second = _start(extractions, name)
    assert isinstance(second, NotReady)
    assert not any(extraction_id in str(second) for extraction_id in started)
    store.gate.set()
    extractions._threads.shutdown()
    assert all(_found(extractions, extraction_id).progress.ended for extraction_id in started)
    assert all(not _found(extractions, extraction_id).corpus.instances for extraction_id in started), "memory is freed"


def test_a_start_that_fails_gives_its_place_back_and_reads_nothing_for_an_impossible_name(
    extractions: ExtractionQueue, store: GatedStore, tmp_path: Path
) -> None:
    for _ in range(2 * MAX_EXTRACTIONS):
        with pytest.raises(InvalidInput, match="WLASL has no gloss 'nothing'"):
            extractions.start("wlasl", SelectionCriteria(glosses=("nothing",)))
    (tmp_path / "wlasl/WLASL_v0.3.json").unlink()
    for corpus, criteria, said in (
        ("../x", SelectionCriteria(), "cannot name a corpus"),
        ("x" * 20_000_000, SelectionCriteria(), "cannot name a corpus"),
        ("wlasl", SelectionCriteria(splits=("dev" * 1000,) * 1000), "Signet has no split"),
    ):
        with pytest.raises(InvalidInput, match=said) as refused:
            extractions.start(corpus, criteria)
        assert len(str(refused.value)) < 1200


def test_few_ended_extractions_are_remembered(extractions: ExtractionQueue, store: GatedStore) -> None:
    store.gate.set()
    ids = []
    for number in range(_REMEMBERED + 5):
        ids.append(extractions.start(f"corpus-{number}", SelectionCriteria()))
        while job_name(ids[-1]) in extractions._running:
            threading.Event().wait(0.005)
    assert len(extractions._known) <= _REMEMBERED + 1
    assert _found(extractions, ids[-1]).progress.ended


@pytest.fixture
def quick_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes look at each other's jobs often."""
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(leases, "LEASE_SECONDS", 0.5)
    monkeypatch.setattr(queue, "POLL_SECONDS", 0.02)


@pytest.mark.usefixtures("quick_leases")
def test_a_second_service_neither_runs_nor_repeats_an_extraction_but_shows_and_cancels_it(
    extractions: ExtractionQueue, store: GatedStore, make_queue: Callable[[], ExtractionQueue]
) -> None:
    other = make_queue()
    extractions.keep()
    other.keep()
    extraction_id = extractions.start("wlasl", SelectionCriteria())
    time.sleep(0.7)  # longer than a lease
    assert not other._running
    view = asyncio.run(other.view(extraction_id))
    assert (view.corpus, view.here, view.progress.state) == ("wlasl", False, ExtractionState.SELECTING)
    refused = _start(other, "wlasl")
    assert isinstance(refused, NotReady)
    assert extraction_id not in str(refused)
    threading.Timer(0.3, store.gate.set).start()

    async def cancel() -> ExtractionView:
        await other.cancel(extraction_id)
        return await other.ended(extraction_id)

    assert asyncio.run(cancel()).progress.state is ExtractionState.CANCELLED
    assert _found(extractions, extraction_id).progress.state is ExtractionState.CANCELLED
    with pytest.raises(NotFound, match="no extraction 'x'"):
        asyncio.run(other.view("x"))


@pytest.mark.usefixtures("quick_leases")
def test_an_extraction_of_a_stopped_service_is_resumed_by_the_next_one_under_the_same_id(
    extractions: ExtractionQueue, store: GatedStore, make_queue: Callable[[], ExtractionQueue]
) -> None:
    extractions.keep()
    extraction_id = extractions.start("wlasl", SelectionCriteria())
    cancelled_id = extractions.start("other", SelectionCriteria())

    async def stop() -> None:
        await extractions.cancel(cancelled_id)
        await extractions.drain(0.2)
        with pytest.raises(Unavailable, match="continues this extraction when it is started again"):
            await extractions.view(extraction_id)

    asyncio.run(stop())
    store.gate.set()
    following = make_queue()
    following.keep()
    view = asyncio.run(following.ended(extraction_id))
    # The one file of this corpus is no video.
    assert (view.progress.state, view.progress.broken) == (ExtractionState.SUCCEEDED, 1)
    assert [failure.clip_id for failure in view.progress.failures] == ["1"]
    view = asyncio.run(following.ended(cancelled_id))
    assert view.progress.state is ExtractionState.CANCELLED
    # A third service still knows both.
    assert asyncio.run(make_queue().view(extraction_id)).progress.broken == 1


@pytest.mark.usefixtures("quick_leases")
def test_an_extraction_that_cannot_be_resumed_fails_with_the_reason(
    extractions: ExtractionQueue, store: GatedStore, make_queue: Callable[[], ExtractionQueue], tmp_path: Path
) -> None:
    extraction_id = extractions.start("wlasl", SelectionCriteria())
    asyncio.run(extractions.drain(0.1))
    store.gate.set()
    (tmp_path / "wlasl/WLASL_v0.3.json").unlink()
    following = make_queue()
    following.keep()
    view = asyncio.run(following.ended(extraction_id))
    assert view.progress.state is ExtractionState.FAILED
    assert "WLASL_v0.3.json: no such file" in view.progress.error


@pytest.mark.usefixtures("quick_leases")
def test_an_extraction_that_is_not_stored_runs_to_its_end_and_is_not_resumed(
    extractions: ExtractionQueue, store: GatedStore
) -> None:
    extractions.keep()
    extraction_id = extractions.start("wlasl", SelectionCriteria(), stored=False)
    time.sleep(0.2)  # some beats
    store.gate.set()
    assert asyncio.run(extractions.ended(extraction_id)).progress.state is ExtractionState.SUCCEEDED
    assert not list(store.list(keys.extractions()))


class Outage(GatedStore):
    """A store in which no extraction can be changed for a while."""

    away = False

    def replace(self, key: str, data: bytes, etag: str) -> str:
        if self.away:
            raise Unavailable("the store cannot be reached.")
        return super().replace(key, data, etag)


@pytest.mark.usefixtures("quick_leases")
def test_the_end_of_an_extraction_is_stored_after_an_outage(
    store: GatedStore, make_queue: Callable[[], ExtractionQueue], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "__class__", Outage)
    extractions = make_queue()
    extractions.keep()
    extraction_id = extractions.start("wlasl", SelectionCriteria())
    store.away = True  # type: ignore[attr-defined]
    store.gate.set()
    asyncio.run(extractions.ended(extraction_id))
    store.away = False  # type: ignore[attr-defined]
    deadline = time.monotonic() + 20
    while asyncio.run(make_queue().view(extraction_id)).progress.state is not ExtractionState.SUCCEEDED:
        assert time.monotonic() < deadline
        time.sleep(0.02)


class BriefOutage(GatedStore):
    """A store whose manifests cannot be listed the first times."""

    outages = 3

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        if prefix.endswith("/manifest.json") and self.outages:
            self.outages -= 1
            raise Unavailable("the store cannot be reached.")
        return super().list(prefix)


@pytest.mark.usefixtures("quick_leases")
def test_extractions_are_resumed_after_an_outage_that_begins_when_they_are_taken_over(
    extractions: ExtractionQueue,
    store: GatedStore,
    make_queue: Callable[[], ExtractionQueue],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = [extractions.start(corpus, SelectionCriteria()) for corpus in ("one", "two")]
    asyncio.run(extractions.drain(0.1))
    store.gate.set()
    monkeypatch.setattr(store, "__class__", BriefOutage)
    following = make_queue()
    following.keep()
    for extraction_id in ids:
        view = asyncio.run(asyncio.wait_for(following.ended(extraction_id), 60))
        assert view.progress.state is ExtractionState.SUCCEEDED


@pytest.mark.usefixtures("quick_leases")
def test_a_broken_clip_with_a_name_that_is_not_utf_8_does_not_keep_an_extraction_from_ending(
    extractions: ExtractionQueue, store: GatedStore, make_queue: Callable[[], ExtractionQueue], tmp_path: Path
) -> None:
    for gloss, name in (("book", b"caf\xe9.mp4"), ("tree", b"1.mp4")):
        folder = tmp_path / "own" / gloss
        folder.mkdir(parents=True)
        (folder / os.fsdecode(name)).write_bytes(b"no video")
    extractions._path = tmp_path / "own"
    store.gate.set()
    extraction_id = extractions.start("own", SelectionCriteria())
    view = asyncio.run(asyncio.wait_for(extractions.ended(extraction_id), 60))
    assert view.progress.state is ExtractionState.SUCCEEDED
    assert "caf\\udce9.mp4" in view.progress.failures[0].message
    stored = asyncio.run(make_queue().view(extraction_id))
    assert stored.progress.failures == view.progress.failures
