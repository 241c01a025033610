"""The extractor over gRPC: extractions, single clips, and errors as status codes."""

import asyncio
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from bench.hostile.videos import matroska_with_tags
from services.extractor.jobs.queue import ExtractionQueue
from services.extractor.jobs.workers import WorkerPool
from services.extractor.metrics import ExtractorMetrics
from services.extractor.service import ExtractorServicer
from services.extractor.settings import ExtractorSettings
from signet.landmarks import load
from signet.rpc.client import Client
from signet.rpc.server import ServiceServer, new_registry, service_names
from signet.store import DirectoryStore
from signet.v1 import extractor_pb2 as pb
from signet.v1 import extractor_pb2_grpc
from tests.services.extractor.conftest import SHORT, MakeCorpus, MakeVideo, wait_until_gone

pytestmark = pytest.mark.clips


class Served:
    """The servicer behind a real server, in a thread with a loop of its own."""

    def __init__(self, folder: Path, store: DirectoryStore, workers: WorkerPool) -> None:
        self._folder, self._store, self._workers = folder, store, workers
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self.registry = new_registry()
        self.port = 0

    async def _serve(self) -> None:
        metrics = ExtractorMetrics(self.registry)
        extractions = ExtractionQueue(self._folder, None, self._store, self._workers, metrics)
        server = ServiceServer(ExtractorSettings(_cli_parse_args=False), self.registry)
        servicer = ExtractorServicer(extractions, self._workers, metrics)
        server.add(service_names(pb)[0], extractor_pb2_grpc.add_ExtractorServicer_to_server, servicer)
        await server.start()
        self.port = server.port
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._ready.set()
        await self._stop.wait()
        await extractions.drain(1)
        await server.stop()
        servicer.close()

    def __enter__(self) -> "Served":
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        assert not self._thread.is_alive()


@pytest.fixture
def served(make_corpus: MakeCorpus, directory_store: DirectoryStore, workers: WorkerPool) -> Iterator[Served]:
    with Served(make_corpus(SHORT[:4]), directory_store, workers) as server:
        yield server


@pytest.fixture
def extractor(served: Served) -> Iterator[Any]:
    with Client(extractor=f"127.0.0.1:{served.port}") as client:
        yield client.extractor


def watch(extractor: Any, extraction_id: str) -> list[pb.ExtractionProgress]:
    request = pb.WatchExtractionRequest(extraction_id=extraction_id)
    return [response.progress for response in extractor.WatchExtraction(request, timeout=60)]


