"""The trainer as its clients meet it: over gRPC, and from the command line."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import Any, NamedTuple

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from typer.testing import CliRunner

from services.trainer.cli import app
from services.trainer.config.flags import OTHER, PANELS, flag
from services.trainer.config.train_config import TrainConfig
from services.trainer.runs.listing import list_runs
from services.trainer.runs.metrics import TrainerMetrics
from services.trainer.runs.queue import TrainingQueue
from services.trainer.service import TrainerServicer
from signet.errors import InvalidInput, NotFound, NotReady, Unavailable
from signet.registry import read_card
from signet.rpc.client import Client, signet_errors
from signet.rpc.server import ServiceServer
from signet.rpc.settings import ServiceSettings
from signet.store import DirectoryStore, ObjectStore
from signet.v1 import trainer_pb2 as pb
from signet.v1 import trainer_pb2_grpc
from tests.services.trainer.conftest import Fill

QUICK = {"num_epochs": 3, "hidden_dim": 8, "batch_size": 8}


class Trainer(NamedTuple):
    """What a test holds of a trainer: a client of it, its metrics, and what it closes when it stops."""

    client: Client
    registry: CollectorRegistry
    runs: TrainingQueue


@contextmanager
def serving(store: ObjectStore) -> Iterator[Trainer]:
    """A trainer on a free port of this machine."""
    registry = CollectorRegistry()
    runs = TrainingQueue(store, TrainerMetrics(registry))
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
            yield Trainer(client, registry, runs)
    finally:
        done.set()
        thread.join(60)


def start(client: Client, **config: Any) -> str:
    run_id: str = client.trainer.StartRun(pb.StartRunRequest(config=pb.TrainConfig(**config))).run_id
    return run_id


def watch(client: Client, run_id: str) -> list[pb.WatchRunResponse]:
    return list(client.trainer.WatchRun(pb.WatchRunRequest(run_id=run_id), timeout=120))


def test_a_run_is_watched_from_start_to_published_model_though_the_trainer_is_then_told_to_stop(
    directory_store: DirectoryStore, fill: Fill
) -> None:
    with serving(fill(directory_store)) as (client, registry, runs):
        run_id = start(client, **QUICK)
        live = client.trainer.WatchRun(pb.WatchRunRequest(run_id=run_id), timeout=120)
        assert any(event.epoch.epoch == QUICK["num_epochs"] for event in live)
        # What is trained is published: here it is being exported.
        runs.close()
        events = [event for event in watch(client, run_id) if event.WhichOneof("event") != "queued"]
        assert [event.WhichOneof("event") for event in events] == ["started", "epoch", "epoch", "epoch", "finished"]
        finished = events[-1].finished
        assert finished.state == pb.RUN_STATE_SUCCEEDED
        assert finished.model_version
        assert events[3].epoch.train_clips == 18, "judged after the last epoch"
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
    with serving(fill(directory_store)) as (client, _, _):
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


def test_a_trainer_told_to_stop_gives_its_runs_up_at_once_and_publishes_nothing(
    directory_store: DirectoryStore, fill: Fill
) -> None:
    with serving(fill(directory_store)) as (client, registry, runs):
        run_id = start(client, num_epochs=100_000)
        waiting = start(client, **QUICK)
        live = client.trainer.WatchRun(pb.WatchRunRequest(run_id=run_id), timeout=120)
        assert any(event.WhichOneof("event") == "epoch" for event in live)
        started = monotonic()
        runs.close()
        assert monotonic() - started < 3, "between two batches of the default size, on a busy machine"
        finished = list(live)[-1].finished
        assert finished.state == pb.RUN_STATE_INTERRUPTED
        assert "the trainer was stopped" in finished.error
        assert not finished.model_version
        assert watch(client, waiting)[-1].finished.state == pb.RUN_STATE_INTERRUPTED
        with signet_errors_raised(Unavailable, "shutting down"):
            start(client, **QUICK)
        assert 'signet_trainer_runs_total{state="interrupted"} 2.0' in generate_latest(registry).decode()
    assert not list(directory_store.list("models/"))
    (summary,) = list_runs(directory_store, {})
    assert (summary.run_id, summary.state) == (run_id, "interrupted")


def test_an_interrupted_run_goes_on_over_grpc_from_what_was_kept(directory_store: DirectoryStore, fill: Fill) -> None:
    with serving(fill(directory_store)) as (client, _, runs):
        run_id = start(client, num_epochs=60, hidden_dim=4, publish="none")
        live = client.trainer.WatchRun(pb.WatchRunRequest(run_id=run_id), timeout=120)
        assert any(event.epoch.epoch == 5 for event in live)
        runs.close()
        finished = list(live)[-1].finished
        assert f"`signet train --resume {run_id}` goes on after epoch" in finished.error
    with serving(directory_store) as (client, registry, _):
        (listed,) = client.trainer.ListRuns(pb.ListRunsRequest()).runs
        assert (listed.state, listed.epochs >= 5) == (pb.RUN_STATE_INTERRUPTED, True)
        with signet_errors_raised(InvalidInput, "lr 0.5 instead of"):
            client.trainer.StartRun(pb.StartRunRequest(resume_run_id=run_id, config=pb.TrainConfig(lr=0.5)))
        again = client.trainer.StartRun(pb.StartRunRequest(resume_run_id=run_id, config=pb.TrainConfig(device="cpu")))
        assert again.run_id == run_id
        events = [event for event in watch(client, run_id) if event.WhichOneof("event") != "queued"]
        assert events[0].started.epochs_before == listed.epochs
        assert [event.epoch.epoch for event in events[1:-1]] == list(range(listed.epochs + 1, 61))
        assert events[-1].finished.state == pb.RUN_STATE_SUCCEEDED
        assert f"signet_trainer_resumed_epochs {float(listed.epochs)}" in generate_latest(registry).decode()
        for unusable, kind, named in ((run_id, NotReady, "has ended"), ("nope", NotFound, "'nope'")):
            with signet_errors_raised(kind, named):
                client.trainer.StartRun(pb.StartRunRequest(resume_run_id=unusable))


def test_members_are_told_of_one_by_one_and_all_together(directory_store: DirectoryStore, fill: Fill) -> None:
    with serving(fill(directory_store)) as (client, registry, _):
        run_id = start(client, num_epochs=2, hidden_dim=4, seeds=2, folds=2)
        events = watch(client, run_id)
        exposed = generate_latest(registry).decode()
        (listed,) = client.trainer.ListRuns(pb.ListRunsRequest()).runs
    (started,) = [event.started for event in events if event.HasField("started")]
    assert (started.members, started.seeds, started.folds, started.val_clips) == (4, 2, 2, 24)
    epochs = [event.epoch for event in events if event.HasField("epoch")]
    assert [(one.member, one.fold, one.seed) for one in epochs[::2]] == [(1, 0, 0), (2, 1, 0), (3, 0, 1), (4, 1, 1)]
    finished = events[-1].finished
    assert not finished.model_version
    assert [member.tally.clips for member in finished.members] == [12, 12, 12, 12]
    assert finished.ensemble.clips == finished.val_clips == 24
    assert (listed.members, listed.members_done) == (4, 4)
    for series in ("signet_trainer_member 4.0", "signet_trainer_members 4.0"):
        assert series in exposed


def test_a_run_that_cannot_begin_says_why(directory_store: DirectoryStore) -> None:
    with serving(directory_store) as (client, _, _):
        finished = watch(client, start(client, **QUICK))[-1].finished
    assert finished.state == pb.RUN_STATE_FAILED
    assert "signet extract" in finished.error


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"optimizer": "magic"}, "optimizer"),
        ({"dropout": 2.0}, "dropout"),
        ({"num_epochs": 0}, "num_epochs"),
        ({"max_gpu_temperature": 20.0}, "max_gpu_temperature=20.0: No GPU in use is that cool"),
        ({"max_gpu_temperature": 120.0}, "max_gpu_temperature"),
        ({"corpus": "../x"}, "corpus='../x': There can be no such name"),
        ({"model_name": "m" * 129}, "model_name='mmm"),
        ({"model_name": "m" * 20_000_000}, "the request has 20000010 bytes; at most 1048576 are allowed"),
        ({"start_from": "a@b@c"}, "start_from='a@b@c': Give run, name, name@alias or name@version"),
        ({"device": "cuda:" + "9" * 990}, "device='cuda:9"),
        ({"weight_decay": float("inf")}, "weight_decay"),
        ({"max_glosses": 2**32 - 1}, "max_glosses"),
        ({"hidden_dim": 4096, "num_layers": 8, "branches": 64}, "has about 206158430208 weights"),
    ],
)
def test_an_unusable_configuration_is_refused_by_name(
    directory_store: DirectoryStore, config: dict[str, object], named: str
) -> None:
    with serving(directory_store) as (client, _, _), signet_errors_raised(InvalidInput, named):
        start(client, **config)
    assert not list(directory_store.list("")), "nothing was written"


def test_every_field_of_the_configuration_is_one_of_the_contract() -> None:
    assert list(TrainConfig.model_fields) == [field.name for field in pb.TrainConfig.DESCRIPTOR.fields]


def test_an_unknown_run_is_not_found(directory_store: DirectoryStore) -> None:
    with serving(directory_store) as (client, _, _):
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
    for part in ("parameters", "18 train and 0 val", "epoch 2/2", "accuracy of the model is not known", "published"):
        assert part in trained.output
    assert plot.read_bytes().startswith(b"<?xml")
    listed = CliRunner().invoke(app, ["runs", *store], catch_exceptions=False)
    assert re.search(r"succeeded\s+2\s", listed.output)
    ended = CliRunner().invoke(app, ["train", *store, "--resume", "latest"])
    assert isinstance(ended.exception, NotFound)
    assert "no run was interrupted" in str(ended.exception)


def test_help_explains_every_flag_under_what_it_is_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = CliRunner().invoke(app, ["train", "--help"]).output
    for name in TrainConfig.model_fields:
        assert re.search(rf"{flag(name)}\b.*\w{{3}}", shown), name
    titles = re.findall(r"╭─ (.+?) ─+╮", shown)
    assert titles == ["Options", *PANELS], f"a flag stands in no panel: give it one in PANELS ({OTHER})"
    assert [name for names in PANELS.values() for name in names if name not in TrainConfig.model_fields] == []


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--dropout", "2"], "--dropout 2.0: Input should be less than 1"),
        (["--folds", "5", "--patience", "3"], "--folds with --patience"),
        (["--resume", "nope"], "no run 'nope'"),
    ],
)
def test_a_flag_that_cannot_be_used_is_named(directory_store: DirectoryStore, flags: list[str], named: str) -> None:
    refused = CliRunner().invoke(app, ["train", "--store", directory_store.url, *flags])
    assert isinstance(refused.exception, InvalidInput | NotFound)
    assert named in str(refused.exception)
    assert not list(directory_store.list("runs/"))
