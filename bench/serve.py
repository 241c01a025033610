"""Compares the requests a second of the evaluator with those of MLServer with the same graph, and of an older commit.

    python -m bench.serve --store STORE --model MODEL [--models STORE] [--old TREE] [--mlserver FOLDER] [--rounds N]
    python -m bench.serve --store STORE --model MODEL --check

The requests are the landmarks of real clips in `--store`; `--models` is the store of the model, if it is another one.
A closed loop of 1, 8 and 32 callers sends them, from a load generator on the same cores. MLServer gets the inputs of
the graph, which are prepared already, and returns the output of the graph, which is not decoded. Its adaptive batching
needs inputs of one length, so they are padded for it; without batching they are not. The servers take turns in short
rounds, so that a slower machine is slower for all of them.

With `--check`, each answer under load is compared with the answer for the clip alone.

The figures are saved in bench/results/serve.json. The exit status is 1 if a bar is missed.
"""

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from bench.record import load_results, origin, save_results
from bench.serving.check import check_answers
from bench.serving.load import LoadResult, put_load, write_messages
from bench.serving.servers import (
    Server,
    install_mlserver,
    make_mlserver_requests,
    start_evaluator,
    start_mlserver,
)
from signet import landmarks, registry
from signet.landmarks import to_model_input
from signet.store import ObjectStore
from signet.store.options import open_store_option
from signet.terminal.command import run_command
from signet.terminal.output import TableColumn, open_console, print_line, print_table
from signet.v1 import evaluator_pb2

RESULTS = Path("bench/results/serve.json")
CALLERS = (1, 8, 32)
NEW, OLD, MLSERVER, BATCHED = "signet", "signet, older", "MLServer", "MLServer, batching"

# The bars: times the requests a second of MLServer, at most its p99; times those of the older commit with 32 callers;
# and the median of one request on an idle server, in ms.
MIN_TIMES_MLSERVER = {1: 1.0, 8: 1.5, 32: 1.5}
MIN_TIMES_OLD = 12.0
MAX_IDLE_MS = 2.5
# More callers may cost this share of the requests a second, which is the noise of a round.
_NOISE = 0.05

_WARM_UP_SECONDS = 1.0
_REQUESTS = 100

Row = dict[str, Any]


def read_clips(store: ObjectStore, count: int) -> list[bytes]:
    """The landmarks of clips, evenly spread over all clips in the store."""
    keys = sorted(entry.key for entry in store.list("landmarks/v1/") if entry.key.endswith(".safetensors"))
    if not keys:
        raise SystemExit(f"{store.url}: there are no landmarks. `signet extract` or `signet import` stores some.")
    return [store.get(keys[index]) for index in np.linspace(0, len(keys) - 1, min(count, len(keys))).astype(int)]


def write_requests(clips: Sequence[bytes], folder: Path) -> Path:
    """Requests to an evaluator."""
    path = folder / "recognize"
    write_messages(path, [evaluator_pb2.RecognizeRequest(landmarks=clip).SerializeToString() for clip in clips])
    return path


def write_inputs(clips: Sequence[bytes], path: Path, *, padded: bool) -> Path:
    """The inputs of the graph, for `make_mlserver_requests`: each array's name has the length of the clip."""
    inputs = [to_model_input(landmarks.load(clip)) for clip in clips]
    longest = max(map(len, inputs))
    arrays = {}
    for number, frames in enumerate(inputs):
        missing = longest - len(frames) if padded else 0
        arrays[f"{number}-{len(frames)}"] = np.pad(frames, ((0, missing), (0, 0), (0, 0)), constant_values=np.nan)
    np.savez(path, **arrays)
    return path


def measure(servers: dict[str, Server], rounds: int, seconds: float) -> dict[str, Row]:
    """Put load on the servers in turn. The figures of a server and a number of callers are medians over the rounds."""
    found: dict[str, list[Row]] = {}
    for number in range(rounds + 1):
        for callers in CALLERS:
            for name, server in servers.items():
                cpu = server.cpu_seconds()
                duration = seconds if number else _WARM_UP_SECONDS
                result = put_load(server.address, server.method, server.requests, callers, duration)
                if number:  # the first round warms up
                    found.setdefault(f"{name}, {callers}", []).append(_row(result, server.cpu_seconds() - cpu))
    rows = {name: {key: statistics.median(row[key] for row in of) for key in of[0]} for name, of in found.items()}
    for name, row in rows.items():
        row["megabytes"] = round(servers[name.rpartition(", ")[0]].megabytes())
    return rows


def _row(result: LoadResult, cpu: float) -> Row:
    count = max(result.answered, 1)
    return {
        "requests_per_second": round(result.answered / result.seconds, 1),
        "p50_ms": round(result.p50_ms, 2),
        "p99_ms": round(result.p99_ms, 2),
        "server_cpu_ms": round(cpu / count * 1e3, 3),
        "client_cpu_ms": round(result.cpu_seconds / count * 1e3, 3),
        "errors": sum(result.errors.values()),
    }


