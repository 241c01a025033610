"""An extraction of a service that is killed is resumed by the next one, and its client watches on with the same id."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest

from bench.interruptions import make_corpus
from signet.rpc.client import Client
from signet.store import DirectoryStore, keys
from signet.v1 import extractor_pb2 as pb
from tests.services.extractor.conftest import wait_until_gone

# The service, with leases that end soon.
_SERVICE = """
from services.extractor.jobs import leases
leases.BEAT_SECONDS, leases.LEASE_SECONDS = 0.5, 3.0
from services.extractor.__main__ import main
main()
"""


def start(folder: Path, store: Path, log: Path) -> tuple[subprocess.Popen[bytes], str]:
    """A service and its address."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", _SERVICE, "--wlasl", str(folder), "--workers", "1"),
                *("--store", f"file:{store}", "--port", "0", "--metrics-port", "0"),
            ],
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + 120
    while "listening on " not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    return process, log.read_text().split("listening on ")[1].split(",")[0]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_extraction_survives_a_restart_of_the_service(tmp_path: Path, number: signal.Signals) -> None:
    make_corpus(tmp_path / "wlasl", 6, seed=1)
    store = DirectoryStore(tmp_path / "store")
    process, address = start(tmp_path / "wlasl", tmp_path / "store", tmp_path / "first.log")
    try:
        with Client(extractor=address) as client:
            started = client.extractor.StartExtraction(pb.StartExtractionRequest(), timeout=60)
            while not any(store.list("landmarks/")):
                time.sleep(0.02)
    finally:
        os.kill(process.pid, number)
    process.wait(60)
    wait_until_gone(process.pid)
    (kept,) = [info.key for info in store.list(keys.extractions())]
    assert started.extraction_id.encode() not in store.get(kept)
    assert started.extraction_id not in kept
    stored = {info.key: info.etag for info in store.list("landmarks/")}

    process, address = start(tmp_path / "wlasl", tmp_path / "store", tmp_path / "second.log")
    try:
        with Client(extractor=address) as client:
            request = pb.WatchExtractionRequest(extraction_id=started.extraction_id)
            last = [answer.progress for answer in client.extractor.WatchExtraction(request, timeout=180)][-1]
            assert last.state == pb.EXTRACTION_STATE_SUCCEEDED, last
            assert (last.total, last.broken, last.extracted + last.present) == (6, 1, 5)
            with pytest.raises(grpc.RpcError) as refused:
                client.extractor.CancelExtraction(pb.CancelExtractionRequest(extraction_id="x"), timeout=60)
            assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    finally:
        process.terminate()
        process.wait(60)
    after = {info.key: info.etag for info in store.list("landmarks/")}
    assert len(after) == 5
    assert stored.items() <= after.items(), "nothing is stored twice"
    assert started.extraction_id not in (tmp_path / "second.log").read_text()