def test_a_client_can_start_and_watch_an_extraction(
    extractor: Any, directory_store: DirectoryStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("services.extractor.jobs.queue._LOG_SECONDS", 0.0)
    started = time.monotonic()
    answer = extractor.StartExtraction(pb.StartExtractionRequest(max_glosses=2, splits=["train"]), timeout=10)
    assert time.monotonic() - started < 2
    seen = watch(extractor, answer.extraction_id)
    assert seen[0].state in {pb.EXTRACTION_STATE_SELECTING, pb.EXTRACTION_STATE_RUNNING}
    last = seen[-1]
    assert last.state == pb.EXTRACTION_STATE_SUCCEEDED
    assert (last.corpus, list(last.glosses)) == ("wlasl", ["bird", "thanksgiving"])
    assert (last.total, last.extracted, last.missing, last.frames) == (2, 2, 2, 39)
    assert last.elapsed_seconds > 0
    assert len(list(directory_store.list("landmarks/v1/wlasl/"))) == 2
    assert watch(extractor, answer.extraction_id) == [last]  # an ended one can still be asked for
    said = [record.message for record in caplog.records]
    assert any(message.startswith("corpus wlasl: 1 of 2 clips, 0 of them broken, ") for message in said)


def test_a_corpus_has_one_extraction_at_a_time_and_it_can_be_cancelled(extractor: Any) -> None:
    first = extractor.StartExtraction(pb.StartExtractionRequest(), timeout=10)
    with pytest.raises(grpc.RpcError) as caught:
        extractor.StartExtraction(pb.StartExtractionRequest(), timeout=10)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "'wlasl' is being extracted already" in caught.value.details()
    assert first.extraction_id not in caught.value.details(), "the id is the right to cancel the extraction"
    stopped = extractor.CancelExtraction(pb.CancelExtractionRequest(extraction_id=first.extraction_id), timeout=60)
    assert stopped.progress.state == pb.EXTRACTION_STATE_CANCELLED
    assert watch(extractor, first.extraction_id)[-1].state == pb.EXTRACTION_STATE_CANCELLED
    again = extractor.StartExtraction(pb.StartExtractionRequest(glosses=["bird"]), timeout=10)
    assert watch(extractor, again.extraction_id)[-1].state == pb.EXTRACTION_STATE_SUCCEEDED


def test_an_invalid_request_gets_its_status_code(extractor: Any) -> None:
    for call, code in (
        (lambda: extractor.StartExtraction(pb.StartExtractionRequest(glosses=["brd"])), "INVALID_ARGUMENT"),
        (lambda: extractor.StartExtraction(pb.StartExtractionRequest(splits=["dev"])), "INVALID_ARGUMENT"),
        (lambda: extractor.StartExtraction(pb.StartExtractionRequest(corpus="../x")), "INVALID_ARGUMENT"),
        (lambda: extractor.CancelExtraction(pb.CancelExtractionRequest(extraction_id="x")), "NOT_FOUND"),
        (lambda: list(extractor.WatchExtraction(pb.WatchExtractionRequest(extraction_id="x"))), "NOT_FOUND"),
        (lambda: extractor.ExtractClip(pb.ExtractClipRequest()), "INVALID_ARGUMENT"),
        (lambda: extractor.ExtractClip(pb.ExtractClipRequest(video=b"\xff\xd8\xff\xe0")), "INVALID_ARGUMENT"),
        (lambda: extractor.ExtractClip(pb.ExtractClipRequest(video=b"x", clip_id="y" * 300)), "INVALID_ARGUMENT"),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            call()
        assert caught.value.code().name == code
        assert len(caught.value.details()) > 20


def test_extract_clip_returns_the_tensor_that_an_extraction_stores(
    extractor: Any, served: Served, wlasl: Path, directory_store: DirectoryStore
) -> None:
    video = (wlasl / f"clips/{SHORT[0]}.mp4").read_bytes()
    answer = extractor.ExtractClip(pb.ExtractClipRequest(video=video, clip_id="mine"), timeout=60)
    clip = load(answer.landmarks)
    assert clip.record.clip_id == "mine"
    assert answer.landmark_seconds > 0 < answer.decode_seconds
    assert not list(directory_store.list(""))  # the store is not touched
    assert served.registry.get_sample_value("signet_extractor_frames_total") == 9  # of 19
    found = {
        part: served.registry.get_sample_value("signet_extractor_found_frames_total", {"part": part}) or 0
        for part in ("pose", "left_hand", "right_hand", "any_hand")
    }
    assert found["pose"] == 9
    assert max(found["left_hand"], found["right_hand"]) <= found["any_hand"] <= 9

    started = extractor.StartExtraction(pb.StartExtractionRequest(glosses=["bird"]), timeout=10)
    assert watch(extractor, started.extraction_id)[-1].extracted == 1
    stored = load(directory_store.get(f"landmarks/v1/wlasl/{SHORT[0]}.safetensors"))
    assert stored.landmarks.tobytes() == clip.landmarks.tobytes()


def test_extract_clip_keeps_the_deadline_of_its_caller(extractor: Any, make_video: MakeVideo) -> None:
    video = make_video(frames=400).read_bytes()
    started = time.monotonic()
    with pytest.raises(grpc.RpcError) as caught:
        extractor.ExtractClip(pb.ExtractClipRequest(video=video), timeout=1.0)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - started < 3
    # The worker was freed: the next one is answered.
    short = make_video("short.mp4", frames=6).read_bytes()
    assert load(extractor.ExtractClip(pb.ExtractClipRequest(video=short), timeout=60).landmarks).frames == 3  # of 6


def test_a_long_video_beyond_its_deadline_says_how_far_it_came_and_logs_nothing(
    extractor: Any, faults: Path, make_video: MakeVideo, caplog: pytest.LogCaptureFixture
) -> None:
    short = pb.ExtractClipRequest(video=make_video(frames=6).read_bytes())
    video = (faults / "07_two_minute_video_predict_deadline.mp4").read_bytes()
    messages = []
    for timeout in (0.001, 0.05, 0.5, *[6] * 20):
        with pytest.raises(grpc.RpcError) as caught:
            extractor.ExtractClip(pb.ExtractClipRequest(video=video), timeout=timeout)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        messages.append(caught.value.details())
        if re.search(r"\d+ of 3591 frames were done in .* Allow more time", messages[-1]):
            break  # at first a worker still loads MediaPipe
    else:
        pytest.fail(str(messages))
    call = extractor.ExtractClip.future(pb.ExtractClipRequest(video=video), timeout=60)
    time.sleep(1)
    call.cancel()
    assert load(extractor.ExtractClip(short, timeout=60).landmarks).frames == 3  # of 6
    assert [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}] == []


def test_sigterm_ends_the_process_soon_and_the_extraction_can_be_resumed(
    make_corpus: MakeCorpus, make_video: MakeVideo, tmp_path: Path
) -> None:
    long = make_video("long.mp4", frames=3000)  # minutes of MediaPipe: it will not be done in time
    folder = make_corpus(SHORT[:1], {"long": long})
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "services.extractor", "--wlasl", str(folder), "--workers", "1"),
            *("--store", f"file:{tmp_path / 'store'}", "--drain-seconds", "1"),
        ],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    listening = next(line for line in process.stderr if "listening on" in line)
    address = listening.split("listening on ")[1].split(",")[0]
    with Client(extractor=address) as client:
        client.extractor.StartExtraction(pb.StartExtractionRequest(), timeout=20)
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("store/landmarks/**/*.safetensors")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.terminate()
        started = time.monotonic()
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert "cancelled: 1 extracted" in err
    assert time.monotonic() - started < 8
    wait_until_gone(process.pid)


def test_a_killed_service_leaves_no_worker_behind_that_is_busy_with_a_hostile_header(
    make_corpus: MakeCorpus, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "services.extractor", "--wlasl", str(make_corpus(SHORT[:1])), "--workers", "2"),
            *("--store", f"file:{tmp_path / 'store'}"),
        ],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stderr is not None
        listening = next(line for line in process.stderr if "listening on" in line)
        address = listening.split("listening on ")[1].split(",")[0]
        with Client(extractor=address) as client:
            call = client.extractor.ExtractClip.future(pb.ExtractClipRequest(video=matroska_with_tags(200_000)))
            time.sleep(6)  # MediaPipe is loaded, and the worker reads the header
            assert not call.done()
    finally:
        process.kill()
    process.communicate(timeout=30)
    wait_until_gone(process.pid)
