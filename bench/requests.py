"""Sends mutated requests: `python -m bench.requests [--requests N] [--minutes M] [--seed N] [--only N]`.

Requests of every method of a service are mutated: bytes of messages (flipped, cut, spliced, repeated), unknown and
repeated fields, numbers and lengths that lie; shapes, types, values, offsets and headers of landmark tensors; names
with control characters, paths and 10,000 characters; tokens, request ids and other metadata; streams of several
messages. They go over real sockets on 127.0.0.1 to real services with tokens. The model is trained on synthetic
landmarks. Bars:

- Each request gets an answer, or a status with a message of one line. No call gets INTERNAL, UNKNOWN or no answer.
- No service ends, and no log has a traceback.
- A valid Recognize after every 100 requests is answered as before the first one.
- At the end, each service has at most 5 % more memory than after the first tenth of the requests.

`--only N` sends the request with the number N again. The exit status is 1 if a bar is missed. The figures are saved in
bench/results/requests.json.
"""

import argparse
import asyncio
import itertools
import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from bench.hostile.corpus import CORPUS, GLOSSES, MODEL
from bench.hostile.meter import read_state
from bench.hostile.requests import HEALTH, REFLECTION, HostileRequest, RequestMutator, ValidParts
from bench.hostile.system import AttackedSystem
from bench.record import load_results, origin, save_results
from bench.serving.pause import add_pause_option, wait_while_paused
from services.evaluator.reports.report_store import list_reports
from signet import registry
from signet.registry.transfer import export_archive
from signet.rpc.limits import CHANNEL_OPTIONS
from signet.security.permissions import Permission
from signet.security.tokens import TokenLimits, create_token
from signet.store import ObjectStore
from signet.terminal.command import run_command
from signet.terminal.output import TableColumn, TextTable, open_console, print_line, print_table
from signet.v1 import evaluator_pb2

REQUESTS = 100_000
RESULTS = Path("bench/results/requests.json")
# The gRPC services of each process. A trainer starts real trainings, and an extractor real extractions.
SERVED = {
    "evaluator": ("signet.v1.Recognizer", "signet.v1.Evaluation", "signet.v1.Registry", HEALTH, REFLECTION),
    "trainer": ("signet.v1.Trainer", HEALTH, REFLECTION),
    "extractor": ("signet.v1.Extractor", HEALTH, REFLECTION),
}
MAX_GROWTH = 0.05

_AT_ONCE = 12
_CALL_SECONDS = 60.0
_CONTROL_EVERY = 100
_SAMPLES = 20
_SHOWN = 20
_TOLERANCE = 1e-5
_STATUSES = {
    "OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED", "UNAUTHENTICATED",
    "PERMISSION_DENIED", "ABORTED", "ALREADY_EXISTS", "DATA_LOSS",
}  # fmt: skip
# The evaluator of this bench has no extractor unless the extractor is attacked, too.
_NO_EXTRACTOR = "this evaluator has no extractor"
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u200b\u2028-\u202e\u2066-\u2069\ufeff]")
_MAX_MESSAGE_BYTES = 2_048
_LOG_FAULT = re.compile(rb"^.*(?:Traceback|unexpected|Segmentation fault| CRITICAL ).*$", re.MULTILINE)


@dataclass
class RequestReport:
    """What became of the requests.

    Attributes:
        statuses: the number of requests by (kind of mutation, status).
        missed: the bars that were missed.
        memory: the resident MB of each service after so many requests.
        controls: the number of valid calls that were answered as expected.
    """

    statuses: Counter[tuple[str, str]] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)
    memory: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    controls: int = 0
    seconds: float = 0.0
    slowest: tuple[float, str] = (0.0, "")

    @property
    def requests(self) -> int:
        """The number of requests."""
        return self.statuses.total()


