"""A process of a cluster runs a job like a worker of this machine."""

import hashlib
from collections.abc import Iterator

import pytest

from services.extractor.engines import remote_job
from services.extractor.engines.remote_job import RemoteFault, RemoteJob, extractor_versions, run_remote_job
from services.extractor.jobs import worker
from services.extractor.jobs.worker import Extracted, Labels
from services.extractor.jobs.workers import WorkerPool
from services.extractor.sources.selection import Usable
from services.extractor.video.decode import Segment
from tests.services.extractor.conftest import MakeVideo

TIMEOUT = 60.0


@pytest.fixture(autouse=True)
def _pool(workers: WorkerPool, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The pool of the session, so that MediaPipe is not loaded again."""
    monkeypatch.setattr(remote_job, "_pools", {TIMEOUT: workers})
    yield


def _job(data: bytes, *, extractors: tuple[str, ...] = ()) -> RemoteJob:
    usable = Usable(hashlib.sha256(data).hexdigest(), Segment(1, 12))
    arguments = (usable, Labels("1", "c", "book", "train", "s"))
    return RemoteJob(worker.extract_file, "1.mp4", data, arguments, TIMEOUT, extractors or extractor_versions())


def test_a_job_has_the_result_of_a_worker_of_this_machine(make_video: MakeVideo, workers: WorkerPool) -> None:
    path = make_video()
    remote = run_remote_job(_job(path.read_bytes()))
    ((_, local),) = workers.each(worker.extract_file, [(None, (path, *_job(path.read_bytes()).arguments))])
    assert isinstance(local, Extracted)
    assert remote.data == local.data


def test_the_bytes_of_a_large_file_come_in_parts(make_video: MakeVideo) -> None:
    data = make_video().read_bytes()
    whole = _job(data)
    store = {"first": data[:500], "second": data[500:]}
    parts = RemoteJob(whole.function, whole.name, b"", whole.arguments, TIMEOUT, whole.extractors, tuple(store))
    assert run_remote_job(parts, store.__getitem__).data == run_remote_job(whole).data


def test_a_broken_clip_has_its_reason_and_its_name() -> None:
    fault = run_remote_job(_job(b"<!doctype html><html></html>"))
    assert isinstance(fault, RemoteFault)
    assert fault.reason == "html"
    assert fault.message.startswith("1.mp4: ")


def test_a_node_with_another_extractor_is_refused(make_video: MakeVideo) -> None:
    fault = run_remote_job(_job(make_video().read_bytes(), extractors=("other/1",)))
    assert isinstance(fault, RemoteFault)
    assert not fault.reason
    assert "Install the same version of Signet on all nodes" in fault.message
