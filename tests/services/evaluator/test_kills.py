"""A real evaluator process that is killed at random moments. The next one serves, and the store is whole."""

import random
import threading
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from services.evaluator.reports.report_store import list_report_ids, read_report, read_report_html
from signet import landmarks, registry
from signet.datasets.snapshot import Dataset
from signet.registry import LATEST, ModelCard
from signet.v1 import evaluator_pb2, evaluator_pb2_grpc, registry_pb2, registry_pb2_grpc
from tests.services.evaluator.conftest import place_of
from tests.services.evaluator.test_process import Process, started
from tests.services.evaluator.test_reloads import SECONDS

if TYPE_CHECKING:
    from tests.services.evaluator.conftest import World

KILLS = 3
# A load of a version, a report and some promotions take less, also on a busy machine.
MOST_SECONDS = 0.6


def keep_loading(world: "World", versions: list[str], channel: grpc.Channel) -> None:
    """Let the evaluator load one version after the other."""
    stub = evaluator_pb2_grpc.RecognizerStub(channel)
    for number in range(1000):
        registry.promote(world.store, "signet", versions[number % 2], LATEST)
        time.sleep(0.05)
        stub.GetServingStatus(evaluator_pb2.GetServingStatusRequest(), timeout=SECONDS)


def keep_promoting(_world: "World", versions: list[str], channel: grpc.Channel) -> None:
    """Let the evaluator move an alias."""
    stub = registry_pb2_grpc.RegistryStub(channel)
    for number in range(1000):
        stub.Promote(registry_pb2.PromoteRequest(model_version=versions[number % 2]), timeout=SECONDS)


def keep_reporting(_world: "World", versions: list[str], channel: grpc.Channel) -> None:
    """Let the evaluator write reports."""
    stub = evaluator_pb2_grpc.EvaluationStub(channel)
    for number in range(1000):
        request = evaluator_pb2.RunEvaluationRequest(model_version=versions[number % 2])
        stub.RunEvaluation(request, timeout=SECONDS)


def until_killed(work: Any, world: "World", versions: list[str], channel: grpc.Channel) -> None:
    try:
        work(world, versions, channel)
    except grpc.RpcError as error:
        assert error.code() is grpc.StatusCode.UNAVAILABLE, error


@pytest.mark.parametrize("work", [keep_loading, keep_promoting, keep_reporting])
def test_an_evaluator_that_was_killed_is_replaced_by_one_that_serves(
    world: "World", snapshot: Dataset, card: ModelCard, sign: Any, work: Any
) -> None:
    versions = [card.version, world.publish(snapshot).version]
    clip = landmarks.dump(sign("new", "", place_of(2, 6), frames=40))
    moments = random.Random(f"19 {work.__name__}")  # noqa: S311  (moments are no secrets)
    settings = {"SIGNET_REGISTRY_WRITES": "true", "SIGNET_REFRESH_SECONDS": "0.02"}
    for _ in range(KILLS):
        with started(world, **settings) as process, grpc.insecure_channel(process.address) as channel:
            assert_serves(process, world, clip)
            worker = threading.Thread(target=until_killed, args=(work, world, versions, channel), daemon=True)
            worker.start()
            time.sleep(moments.uniform(0.0, MOST_SECONDS))
            process.process.kill()
            process.process.wait(SECONDS)
            worker.join(SECONDS)
        assert_whole(world, versions)
    with started(world, **settings) as process:
        assert_serves(process, world, clip)
        assert process.stop() == 0
    assert "Traceback" not in "".join(process.log)


def assert_serves(process: Process, world: "World", clip: bytes) -> None:
    """The evaluator recognises a clip, with the version of its alias."""
    with grpc.insecure_channel(process.address) as channel:
        answer = evaluator_pb2_grpc.RecognizerStub(channel).Recognize(
            evaluator_pb2.RecognizeRequest(landmarks=clip), timeout=SECONDS
        )
    assert answer.predictions[0].gloss == "drink"
    assert answer.model_version in registry.versions(world.store, "signet")


def assert_whole(world: "World", versions: list[str]) -> None:
    """Each alias has a linear history and names a version that is there, and each listed report can be read."""
    assert registry.versions(world.store, "signet") == versions
    for alias in registry.read_aliases(world.store, "signet").values():
        assert alias.version in versions
        assert alias.history[-1].version == alias.version
        assert all(after.previous == before.version for before, after in pairwise(alias.history))
    for report_id in list_report_ids(world.store):
        assert read_report(world.store, report_id).provenance.model_version in versions
        assert read_report_html(world.store, report_id)