def find_faults(status: str, message: str) -> list[str]:
    """What is wrong with the answer to a mutated request."""
    if status == "UNAVAILABLE" and message.startswith(_NO_EXTRACTOR):
        return []
    faults = [] if status in _STATUSES else [f"status {status}"]
    if status != "OK" and not message:
        faults.append("no message")
    if "Traceback" in message or _CONTROLS.search(message):
        faults.append("a message of more than one line")
    if len(message.encode()) > _MAX_MESSAGE_BYTES:
        faults.append(f"a message of {len(message.encode())} bytes")
    return faults


class RequestSender:
    """Sends the requests to one service, some at once, with a valid call in between.

    Args:
        report: takes what becomes of them.
        address: host:port of the service.
        control: makes a valid call over a channel, and returns what is wrong with its answer; "" for nothing.
        pause: no call begins while this file exists.
    """

    def __init__(
        self, report: RequestReport, address: str, control: Callable[[Any], Any], pause: Path | None = None
    ) -> None:
        self._pause = pause
        self._report = report
        self._address = address
        self._control = control

    async def send(self, requests: Iterator[HostileRequest], on_progress: Callable[[], None]) -> None:
        """Send all requests."""
        options = [*CHANNEL_OPTIONS, ("grpc.max_send_message_length", -1)]
        async with grpc.aio.insecure_channel(self._address, options=options) as channel:
            await asyncio.gather(*(self._send_some(channel, requests, on_progress) for _ in range(_AT_ONCE)))

    async def _send_some(
        self, channel: Any, requests: Iterator[HostileRequest], on_progress: Callable[[], None]
    ) -> None:
        for request in requests:
            await wait_while_paused(self._pause)
            began = time.monotonic()
            status, message = await _call(channel, self._address, request)
            seconds = time.monotonic() - began
            report = self._report
            report.statuses[request.kind, status] += 1
            report.slowest = max(report.slowest, (round(seconds, 2), f"{request.number}: {request.method}"))
            for fault in find_faults(status, message):
                report.missed.append(f"request {request.number}, {request.method}, {request.kind}: {fault}: {message}")
            if request.number % _CONTROL_EVERY == 0:
                wrong = await self._control(channel)
                report.controls += not wrong
                if wrong:
                    report.missed.append(f"the valid call after request {request.number}: {wrong}")
            on_progress()


async def _call(channel: Any, address: str, request: HostileRequest) -> tuple[str, str]:
    """Make a call of any method. Its status and message."""
    if len(request.messages) != 1:
        return await asyncio.to_thread(_call_with_stream, address, request)
    call = channel.unary_stream(request.method)(*request.messages, timeout=_CALL_SECONDS, metadata=request.metadata)
    try:
        async for _ in call:
            pass
    except grpc.aio.AioRpcError as error:
        return error.code().name, str(error.details() or "")
    return "OK", ""


def _call_with_stream(address: str, request: HostileRequest) -> tuple[str, str]:
    """Make a call with a stream of messages. The asyncio client loses the status of a call that ends before them."""
    with grpc.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
        call = channel.stream_stream(request.method)
        try:
            for _ in call(iter(request.messages), timeout=_CALL_SECONDS, metadata=request.metadata):
                pass
        except grpc.RpcError as error:
            return error.code().name, str(error.details() or "")
    return "OK", ""


class ValidRecognition:
    """A valid Recognize call, whose answer must stay the same. Versions may be exchanged, but have one graph.

    Args:
        landmarks: a valid clip.
        token: a token that may read.
    """

    def __init__(self, landmarks: bytes, token: str) -> None:
        self._request = evaluator_pb2.RecognizeRequest(landmarks=landmarks, top_k=len(GLOSSES)).SerializeToString()
        self._metadata = [("authorization", f"Bearer {token}")]
        self._expected: dict[str, float] = {}

    async def __call__(self, channel: Any) -> str:
        """Make the call; what is wrong with its answer."""
        call = channel.unary_unary("/signet.v1.Recognizer/Recognize")
        try:
            data = await call(self._request, timeout=_CALL_SECONDS, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}"
        answer = evaluator_pb2.RecognizeResponse.FromString(data)
        found = {each.gloss: each.probability for each in answer.predictions}
        self._expected = self._expected or found
        if found.keys() != self._expected.keys() or any(
            abs(found[gloss] - self._expected[gloss]) > _TOLERANCE for gloss in found
        ):
            return f"other predictions than before: {found}, not {self._expected}"
        return ""


