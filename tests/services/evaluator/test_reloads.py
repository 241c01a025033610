"""A real evaluator process under load: versions change, the store is away, and the process gets SIGTERM."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from services.local import seaweedfs
from services.local.seaweedfs import LocalStore
from signet import landmarks, registry
from signet.datasets.snapshot import Dataset
from signet.registry import LATEST, ModelCard
from signet.v1 import evaluator_pb2, evaluator_pb2_grpc, extractor_pb2, extractor_pb2_grpc
from tests.servers import stand_in_extractor
from tests.services.evaluator.conftest import GLOSSES, make_graph, place_of
from tests.services.evaluator.test_process import Process, started, wait_for

if TYPE_CHECKING:
    from tests.services.evaluator.conftest import World

SECONDS = 30.0


@dataclass(frozen=True)
class Answer:
    begun: float
    ended: float
    version: str
    gloss: str


class Load:
    """Callers that send one clip again and again, each on a channel of its own."""

    def __init__(self, address: str, clip: bytes, callers: int = 4) -> None:
        self.answers: list[Answer] = []
        self.errors: list[grpc.RpcError] = []
        self._request = evaluator_pb2.RecognizeRequest(landmarks=clip)
        self._address = address
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(callers)]

    def _call(self) -> None:
        # Without a pool of its own, all callers would share one connection.
        with grpc.insecure_channel(self._address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub = evaluator_pb2_grpc.RecognizerStub(channel)
            while not self._stop.is_set():
                begun = time.monotonic()
                try:
                    answer = stub.Recognize(self._request, timeout=SECONDS)
                except grpc.RpcError as error:
                    self.errors.append(error)
                    return
                gloss = answer.predictions[0].gloss
                self.answers.append(Answer(begun, time.monotonic(), answer.model_version, gloss))

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(SECONDS)


@pytest.fixture
def clip(sign: Any) -> bytes:
    """A clip of `drink`."""
    return landmarks.dump(sign("new", "", place_of(2, 6), frames=40))


def test_twenty_promotions_and_rollbacks_under_load_fail_no_call(
    world: "World", snapshot: Dataset, card: ModelCard, clip: bytes
) -> None:
    places = [place_of(index, len(GLOSSES)) for index in range(len(GLOSSES))]
    other = world.publish(snapshot, make_graph(places[::-1]))
    glosses = {card.version: "drink", other.version: "go"}
    served: list[tuple[str, float, float]] = []  # a version, and the time in which no other one was current
    with started(world, SIGNET_REFRESH_SECONDS="0.02") as process:
        with Load(process.address, clip) as load:
            wait_for(lambda: len(load.answers) > 20)
            begun = time.monotonic()
            for number in range(20):
                old, new = (other, card) if number % 2 == 0 else (card, other)
                served.append((old.version, begun, time.monotonic()))
                registry.move_alias(world.store, "signet", LATEST, new.version)

                def switched(moved: float = served[-1][2], version: str = new.version) -> bool:
                    return any(one.version == version and one.begun > moved for one in load.answers[-100:])

                wait_for(switched)
                begun = time.monotonic()
            status = grpc_status(process.address)
            assert (status.model_version, status.reason) == (other.version, "")
            assert process.sample("signet_evaluator_models_loaded") == 1
            assert process.sample('signet_evaluator_model_unloads_total{reason="replaced"}') == 20
        assert process.stop() == 0
    assert load.errors == []
    assert {(answer.version, answer.gloss) for answer in load.answers} == set(glosses.items())
    wrong = [
        answer
        for version, begun, ended in served
        for answer in load.answers
        if begun <= answer.begun and answer.ended <= ended and answer.version != version
    ]
    assert wrong == []
    assert "Traceback" not in "".join(process.log)


def worker_ids(process: Process) -> list[int]:
    """The worker processes of an evaluator."""
    tasks = Path(f"/proc/{process.process.pid}/task").glob("*/children")
    return [int(pid) for task in tasks for pid in task.read_text().split()]


def test_killed_workers_under_load_fail_no_call_and_all_workers_end_with_the_process(
    world: "World", card: ModelCard, clip: bytes
) -> None:
    with started(world, SIGNET_COMPUTE_PROCESSES="2") as process:
        with Load(process.address, clip) as load:
            for killed in range(3):
                wait_for(lambda: process.sample("signet_evaluator_compute_processes") == 2)
                answered = len(load.answers)
                wait_for(lambda answered=answered: len(load.answers) > answered + 20)  # type: ignore[misc]
                os.kill(worker_ids(process)[0], signal.SIGKILL)

                def ended(count: int = killed + 1) -> bool:
                    return process.sample("signet_evaluator_compute_process_ends_total") == count

                wait_for(ended)
            wait_for(lambda: process.sample("signet_evaluator_compute_processes") == 2)
            workers = worker_ids(process)
            assert len(workers) == 2
        assert load.errors == []
        assert {(answer.version, answer.gloss) for answer in load.answers} == {(card.version, "drink")}
        assert process.stop() == 0
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    assert "Traceback" not in "".join(process.log)


def test_workers_end_when_the_process_is_killed_under_load(world: "World", card: ModelCard, clip: bytes) -> None:
    with started(world, SIGNET_COMPUTE_PROCESSES="2") as process, Load(process.address, clip) as load:
        wait_for(lambda: len(load.answers) > 20)
        workers = worker_ids(process)
        assert len(workers) == 2
        process.process.kill()
        process.process.wait()
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    assert load.errors


def grpc_status(address: str) -> evaluator_pb2.ModelStatus:
    with grpc.insecure_channel(address) as channel:
        stub = evaluator_pb2_grpc.RecognizerStub(channel)
        answer: evaluator_pb2.GetServingStatusResponse = stub.GetServingStatus(
            evaluator_pb2.GetServingStatusRequest(), timeout=SECONDS
        )
        return answer.models[0]


class SlowStandIn(extractor_pb2_grpc.ExtractorServicer):
    """An extractor that takes two seconds for each video."""

    def __init__(self, clip: bytes) -> None:
        self.begun = threading.Semaphore(0)
        self._clip = clip

    def ExtractClip(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        self.begun.release()
        time.sleep(2.0)
        return extractor_pb2.ExtractClipResponse(landmarks=self._clip)


@contextmanager
def slow_extractor(clip: bytes) -> Iterator[tuple[SlowStandIn, str]]:
    servicer = SlowStandIn(clip)
    with stand_in_extractor(servicer, 8) as address:
        yield servicer, address


def test_sigterm_under_load_loses_no_call_that_has_begun(world: "World", card: ModelCard, clip: bytes) -> None:
    with (
        slow_extractor(clip) as (extractor, address),
        started(world, SIGNET_EXTRACTOR=address) as process,
        Load(process.address, clip, callers=32) as load,
        grpc.insecure_channel(process.address) as channel,
    ):
        stub = evaluator_pb2_grpc.RecognizerStub(channel)
        wait_for(lambda: len(load.answers) > 20)
        slow = [stub.Recognize.future(evaluator_pb2.RecognizeRequest(video=b"v"), timeout=SECONDS) for _ in range(4)]
        for _ in slow:
            assert extractor.begun.acquire(timeout=SECONDS)
        process.process.send_signal(signal.SIGTERM)
        stopped = time.monotonic()
        assert [call.result().predictions[0].gloss for call in slow] == ["drink"] * 4
        assert process.process.wait(SECONDS) == 0
        assert time.monotonic() - stopped < 10
    assert len(load.errors) == 32
    for error in load.errors:
        assert isinstance(error, grpc.Call)
        # The server has begun none of these calls. gRPC itself would reset some, and then the status is CANCELLED.
        assert error.code() is grpc.StatusCode.UNAVAILABLE, error
        assert any(words in str(error.details()) for words in ("Connection refused", "is stopping")), error.details()


def test_serving_goes_on_while_the_store_is_dead_and_the_alias_is_followed_after_it(
    world: "World", clip: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalStore(tmp_path / "s3") as server:
        monkeypatch.setattr(seaweedfs, "free_ports", lambda _, ports=server._ports: ports)
        world.store = server.open()
        snapshot = world.snapshot(world.everyday_clips())
        card = world.publish(snapshot)
        with started(world, **server.environment) as process:
            with Load(process.address, clip, callers=2) as load:
                wait_for(lambda: len(load.answers) > 20)
                os.kill(server.pid, signal.SIGKILL)
                server.stop()
                wait_for(lambda: process.sample("signet_evaluator_store_up") == 0)
                answered = len(load.answers)
                time.sleep(3.0)
                assert len(load.answers) > answered + 20
                assert {answer.version for answer in load.answers} == {card.version}
                server.start()
                newer = world.publish(snapshot)
                wait_for(lambda: load.answers[-1].version == newer.version)
                assert process.sample("signet_evaluator_store_up") == 1
            assert load.errors == []
            assert process.stop() == 0


def test_a_store_that_does_not_answer_delays_neither_calls_nor_the_end_of_the_process(
    world: "World", clip: bytes, tmp_path: Path
) -> None:
    with LocalStore(tmp_path / "s3") as server:
        world.store = server.open()
        world.publish(world.snapshot(world.everyday_clips()))
        with started(world, **server.environment) as process:
            try:
                os.kill(server.pid, signal.SIGSTOP)
                time.sleep(0.5)  # several looks at the alias
                with Load(process.address, clip, callers=2) as load:
                    wait_for(lambda: len(load.answers) > 50)
                assert load.errors == []
                with grpc.insecure_channel(process.address) as channel:
                    reports = evaluator_pb2_grpc.EvaluationStub(channel)
                    reading = reports.RunEvaluation.future(evaluator_pb2.RunEvaluationRequest(), timeout=SECONDS)
                    time.sleep(0.2)
                    begun = time.monotonic()
                    assert process.stop() == 0
                    assert time.monotonic() - begun < 10.5
                    assert reading.code() is not grpc.StatusCode.OK
            finally:
                os.kill(server.pid, signal.SIGCONT)
        assert "Traceback" not in "".join(process.log)
