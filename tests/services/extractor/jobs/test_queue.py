"""The queue of extractions: few at a time, and no caller learns the id of another's extraction."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from services.extractor.jobs.queue import _REMEMBERED, MAX_EXTRACTIONS, ExtractionQueue
from services.extractor.jobs.workers import WorkerPool
from services.extractor.metrics import ExtractorMetrics
from services.extractor.sources.selection import SelectionCriteria
from signet.errors import Busy, InvalidInput, NotReady, SignetError
from signet.store import DirectoryStore, ObjectInfo

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
def extractions(tmp_path: Path, store: GatedStore) -> Iterator[ExtractionQueue]:
    folder = tmp_path / "wlasl"
    (folder / "clips").mkdir(parents=True)
    (folder / "clips/1.mp4").write_bytes(b"no video")
    (folder / "WLASL_v0.3.json").write_text(json.dumps([{"gloss": "book", "instances": [INSTANCE]}]))
    with WorkerPool(1, 60.0) as workers:
        queue = ExtractionQueue(folder, None, store, workers, ExtractorMetrics(CollectorRegistry()))
        yield queue
        store.gate.set()
        queue._threads.shutdown()


def _start(extractions: ExtractionQueue, corpus: str) -> str | SignetError:
    try:
        return extractions.start(corpus, SelectionCriteria())
    except SignetError as error:
        return error


def test_a_hundred_corpora_at_once_are_not_all_extracted(extractions: ExtractionQueue, store: GatedStore) -> None:
    with ThreadPoolExecutor(16) as callers:
        answers = list(callers.map(lambda number: _start(extractions, f"corpus-{number}"), range(100)))
    started = [answer for answer in answers if isinstance(answer, str)]
    refused = [answer for answer in answers if isinstance(answer, Busy)]
    assert (len(started), len(refused)) == (MAX_EXTRACTIONS, 100 - MAX_EXTRACTIONS)
    assert all(error.retry_seconds and started[0] not in str(error) for error in refused)
    name = extractions.find(started[0]).name
    second = _start(extractions, name)
    assert isinstance(second, NotReady)
    assert not any(extraction_id in str(second) for extraction_id in started)
    store.gate.set()
    extractions._threads.shutdown()
    assert all(extractions.find(extraction_id).progress.ended for extraction_id in started)
    assert all(not extractions.find(extraction_id).corpus.instances for extraction_id in started), "memory is freed"


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
        while ids[-1] in extractions._running:
            threading.Event().wait(0.005)
    assert len(extractions._known) <= _REMEMBERED + 1
    assert extractions.find(ids[-1]).progress.ended