def publish_second_version(store: ObjectStore, name: str = MODEL) -> list[str]:
    """Publish the files of the model under a second version; both versions, the oldest first."""
    (version,) = registry.versions(store, name)
    card = registry.read_card(store, name, version)
    files = {file: registry.read_file(store, card, file) for file in card.files}
    copy = card.model_copy(update={"version": f"{version[:-8]}{'f' * 8}"})
    registry.publish(store, copy, files)
    return [version, copy.version]


def make_valid_parts(system: AttackedSystem, tokens: Mapping[str, str]) -> ValidParts:
    """What the valid requests for the services of a system are made of."""
    store = system.store
    versions = registry.versions(store, MODEL)
    archive = b"".join(export_archive(store, MODEL, versions[0])[2])
    names: dict[str, Sequence[str | int]] = {
        "model_name": [MODEL, "", "none"],
        "model_version": [*versions, "latest", "production", ""],
        "alias": ["production", "candidate", "latest"],
        "expected_from": [*versions, ""],
        "split": ["val", "train", ""],
        "report_id": [*(report.report_id for report in list_reports(store)), "none"],
        "corpus": [CORPUS, "none"],
        "service": ["", "signet.v1.Recognizer", f"model:{MODEL}"],
        "top_k": [0, 1, 2, 3],
        "glosses": list(GLOSSES),
    }
    target = system.target()
    return ValidParts(names, target.landmarks, target.video, archive, tokens["write"], tokens["read"])


def make_tokens(file: Path) -> dict[str, str]:
    """Write a file of tokens; the tokens by their permission."""
    return {name: create_token(file, name, TokenLimits(Permission.parse(name))) for name in ("write", "read")}


def send_requests(
    system: AttackedSystem,
    service: str,
    requests: Sequence[HostileRequest] | Iterator[HostileRequest],
    count: int,
    token: str,
    on_progress: Callable[[RequestReport], None] = lambda _: None,
    pause: Path | None = None,
) -> RequestReport:
    """Send requests to a service of a running system, and check the bars.

    Args:
        system: its evaluator must run, too: it answers the valid calls.
        service: "evaluator", "trainer" or "extractor".
        requests: the requests.
        count: their number.
        token: a token that may read.
        on_progress: called after each request.
        pause: no request begins while this file exists.
    """
    report, began = RequestReport(), time.monotonic()
    log_start, pids = {name: len(system.log(name)) for name in system.pids}, system.pids
    evaluator = system.services["evaluator"].address
    recognition = ValidRecognition(system.target().landmarks, token)

    async def control(channel: Any) -> str:
        if service == "evaluator":
            return await recognition(channel)
        async with grpc.aio.insecure_channel(evaluator, options=CHANNEL_OPTIONS) as other:
            return await recognition(other)

    def notice() -> None:
        taken = max((len(samples) for samples in report.memory.values()), default=0)
        if report.requests >= (taken + 1) * count / _SAMPLES:
            for name, pid in pids.items():
                if (state := read_state(pid)) is not None:
                    report.memory.setdefault(name, []).append((report.requests, round(state.resident, 1)))
        report.seconds = time.monotonic() - began
        on_progress(report)

    asyncio.run(RequestSender(report, system.services[service].address, control, pause).send(iter(requests), notice))
    for name, pid in pids.items():
        if read_state(pid) is None:
            report.missed.append(f"the {name} has ended")
        faults = _LOG_FAULT.findall(system.log(name)[log_start[name] :])
        report.missed += [f"the log of the {name}: {line[:500].decode(errors='replace')}" for line in faults[:_SHOWN]]
    return report


