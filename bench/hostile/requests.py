"""Mutated requests of every method of a service. The same seed makes the same requests."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from bench.hostile.mutations import mutate_bytes
from bench.hostile.tensors import mutate_tensor

HEALTH: str = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
REFLECTION: str = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"].full_name
# It stays open for as long as the caller wants.
_ENDLESS = frozenset({f"/{HEALTH}/Watch"})
_RECOGNIZE = "/signet.v1.Recognizer/Recognize"
_RECOGNIZE_SHARE = 0.3

NAMES = (
    "", " ", ".", "..", "../../etc/passwd", "..\\..\\boot.ini", "/etc/passwd", "a/../b", "a//b", "%2e%2e%2f",
    "file:///x",
    "a\0b", "a\r\nINFO forged", "\x1b[2J\x1b]0;x\x07", "\x7f\x85", "x" * 128, "x" * 129, "x" * 10_000, "本" * 10_000,
    "\u202egnp.exe", "\u2066rtl\u2069", "a\u2028b", "\ufeff\u200b", "e\u0301", "ﷺİßK", "\U0010ffff",
    "{{7*7}}", "${HOME}", "$(id)", "`id`", "'; --", "<script>", "NaN", "-1", "1e999", "latest", "production", "null",
    "CON", "-x", "--help", "*", "~root", "model:signet", "20260101T000000Z-00000000", "{0}{name}", "%s%n",
)  # fmt: skip
_TOKENS = (
    "", "Bearer", "Bearer ", "Bearer x", "bearer {token}", "Bearer {token}x", "Bearer  {token}", "Basic {token}",
    "{token}", "Bearer {token} {token}", "Bearer signet_" + "A" * 43, "Bearer " + "x" * 4_000, "Bearer %00",
    "Bearer {read}",
)  # fmt: skip
_IDS = ("", " ", "x", "x" * 128, "x" * 129, "x" * 4_000, "a b", "%0a", "{}", '"', "\\", "<b>", "-", "é".encode().hex())
_VARINTS = (0, 1, 2**7, 2**14, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1)
_MOST_REPEATS = 20_000

Metadata = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True)
class HostileRequest:
    """A call: the method, the messages of its request stream, and its metadata."""

    number: int
    method: str
    kind: str  # how it was mutated
    messages: tuple[bytes, ...]
    metadata: Metadata


@dataclass(frozen=True)
class ValidParts:
    """What valid requests are made of.

    Attributes:
        fields: values by the name of their field. One of them is drawn.
        landmarks: a valid landmark tensor.
        archive: the archive of a model.
        token: a token that may make all calls; "" if the services ask for none.
        read_token: a token that may read only.
    """

    fields: Mapping[str, Sequence[str | int]]
    landmarks: bytes
    video: bytes = b""
    archive: bytes = b""
    token: str = ""
    read_token: str = ""


def list_methods(services: Sequence[str]) -> dict[str, Any]:
    """The paths of all methods of services, and the class of their request."""
    found = [descriptor_pool.Default().FindServiceByName(name) for name in services]
    methods = {f"/{each.full_name}/{method.name}": method.input_type for each in found for method in each.methods}
    return {path: GetMessageClass(request) for path, request in methods.items() if path not in _ENDLESS}


class RequestMutator:
    """Makes mutated requests. Each number of a request makes one, whatever other requests there are."""

    def __init__(self, services: Sequence[str], parts: ValidParts, seed: int) -> None:
        self._methods = list_methods(services)
        self._parts = parts
        self._seed = seed

    def make(self, number: int) -> HostileRequest:
        """The request with this number."""
        chance = random.Random(f"{self._seed} {number}")  # noqa: S311  (mutations are no secrets)
        method = chance.choice(sorted(self._methods))
        if _RECOGNIZE in self._methods and chance.random() < _RECOGNIZE_SHARE:
            method = _RECOGNIZE
        valid = self._fill(self._methods[method], chance)
        request = HostileRequest(number, method, "valid", (), self._authorization())
        kind = chance.choice(("bytes", "bytes", "names", "fields", "tensor", "metadata", "stream"))
        if kind == "tensor" and "landmarks" not in valid.DESCRIPTOR.fields_by_name:
            kind = "names"
        if kind == "names":
            _write_names(valid, chance)
        elif kind == "tensor":
            valid.landmarks = mutate_tensor(self._parts.landmarks, chance)
        data = valid.SerializeToString()
        if kind == "bytes":
            data = mutate_bytes(data, chance, self._other(chance))
        elif kind == "fields":
            data = _add_fields(data, [field.number for field in valid.DESCRIPTOR.fields], chance)
        elif kind == "metadata":
            request = replace(request, metadata=self._mutate_metadata(chance))
        messages: tuple[bytes, ...] = (data,)
        if kind == "stream":
            others = [
                self._other(chance) if chance.random() < 0.5 else data for _ in range(chance.choice((0, 1, 2, 9)))
            ]
            messages = tuple(others) if chance.random() < 0.5 else (data, *others)
        if "config" in valid.DESCRIPTOR.fields_by_name and chance.random() < 0.7:
            messages = (self._first_message(method), *messages)
        return replace(request, kind=kind, messages=messages)

    def _first_message(self, method: str) -> bytes:
        """The configuration that opens a stream, so that the server reads the mutated messages after it."""
        message = self._methods[method]()
        message.config.SetInParent()
        return bytes(message.SerializeToString())

    def _authorization(self) -> Metadata:
        return (("authorization", f"Bearer {self._parts.token}"),) if self._parts.token else ()

    def _other(self, chance: random.Random) -> bytes:
        """A valid message of another method."""
        return (
            self._fill(self._methods[chance.choice(sorted(self._methods))], chance).SerializeToString() or b"\x0a\x00"
        )

    def _mutate_metadata(self, chance: random.Random) -> Metadata:
        token = chance.choice(_TOKENS).format(token=self._parts.token, read=self._parts.read_token)
        # Without a valid token, nothing else is looked at.
        authorization: Metadata = self._authorization()
        if chance.random() < 0.4:
            authorization = chance.choice(((("authorization", token),), ()))
        choices: list[tuple[str, str | bytes]] = [
            ("x-request-id", chance.choice(_IDS)),
            ("x-request-id", chance.choice(_IDS)),
            ("traceparent", chance.choice((*_IDS, "00-" + "f" * 32 + "-" + "f" * 16 + "-ff", "00-0-0-0"))),
            ("x-noise-bin", chance.randbytes(chance.choice((0, 1, 100, 3_000)))),
            (f"x-{'n' * chance.choice((1, 100, 1_000))}", "x"),
        ]
        return (*authorization, *chance.sample(choices, chance.randint(0, 4)))

    def _fill(self, kind: Any, chance: random.Random) -> Any:
        """A valid message. Some of its fields are left out, and of fields that exclude each other it has one."""
        message, descriptor = kind(), kind.DESCRIPTOR
        chosen = {oneof.name: chance.choice(oneof.fields).name for oneof in descriptor.oneofs if len(oneof.fields) > 1}
        for field in descriptor.fields:
            oneof = field.containing_oneof
            if (oneof is not None and chosen.get(oneof.name, field.name) != field.name) or chance.random() < 0.15:
                continue
            if field.message_type is not None:
                inner = self._fill(GetMessageClass(field.message_type), chance)
                place = getattr(message, field.name)
                place.add().CopyFrom(inner) if field.label == FieldDescriptor.LABEL_REPEATED else place.CopyFrom(inner)
            elif field.label == FieldDescriptor.LABEL_REPEATED:
                getattr(message, field.name).append(self._value(field, chance))
            else:
                setattr(message, field.name, self._value(field, chance))
        return message

    def _value(self, field: Any, chance: random.Random) -> str | int | float | bytes | bool:
        named = {"landmarks": self._parts.landmarks, "video": self._parts.video, "chunk": self._parts.archive}
        if field.type == FieldDescriptor.TYPE_BYTES:
            return named.get(field.name, b"bytes")
        if field.name in self._parts.fields:
            return chance.choice(self._parts.fields[field.name])
        if field.type == FieldDescriptor.TYPE_STRING:
            return "none"
        if field.type in {FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT}:
            return 0.5
        return True if field.type == FieldDescriptor.TYPE_BOOL else chance.choice((0, 1, 2))


def _write_names(message: Message, chance: random.Random) -> None:
    """Write a hostile name into one or all text fields."""
    fields = [field for field in message.DESCRIPTOR.fields if field.type == FieldDescriptor.TYPE_STRING]
    if fields and chance.random() < 0.7:
        fields = [chance.choice(fields)]
    for field in fields:
        name = chance.choice(NAMES)
        if isinstance(present := getattr(message, field.name), str):
            setattr(message, field.name, name)
        else:
            present.extend([name] * chance.choice((1, 2, 1_000)))


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])


def _add_fields(data: bytes, numbers: Sequence[int], chance: random.Random) -> bytes:
    """Add fields to an encoded message: unknown, repeated, of a wrong type, or with lengths that lie."""
    number = chance.choice(numbers or [1])
    if chance.random() < 0.3:
        number = chance.choice((0, 15, 16, 2_047, 15_000, 19_000, 2**29 - 1, 2**29, 2**32))
    wire_type = chance.randrange(8)
    tag = _varint(number << 3 | wire_type)
    repeats = chance.choice((1, 1, 2, 100, _MOST_REPEATS))
    if wire_type == 0:
        varint = chance.choice(
            (_varint(chance.choice(_VARINTS)), b"\xff" * 9 + b"\x7f", b"\xff" * 11, b"\x80" * 9 + b"\0")
        )
        added = (tag + varint) * repeats
    elif wire_type == 1:
        added = (tag + chance.randbytes(8)) * repeats
    elif wire_type == 2:
        content = chance.randbytes(chance.choice((0, 1, 8, 100)))
        length = chance.choice((len(content), len(content), *_VARINTS))
        added = (tag + _varint(length) + content) * (repeats if length == len(content) else 1)
    elif wire_type == 3:
        added = tag * repeats + _varint(number << 3 | 4) * chance.choice((0, 1, repeats))
    else:
        added = (tag + chance.randbytes(4)) * min(repeats, 100)
    return added + data if chance.random() < 0.5 else data + added
