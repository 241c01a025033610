"""Each field of each call gets each hostile value over real gRPC: the answer is short and plain, and nothing is stored.

The calls and their fields come from the descriptors, so that a new call or a new field is attacked, too.
"""

import logging
import os
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from itertools import islice
from pathlib import Path

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from services.evaluator.__main__ import evaluator
from signet import registry
from signet.rpc.server import ServiceServer
from signet.store import DirectoryStore
from signet.v1 import enrolment_pb2, evaluator_pb2, extractor_pb2, registry_pb2, trainer_pb2
from tests.servers import extractor, serving, trainer
from tests.services.evaluator.conftest import World, everyday_clips

MEGABYTE = 1_000_000

TEXTS = (
    b"", b"x" * MEGABYTE, b"x" * 999, "本".encode() * 1001, b"a\nINFO run forged", b"\x1b[2J\x1b[31m", b"a\0b\r\x85",
    "\u202egnp".encode(), "a\u2028\u200b".encode(), b"\xed\xa0\x80", b"../../etc/passwd", b"%s{0}{{7*7}}", b"latest",
    b" ",
)  # fmt: skip
BYTES = (b"", b"\xff" * MEGABYTE, b"\0" * 10, b"\x08\0\0\0\0\0\0\0{}", b"\n\x1b[2J")
INTEGERS = (0, 1, -1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)
NUMBERS = (0.0, -1.0, float("nan"), float("inf"), float("-inf"), 1e308, 5e-324)
ENUM = (0, 1, 99, 2**31 - 1, -1)
MANY = 30_000

# The evaluator of this test has no extractor.
NO_EXTRACTOR = "this evaluator has no extractor"
REFUSED = {"INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED"}
# The alias of these calls does not name the version that the caller expects.
MAY_BE_ABORTED = {"Promote", "Rollback", "DeleteAlias"}
# Control characters, and those that hide or reorder text.
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def _varint(value: int) -> bytes:
    value &= 2**64 - 1
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])


def _with_length(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _values(field: FieldDescriptor, depth: int) -> Iterator[tuple[str, bytes]]:
    """Hostile values of a field as they are on the wire, and their names."""
    number = field.number
    kinds: dict[int, tuple[bytes | float, ...]] = {
        FieldDescriptor.TYPE_STRING: TEXTS,
        FieldDescriptor.TYPE_BYTES: BYTES,
        FieldDescriptor.TYPE_DOUBLE: NUMBERS,
        FieldDescriptor.TYPE_FLOAT: NUMBERS,
        FieldDescriptor.TYPE_ENUM: ENUM,
    }
    if field.message_type is not None:
        for name, data in _requests(field.message_type, depth + 1):
            yield f"{field.name}.{name}", _with_length(number, data)
        return
    if field.type in {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES}:
        yield f"{field.name}, many times", _with_length(number, b"x") * MANY
    for value in kinds.get(field.type, INTEGERS):
        name = f"{field.name}={value!r:.30}"
        if isinstance(value, bytes):
            yield name, _with_length(number, value)
        elif isinstance(value, float):
            yield name, _varint(number << 3 | 1) + struct.pack("<d", value)
        else:
            yield name, _varint(number << 3) + _varint(int(value))


def _requests(message: Descriptor, depth: int = 0) -> Iterator[tuple[str, bytes]]:
    yield "empty", b""
    yield "unknown field", _with_length(15_000, b"\n" * 1000)
    for field in message.fields if depth < 4 else ():
        yield from _values(field, depth)


def _outcome(channel: grpc.Channel, path: str, data: bytes) -> tuple[str, str]:
    try:
        for _ in channel.stream_stream(path)(iter([data]), timeout=60):
            pass
    except grpc.RpcError as error:
        return error.code().name, str(error.details())
    return "OK", ""


def _attack(channel: grpc.Channel, service: str, store: DirectoryStore, step: int = 1) -> Iterator[str]:
    """The faults of the answers to all requests, or to a part of them."""
    for method in descriptor_pool.Default().FindServiceByName(service).methods:
        if method.name == "Watch":  # of health, which answers for ever
            continue
        for name, data in islice(_requests(method.input_type), 0, None, step):
            before = {info.key for info in store.list("")}
            code, message = _outcome(channel, f"/{service}/{method.name}", data)
            added = {info.key for info in store.list("")} - before
            # Runs that were queued before may write their state meanwhile.
            added = {key for key in added if not key.startswith("runs/")}
            faults = [
                code not in {"OK", *REFUSED}
                and not (code == "ABORTED" and method.name in MAY_BE_ABORTED)
                and not message.startswith(NO_EXTRACTOR)
                and code,
                len(message.encode()) > 2048 and f"{len(message)} characters",
                CONTROLS.search(message) and "control characters",
                code != "OK" and added and f"stored {added}",
            ]
            if any(faults):
                yield f"{method.name}({name}): {[fault for fault in faults if fault]}: {message[:300]!a}"


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _check(
    services: list[str],
    serve: Callable[[], AbstractAsyncContextManager[ServiceServer]],
    store: DirectoryStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serving(serve) as channel:
        faults = [fault for service in services for fault in _attack(channel, service, store)]
        size = _resident_bytes()
        faults += [fault for service in services for fault in _attack(channel, service, store, 5)]
        assert _resident_bytes() - size < 100 * MEGABYTE, "further requests take no more memory"
    assert faults == [], "\n".join(faults)
    for record in caplog.records:
        assert record.exc_info is None, record.getMessage()[:1000]
        assert record.levelno < logging.ERROR or "forged" not in record.getMessage()
        assert len(record.getMessage()) < 5000


def test_all_calls_of_the_trainer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = DirectoryStore(tmp_path / "store")
    _check(["signet.v1.Trainer"], lambda: trainer(store), store, caplog)
    assert list(trainer_pb2.DESCRIPTOR.services_by_name) == ["Trainer"]


def test_all_calls_of_the_extractor(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = DirectoryStore(tmp_path / "store")
    services = ["signet.v1.Extractor", "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"]
    _check(services, lambda: extractor(store, tmp_path / "wlasl"), store, caplog)
    assert list(extractor_pb2.DESCRIPTOR.services_by_name) == ["Extractor"]
    assert not list(store.list(""))


def test_all_calls_of_the_evaluator(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    world = World(tmp_path / "store")
    card = world.publish(world.snapshot(everyday_clips()))
    settings = world.settings(auto_evaluate=False, registry_writes=True)
    assert isinstance(world.store, DirectoryStore)
    modules = (evaluator_pb2, registry_pb2, enrolment_pb2)
    services = [f"signet.v1.{name}" for module in modules for name in module.DESCRIPTOR.services_by_name]
    names = ("Recognizer", "Evaluation", "Registry", "Enrolment")
    assert services == [f"signet.v1.{name}" for name in names]
    _check(services, lambda: evaluator(settings), world.store, caplog)
    assert registry.versions(world.store, "signet") == [card.version], "no call has deleted or added a version"
    latest = registry.read_aliases(world.store, "signet", include_deleted=True)["latest"]
    assert {move.version for move in latest.history} == {card.version}, "it was deleted, and has named nothing else"
    assert len({info.key.split("/")[1] for info in world.store.list("reports/")}) == 1, "one report for all calls"