def take_for(numbers: Sequence[int], seconds: float) -> Iterator[int]:
    """The numbers, until so much time has passed."""
    end = time.monotonic() + seconds
    for number in numbers:
        if time.monotonic() >= end:
            return
        yield number


def find_growth(report: RequestReport) -> list[str]:
    """The services that need more memory at the end than after the first tenth of the requests."""
    missed = []
    for name, samples in report.memory.items():
        early = next(megabytes for number, megabytes in samples if number >= report.requests / 10)
        if samples[-1][1] > early * (1 + MAX_GROWTH):
            missed.append(
                f"the {name} has {samples[-1][1]:g} MB at the end, {early:g} MB after a tenth of the requests"
            )
    return missed


def count_statuses(report: RequestReport) -> TextTable:
    """The number of requests by kind of mutation and status."""
    statuses = sorted({status for _, status in report.statuses})
    kinds = sorted({kind for kind, _ in report.statuses})
    rows = [[kind, *(str(report.statuses[kind, status]) for status in statuses)] for kind in kinds]
    return [TableColumn("mutated"), *(TableColumn(status, "right") for status in statuses)], rows


def _figures(report: RequestReport) -> dict[str, Any]:
    columns, rows = count_statuses(report)
    names = [column.name for column in columns[1:]]
    return {
        "requests": report.requests,
        "valid_calls": report.controls,
        "seconds": round(report.seconds, 1),
        "statuses": {row[0]: {name: int(cell) for name, cell in zip(names, row[1:], strict=True)} for row in rows},
        "resident_mb": report.memory,
        "slowest_seconds": report.slowest[0],
        "missed": [what[:500] for what in report.missed],
        **origin(),
    }


def main() -> int:
    """Send the requests, print tables, and save the figures. The exit status is 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=REQUESTS, help="number of requests. Default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="seed of the mutations. Default: %(default)s")
    parser.add_argument("--minutes", type=float, default=600.0, help="stop after so many minutes. Default: %(default)s")
    parser.add_argument("--only", type=int, metavar="N", help="send only the request with this number")
    add_pause_option(parser)
    parser.add_argument("--services", nargs="+", choices=SERVED, default=["evaluator"], help="Default: evaluator")
    arguments = parser.parse_args()
    console = open_console(min_width=160)
    numbers = range(arguments.requests) if arguments.only is None else [arguments.only]
    missed = 0
    with tempfile.TemporaryDirectory(prefix="signet-requests-") as folder:
        tokens_file = Path(folder) / "tokens.json"
        tokens = make_tokens(tokens_file)
        settings = {"SIGNET_TOKENS_FILE": str(tokens_file), "SIGNET_REFRESH_SECONDS": "2"}
        with AttackedSystem(Path(folder), None, settings, token=tokens["read"]) as system:
            publish_second_version(system.store)
            for service in arguments.services:
                system.start(list(dict.fromkeys(["evaluator", service])))
                mutator = RequestMutator(SERVED[service], make_valid_parts(system, tokens), arguments.seed)

                def show_progress(report: RequestReport) -> None:
                    if report.requests % max(1, len(numbers) // _SAMPLES) == 0:
                        memory = ", ".join(f"{name} {samples[-1][1]:g} MB" for name, samples in report.memory.items())
                        done = f"{report.requests} requests, {report.seconds:.0f} s, {memory}"
                        print_line(console, f"{done}, {len(report.missed)} bars missed")

                requests = map(mutator.make, take_for(numbers, 60 * arguments.minutes))
                report = send_requests(
                    system, service, requests, len(numbers), tokens["read"], show_progress, arguments.pause_file
                )
                if arguments.only is None:
                    report.missed += find_growth(report)
                    row = f"{service}, {report.requests} requests, seed {arguments.seed}"
                    figures = _figures(report) | {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}
                    save_results(RESULTS, load_results(RESULTS) | {row: figures})
                print_table(console, *count_statuses(report))
                for what in itertools.islice(report.missed, _SHOWN):
                    print_line(console, f"missed: {what}")
                missed += len(report.missed)
    print_line(console, f"{missed} bars missed")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