def missed_bars(rows: dict[str, Row]) -> list[str]:
    """The bars that the figures miss, in words."""
    missed = []
    rates = {name: row["requests_per_second"] for name, row in rows.items()}
    for callers in CALLERS:
        others = [name for name in (f"{MLSERVER}, {callers}", f"{BATCHED}, {callers}") if name in rows]
        if others:
            best, own = max(others, key=rates.__getitem__), f"{NEW}, {callers}"
            times, bar = rates[own] / rates[best], MIN_TIMES_MLSERVER[callers]
            if times < bar:
                missed.append(f"{own}: {times:.2f} times the requests a second of {best}; the bar is {bar:g}")
            if rows[own]["p99_ms"] > rows[best]["p99_ms"]:
                missed.append(f"{own}: p99 {rows[own]['p99_ms']:g} ms; {best} has {rows[best]['p99_ms']:g}")
    if f"{OLD}, 32" in rows and rates[f"{NEW}, 32"] < MIN_TIMES_OLD * rates[f"{OLD}, 32"]:
        times = rates[f"{NEW}, 32"] / rates[f"{OLD}, 32"]
        missed.append(f"{NEW}, 32: {times:.1f} times the older commit; the bar is {MIN_TIMES_OLD:g}")
    if rows[f"{NEW}, 1"]["p50_ms"] > MAX_IDLE_MS:
        missed.append(f"{NEW}, 1: p50 {rows[f'{NEW}, 1']['p50_ms']:g} ms; the bar is {MAX_IDLE_MS:g}")
    for fewer, more in pairwise(CALLERS):
        if rates[f"{NEW}, {more}"] < (1 - _NOISE) * rates[f"{NEW}, {fewer}"]:
            missed.append(f"{NEW}: {more} callers get less than {fewer}")
    missed += [f"{name}: {row['errors']:g} calls failed" for name, row in rows.items() if row["errors"]]
    return missed


def main() -> None:
    """Measure, save, and print; or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True, help="the store of the landmarks")
    parser.add_argument("--models", default="", help="the store of the model; the same by default")
    parser.add_argument("--model", required=True, help="the name of the model; its version `latest` is served")
    parser.add_argument("--old", type=Path, help="a checkout of an older commit, with its environment in .venv")
    parser.add_argument("--mlserver", type=Path, help="the folder of MLServer's environment, which is made if missing")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="the length of one measurement")
    parser.add_argument("--check", action="store_true", help="compare the answers with those for each clip alone")
    parser.add_argument("flags", nargs="*", help="flags for the evaluator, after --")
    chosen = parser.parse_args()
    console = open_console()
    store = open_store_option(chosen.store, must_exist=True)
    models = open_store_option(chosen.models or chosen.store, must_exist=True)
    clips = read_clips(store, _REQUESTS)
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as running:
        folder = Path(temporary)
        requests = write_requests(clips, folder)
        new = start_evaluator(models.url, chosen.model, requests, folder / "log", flags=tuple(chosen.flags))
        servers = {NEW: running.enter_context(new)}
        if chosen.check:
            summary, faults = check_answers(
                servers[NEW], models, chosen.model, clips, chosen.seconds, folder / "answers"
            )
            for line in (*faults, summary):
                print_line(console, line)
            raise SystemExit(bool(faults))
        if chosen.old:
            old = start_evaluator(models.url, chosen.model, requests, folder / "old log", chosen.old)
            servers[OLD] = running.enter_context(old)
        if chosen.mlserver:
            install_mlserver(chosen.mlserver)
            graph = folder / "model.onnx"
            version = registry.resolve(models, chosen.model, registry.LATEST)
            card = registry.read_card(models, chosen.model, version)
            graph.write_bytes(registry.read_file(models, card, "model.onnx"))
            for name, batching in ((MLSERVER, False), (BATCHED, True)):
                inputs = write_inputs(clips, folder / f"{name}.npz", padded=batching)
                make_mlserver_requests(chosen.mlserver, inputs, folder / f"{name} requests")
                server = start_mlserver(
                    chosen.mlserver, graph, folder / f"{name} requests", folder / name, batching=batching
                )
                servers[name] = running.enter_context(server)
        rows = measure(servers, chosen.rounds, chosen.seconds)
    results = load_results(RESULTS) | {name: row | origin() for name, row in rows.items()}
    save_results(RESULTS, results)
    columns = [TableColumn("server, callers"), *(TableColumn(name, "right") for name in next(iter(rows.values())))]
    print_table(console, columns, [[name, *(f"{value:g}" for value in row.values())] for name, row in rows.items()])
    missed = missed_bars(rows)
    for line in missed:
        print_line(console, line)
    raise SystemExit(bool(missed))


if __name__ == "__main__":
    run_command(main)
