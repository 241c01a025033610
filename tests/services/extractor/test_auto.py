"""Automatic extraction, in the process that a container starts."""

import asyncio
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from services.extractor.auto import AutoExtraction
from services.extractor.jobs.queue import ExtractionQueue
from services.extractor.jobs.workers import WorkerPool
from services.extractor.metrics import ExtractorMetrics
from services.extractor.sources.selection import SelectionCriteria
from signet.datasets.corpus import CorpusManifest, read_manifest
from signet.errors import Unavailable
from signet.store import DirectoryStore, ObjectInfo
from tests.services.extractor.conftest import SHORT, MakeCorpus

pytestmark = pytest.mark.clips


@contextmanager
def following(folder: Path, store: DirectoryStore, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "services.extractor", "--auto-extract", "--wlasl", str(folder)),
                *("--store", store.url, "--workers", "1", "--rescan-seconds", "0.2", "--drain-seconds", "5"),
            ],
            stderr=output,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def wait_for(what: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


class AbsentStore(DirectoryStore):
    """A store that cannot be reached."""

    looks = 0

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        self.looks += 1
        raise Unavailable(f"{self.url}: a web page answers, and no S3 store.")


def test_a_store_that_cannot_be_used_is_logged_once_and_tried_again(
    make_corpus: MakeCorpus, tmp_path: Path, workers: WorkerPool, caplog: pytest.LogCaptureFixture
) -> None:
    folder, store = make_corpus(SHORT[:1]), AbsentStore(tmp_path / "store")
    extractions = ExtractionQueue(folder, None, store, workers, ExtractorMetrics(CollectorRegistry()))
    auto = AutoExtraction(extractions, folder, None, "wlasl", SelectionCriteria(20, 0), seconds=0.001)

    async def follow() -> None:
        follower = asyncio.create_task(auto.follow())
        while store.looks < 3:
            assert not follower.done()
            await asyncio.sleep(0.01)
        follower.cancel()

    asyncio.run(asyncio.wait_for(follow(), 60))
    assert [record.getMessage() for record in caplog.records] == [
        f"{store.url}: a web page answers, and no S3 store. Looking again every 0.001 s."
    ]


def test_new_and_changed_clips_are_extracted_without_a_request(
    make_corpus: MakeCorpus, directory_store: DirectoryStore, tmp_path: Path
) -> None:
    folder, log = make_corpus(SHORT[:3]), tmp_path / "log"
    late = folder / f"clips/{SHORT[2]}.mp4"
    shutil.move(late, tmp_path / "late.mp4")
    shutil.move(folder, tmp_path / "later")

    def manifest() -> CorpusManifest | None:
        return read_manifest(directory_store, "wlasl")

    with following(folder, directory_store, log):
        wait_for(lambda: "no such file" in log.read_text(), log)
        shutil.move(tmp_path / "later", folder)
        wait_for(lambda: manifest() is not None, log)
        assert log.read_text().count("no such file") == 1, "said once, not at every look"
        first = manifest()
        assert first is not None
        assert set(first.clips) == set(SHORT[:2])
        before = [(info.key, info.etag) for info in directory_store.list("landmarks/")]

        shutil.copyfile(tmp_path / "late.mp4", late)
        wait_for(lambda: manifest() != first, log)
        second = manifest()
        assert second is not None
        assert set(second.clips) == set(SHORT[:3])
        assert set(before) <= {(info.key, info.etag) for info in directory_store.list("landmarks/")}

        # The metadata alone may change too: a fuller list over the same files.
        metadata = folder / "WLASL_v0.3.json"
        entries = json.loads(metadata.read_text())
        removed = entries.pop()
        for content in (entries, [*entries, removed]):
            log.write_text("")
            metadata.write_text(json.dumps(content))
            wait_for(lambda: ": succeeded:" in log.read_text(), log)
        assert set(before) <= {(info.key, info.etag) for info in directory_store.list("landmarks/")}
    assert "Traceback" not in log.read_text()

    # Killed or stopped, and started again: nothing is done twice.
    with following(folder, directory_store, log):
        wait_for(lambda: "0 extracted, 3 present" in log.read_text(), log)
    assert manifest() == second


def test_a_corpus_of_another_extractor_is_kept_and_reported(
    make_corpus: MakeCorpus, directory_store: DirectoryStore, tmp_path: Path
) -> None:
    folder, log = make_corpus(SHORT[:1]), tmp_path / "log"
    with following(folder, directory_store, log):
        wait_for(lambda: read_manifest(directory_store, "wlasl") is not None, log)
    (key,) = (info.key for info in directory_store.list("landmarks/"))
    data = directory_store.get(key)
    record = json.dumps("signet-pipeline-1").encode()[1:-1]
    assert record in data
    foreign = data.replace(record, b"other-landmarks-12"[: len(record)])
    directory_store.put(key, foreign)
    with following(folder, directory_store, log):
        wait_for(lambda: "made by" in log.read_text(), log)
    assert directory_store.get(key) == foreign
