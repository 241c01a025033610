"""A video arrives in chunks, and its temporary file is deleted however the call ends."""

import asyncio
import fcntl
import os
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from services.extractor import uploads
from services.extractor.uploads import MAX_CHUNK_BYTES, MAX_UPLOADS, UploadFolder
from signet.errors import Busy, DeadlineExceeded, InvalidInput
from signet.landmarks import load
from signet.store import DirectoryStore
from signet.v1 import extractor_pb2 as pb
from signet.v1 import extractor_pb2_grpc
from tests import servers
from tests.services.extractor.conftest import MakeVideo

Request = pb.ExtractClipStreamRequest


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def files(temporary: Path) -> list[Path]:
    """The temporary files of videos."""
    return [path for path in temporary.glob("signet-uploads-*/*") if path.name != "lock"]


def wait_until_deleted(temporary: Path) -> None:
    deadline = time.monotonic() + 20
    while files(temporary):
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def _send(*requests: Request) -> AsyncIterator[Request]:
    for request in requests:
        yield request


def _receive(*requests: Request) -> tuple[bytes, str]:
    """What an upload of these messages receives."""

    async def receive() -> tuple[bytes, str]:
        async with UploadFolder().receive(_send(*requests)) as upload:
            return upload.path.read_bytes(), upload.clip_id

    return asyncio.run(receive())


def test_chunks_are_joined_and_the_file_is_deleted(temporary: Path) -> None:
    received = _receive(Request(chunk=b"one", clip_id="mine", size=8), Request(), Request(chunk=b"-two-", clip_id="x"))
    assert received == (b"one-two-", "mine")
    assert not files(temporary)
    assert _receive(Request(chunk=b"1"))[1] == "clip"


@pytest.mark.parametrize(
    ("requests", "said"),
    [
        ((), "ended without a video"),
        ((Request(clip_id="x"),), "ended without a video"),
        ((Request(chunk=b"12", size=3),), "has 2 bytes, but 3 were announced"),
        ((Request(chunk=b"12", size=1),), "has 2 bytes, but 1 were announced"),
        ((Request(chunk=b"1", size=1001),), "1001 bytes or more; at most 1000"),
        ((Request(chunk=b"1" * 600), Request(chunk=b"1" * 600)), "1200 bytes or more; at most 1000"),
        ((Request(chunk=b"1" * 701),), "a chunk has 701 bytes; at most 700"),
    ],
)
def test_an_unusable_upload_is_refused(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, requests: tuple[Request, ...], said: str
) -> None:
    monkeypatch.setattr(uploads, "MAX_UPLOAD_BYTES", 1000)
    monkeypatch.setattr(uploads, "MAX_CHUNK_BYTES", 700)
    with pytest.raises(InvalidInput, match=said):
        _receive(*requests)
    assert not files(temporary)


@pytest.mark.parametrize(("name", "pause"), [("CHUNK_SECONDS", 1.0), ("UPLOAD_SECONDS", 0.01)])
def test_a_client_that_stops_or_drips_is_refused(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, name: str, pause: float
) -> None:
    monkeypatch.setattr(uploads, name, 0.1)

    async def drip() -> AsyncIterator[Request]:
        while True:
            yield Request(chunk=b"x")
            await asyncio.sleep(pause)

    async def receive() -> None:
        async with UploadFolder().receive(drip()):
            pass

    with pytest.raises(DeadlineExceeded, match="not complete after"):
        asyncio.run(receive())
    assert not files(temporary)


def test_few_uploads_at_a_time(temporary: Path) -> None:
    async def receive() -> list[Busy]:
        folder = UploadFolder()
        arrived = asyncio.Event()

        async def hold() -> None:
            async with folder.receive(_send(Request(chunk=b"x"))):
                await arrived.wait()

        holding = [asyncio.create_task(hold()) for _ in range(MAX_UPLOADS)]
        await asyncio.sleep(0.3)
        refused = []
        try:
            await hold()
        except Busy as error:
            refused.append(error)
        arrived.set()
        await asyncio.gather(*holding)
        await hold()  # there is room again
        return refused

    (error,) = asyncio.run(receive())
    assert error.retry_seconds
    assert not files(temporary)


def test_a_full_disk_is_no_fault_of_the_client(temporary: Path) -> None:
    temporary.rmdir()
    with pytest.raises(Busy, match="no room for this video"):
        _receive(Request(chunk=b"x"))


