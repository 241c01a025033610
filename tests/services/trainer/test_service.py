"""The trainer as its clients meet it: over gRPC, and from the command line."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from typer.testing import CliRunner

from services.trainer.cli import app
from services.trainer.metrics import TrainerMetrics
from services.trainer.runs import Runs
from services.trainer.service import TrainerServicer
from signet.client import Client, signet_errors
from signet.errors import InvalidInput, NotFound
from signet.registry import read_card
from signet.server import ServiceServer
from signet.settings import ServiceSettings
from signet.store import DirectoryStore, ObjectStore
from signet.v1 import trainer_pb2 as pb
from signet.v1 import trainer_pb2_grpc
from tests.services.trainer.conftest import Fill

QUICK = {"num_epochs": 3, "hidden_dim": 8, "batch_size": 8}


@contextmanager
def serving(store: ObjectStore) -> Iterator[tuple[Client, CollectorRegistry]]:
    """A trainer on a free port of this machine."""
    registry = CollectorRegistry()
    runs = Runs(store, TrainerMetrics(registry))
    ready, done, port = Event(), Event(), []

    async def serve() -> None:
        server = ServiceServer(ServiceSettings(_cli_parse_args=[]), registry)
        server.add("signet.v1.Trainer", trainer_pb2_grpc.add_TrainerServicer_to_server, TrainerServicer(runs))
        await server.start()
        port.append(server.port)
        ready.set()
        await asyncio.to_thread(done.wait)
        await asyncio.to_thread(runs.close)
        await server.stop()

    thread = Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(20)
    try:
        with Client(trainer=f"127.0.0.1:{port[0]}") as client:
            yield client, registry
    finally:
        done.set()
        thread.join(60)


def start(client: Client, **config: Any) -> str:
    run_id: str = client.trainer.StartRun(pb.StartRunRequest(config=pb.TrainConfig(**config))).run_id
    return run_id


def watch(client: Client, run_id: str) -> list[pb.WatchRunResponse]:
    return list(client.trainer.WatchRun(pb.WatchRunRequest(run_id=run_id), timeout=120))


def test_a_run_is_watched_from_start_to_published_model(directory_store: DirectoryStore, fill: Fill) -> None:
    with serving(fill(directory_store)) as (client, registry):
        run_id = start(client, **QUICK)
        events = [event for event in watch(client, run_id) if event.WhichOneof("event") != "queued"]
        assert [event.WhichOneof("event") for event in events] == ["started", "epoch", "epoch", "epoch", "finished"]
        finished = events[-1].finished
        assert finished.state == pb.RUN_STATE_SUCCEEDED
        assert finished.model_version
        assert watch(client, run_id)[-1] == events[-1], "a late watcher sees the same"
        card = read_card(directory_store, "signet", finished.model_version)
        assert card.selected_on == "", "val had no say"
        (listed,) = client.trainer.ListRuns(pb.ListRunsRequest()).runs
        assert (listed.run_id, listed.state, listed.epochs) == (run_id, pb.RUN_STATE_SUCCEEDED, 3)
        exposed = generate_latest(registry).decode()
    for series in (
        "signet_trainer_epoch 3.0",
        'signet_trainer_loss{split="val"}',
        "signet_trainer_exact_greedy_gap_ratio",
    ):
        assert series in exposed
    assert 'signet_trainer_runs_total{state="succeeded"} 1.0' in exposed


def test_runs_wait_for_one_another_and_can_be_stopped(directory_store: DirectoryStore, fill: Fill) -> None:
    with serving(fill(directory_store)) as (client, _):
        long = start(client, **QUICK | {"num_epochs": 100_000})
        waiting = start(client, **QUICK)
        live = client.trainer.WatchRun(pb.WatchRunRequest(run_id=long), timeout=120)
        assert any(event.WhichOneof("event") == "epoch" for event in live)
        first = next(iter(client.trainer.WatchRun(pb.WatchRunRequest(run_id=waiting), timeout=60)))
        assert first.queued.runs_ahead == 1
        client.trainer.StopRun(pb.StopRunRequest(run_id=waiting))
        client.trainer.StopRun(pb.StopRunRequest(run_id=long))
        stopped = watch(client, long)[-1].finished
        assert stopped.state == pb.RUN_STATE_STOPPED
        assert stopped.model_version, "what there is is published"
        assert watch(client, waiting)[-1].finished.state == pb.RUN_STATE_STOPPED


def test_a_run_that_cannot_begin_says_why(directory_store: DirectoryStore) -> None:
    with serving(directory_store) as (client, _):
        finished = watch(client, start(client, **QUICK))[-1].finished
    assert finished.state == pb.RUN_STATE_FAILED
    assert "signet extract" in finished.error


@pytest.mark.parametrize(
    ("config", "named"),
    [({"optimizer": "magic"}, "optimizer"), ({"dropout": 2.0}, "dropout"), ({"num_epochs": 0}, "num_epochs")],
)
def test_an_unusable_configuration_is_refused_by_name(
    directory_store: DirectoryStore, config: dict[str, object], named: str
) -> None:
    with serving(directory_store) as (client, _), signet_errors_raised(InvalidInput, named):
        start(client, **config)


def test_an_unknown_run_is_not_found(directory_store: DirectoryStore) -> None:
    with serving(directory_store) as (client, _):
        with signet_errors_raised(NotFound, "'nope'"):
            watch(client, "nope")
        with signet_errors_raised(NotFound, "'nope'"):
            client.trainer.StopRun(pb.StopRunRequest(run_id="nope"))


@contextmanager
def signet_errors_raised(kind: type[Exception], named: str) -> Iterator[None]:
    with pytest.raises(kind, match=named), signet_errors():
        yield


def test_the_command_line_trains_lists_and_draws_even_without_val_clips(
    directory_store: DirectoryStore, fill: Fill, tmp_path: Path
) -> None:
    fill(directory_store)
    for info in list(directory_store.list("landmarks/")):
        if info.key.endswith(("-6.safetensors", "-7.safetensors")):
            directory_store.delete(info.key)
    store = ["--store", directory_store.url]
    plot = tmp_path / "curves.svg"
    trained = CliRunner().invoke(
        app, ["train", *store, "--num-epochs", "2", "--hidden-dim", "8", "--plot", str(plot)], catch_exceptions=False
    )
    assert trained.exit_code == 0
    for part in ("parameters", "18 train and 0 val", "epoch 2/2", "nothing is known", "published"):
        assert part in trained.output
    assert plot.read_bytes().startswith(b"<?xml")
    listed = CliRunner().invoke(app, ["runs", *store], catch_exceptions=False)
    assert re.search(r"succeeded\s+2\s", listed.output)


def test_help_explains_every_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = CliRunner().invoke(app, ["train", "--help"]).output
    for flag in (
        "max-glosses", "device", "batch-size", "num-epochs", "hidden-dim", "num-layers", "dropout",
        "weight-decay", "lr", "optimizer", "blank-penalty", "target-accuracy", "seed",
    ):  # fmt: skip
        assert re.search(rf"--{flag}\b.*\w{{3}}", shown), flag