def test_a_call_that_is_cancelled_while_its_file_is_made_leaves_no_file(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    making, may_end = threading.Event(), threading.Event()
    make_folder = tempfile.mkdtemp

    def make_slowly(prefix: str) -> str:
        making.set()
        assert may_end.wait(20)
        return make_folder(prefix=prefix)

    monkeypatch.setattr(tempfile, "mkdtemp", make_slowly)

    async def cancel() -> None:
        async with asyncio.timeout(20):
            call = asyncio.create_task(_enter(UploadFolder()))
            await asyncio.to_thread(making.wait, 20)
            call.cancel()
            await asyncio.wait([call])
            may_end.set()

    asyncio.run(cancel())  # waits for the thread
    assert list(temporary.glob("signet-uploads-*"))
    assert not files(temporary)


async def _enter(folder: UploadFolder) -> None:
    async with folder.receive(_send(Request(chunk=b"video"))):
        pass


def test_folders_of_killed_processes_are_deleted(temporary: Path) -> None:
    killed, living, new = (temporary / f"signet-uploads-{name}" for name in ("killed", "living", "new"))
    for folder in (killed, living, new):
        folder.mkdir()
        (folder / "lock").touch()
        (folder / "video").write_bytes(b"x")
        if folder != new:
            os.utime(folder / "lock", (1e9, 1e9))
    with (living / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _receive(Request(chunk=b"x"))
    assert [folder.exists() for folder in (killed, living, new)] == [False, True, True]


def test_a_service_that_ends_deletes_its_folder(temporary: Path) -> None:
    folder = UploadFolder()
    folder.close()

    async def receive() -> None:
        async with folder.receive(_send(Request(chunk=b"x"))):
            assert files(temporary)
            folder.close()

    asyncio.run(receive())
    assert not list(temporary.iterdir())


Extract = Callable[..., Any]


@pytest.fixture
def extract(tmp_path: Path) -> Iterator[Extract]:
    """Calls ExtractClipStream of a real service."""
    store = DirectoryStore(tmp_path / "store")
    with servers.serving(lambda: servers.extractor(store, tmp_path / "wlasl")) as channel:
        yield extractor_pb2_grpc.ExtractorStub(channel).ExtractClipStream


def _chunks(video: bytes, size: int) -> Iterator[Request]:
    yield Request(clip_id="mine", size=len(video))
    for start in range(0, len(video), size):
        yield Request(chunk=video[start : start + size])


def test_a_video_in_chunks_gives_the_tensor_in_pieces(
    extract: Extract, make_video: MakeVideo, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.extractor.service._PIECE_BYTES", 1000)
    answers = list(extract(_chunks(make_video(frames=12).read_bytes(), 500), timeout=120))
    assert len(answers) > 2
    assert {answer.part for answer in answers} == {0}
    assert [bool(answer.landmark_seconds) for answer in answers] == [False] * (len(answers) - 1) + [True]
    clip = load(b"".join(answer.landmarks for answer in answers))
    assert (clip.record.clip_id, clip.record.frame_end) == ("mine", 12)
    assert not files(temporary)

    with pytest.raises(grpc.RpcError) as refused:
        list(extract(_chunks(b"<!doctype html><html></html>", 7), timeout=60))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "mine" in refused.value.details()
    assert str(temporary) not in refused.value.details()
    for requests in ((), (Request(clip_id="x" * 300, chunk=b"x"),), (Request(chunk=bytes(MAX_CHUNK_BYTES + 1)),)):
        with pytest.raises(grpc.RpcError) as refused:
            list(extract(iter(requests), timeout=60))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert not files(temporary)


def test_a_client_that_leaves_in_the_middle_leaves_no_file(extract: Extract, temporary: Path) -> None:
    left = threading.Event()

    def half() -> Iterator[Request]:
        yield Request(chunk=b"x" * 1000)
        left.wait(60)

    call = extract(half(), timeout=120)
    deadline = time.monotonic() + 20
    while not files(temporary):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    call.cancel()
    wait_until_deleted(temporary)
    left.set()


def test_a_deadline_of_the_client_ends_the_upload(extract: Extract, temporary: Path) -> None:
    left = threading.Event()

    def half() -> Iterator[Request]:
        yield Request(chunk=b"x" * 1000)
        left.wait(60)

    with pytest.raises(grpc.RpcError) as refused:
        list(extract(half(), timeout=1))
    left.set()
    assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    wait_until_deleted(temporary)
