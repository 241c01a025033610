"""Checks of a stored graph before this process loads it: its structure, and a trial in a process that can be killed.

Who can write models must not be able to read files of the evaluator, to stop it, or to use its memory.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from signet.errors import DataLoss
from signet.registry import ModelCard

# The trial of a usual model takes 0.4 s. Memory that a model may need besides its file, to load and to answer once. The
# evaluator keeps it as long as it serves the model.
MODEL_BYTES = 256 << 20
TRIAL_CPU_SECONDS = 20
_TRIAL_SECONDS = 60.0
# The exit status of a trial that names a fault of the model.
FAULT = 3

# Graphs nest: a node has attributes, and an attribute may hold a tensor.
_MAX_DEPTH = 8
# Operators that run other graphs, some of them without end.
_CONTROL_FLOW = {b"If", b"Loop", b"Scan", b"SequenceMap"}

# The fields of the card on which the work of the evaluator depends.
_SERVING_FIELDS = {
    "schema_version", "vocabulary", "frame_rate", "smoothing_seconds", "blank_penalty", "insertion_penalty",
    "repetition_penalty", "beam_width", "undoubted", "vocabulary_score",
    "rejection_threshold",
}  # fmt: skip

# The bytes of memory that each model needed which has passed a trial in this process.
_passed: dict[str, int] = {}

# The messages of ONNX that are searched, and in each the fields that are messages too (onnx.proto3).
_MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 10: "tensor", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
# Fields that no graph of Signet has: functions and training steps, graphs in attributes, tensors in other files.
_REFUSED = {
    ("model", 20): "training steps",
    ("model", 25): "functions of its own",
    ("attribute", 6): "a graph inside a node",
    ("attribute", 11): "a graph inside a node",
    ("tensor", 13): "a tensor in another file",
    ("tensor", 14): "a tensor in another file",
}
_OPERATOR, _DOMAIN = 4, 7


def find_forbidden_part(graph: bytes) -> str:
    """Name the part of an ONNX file that no model of Signet has, and that could read files or run without end.

    Returns "" if there is none.

    Raises:
        ValueError: the bytes are not ONNX.
    """
    if graph[4:8] == b"ORTM":
        raise ValueError("another format")
    return _find_forbidden(memoryview(graph), "model", 0)


def try_model(card: ModelCard, graph: bytes, cpu_seconds: int = TRIAL_CPU_SECONDS) -> int:
    """Load and run a model in a child process with little memory and time. A model that has passed is not tried again.

    Returns:
        The bytes of memory that the model needs to answer a full batch of short clips.

    Raises:
        DataLoss: the model does not pass.
    """
    settings = card.model_dump_json(by_alias=True, include=_SERVING_FIELDS)
    digest = hashlib.sha256(settings.encode() + hashlib.sha256(graph).digest()).hexdigest()
    if digest in _passed:
        return _passed[digest]
    limits = f"{MODEL_BYTES >> 20} MiB and {cpu_seconds} s"
    try:
        trial = subprocess.run(
            [sys.executable, "-m", "services.evaluator.serving.model_trial"],
            input=json.dumps([cpu_seconds, card.model_dump_json(by_alias=True)]).encode() + b"\n" + graph,
            capture_output=True,
            timeout=_TRIAL_SECONDS,
            cwd="/",
            env=child_environment(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _refusal(card, f"it does not answer within {_TRIAL_SECONDS:g} s") from None
    if trial.returncode == FAULT:
        raise DataLoss(trial.stdout.decode(errors="replace")[:2000])
    if trial.returncode:
        raise _refusal(card, f"it needs more than {limits} to load and to answer once, or it crashes")
    measured = trial.stdout.decode(errors="replace")
    _passed[digest] = int(measured) if measured.isdecimal() else MODEL_BYTES + len(graph)
    return _passed[digest]


def child_environment() -> dict[str, str]:
    """The environment of a process that runs graphs: only what Python needs. The store's secret is not in it."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
    folders = [str(Path(folder or ".").absolute()) for folder in sys.path]
    return {**kept, "PYTHONPATH": os.pathsep.join(folders), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _refusal(card: ModelCard, fault: str) -> DataLoss:
    return DataLoss(
        f"model {card.name}/{card.version} cannot be served: {fault}. Move the alias to another version, or train the "
        "model again."
    )


def _find_forbidden(message: memoryview, kind: str, depth: int) -> str:
    if depth > _MAX_DEPTH:
        raise ValueError("too deeply nested")
    for number, content, _ in protobuf_fields(message):
        if (kind, number) in _REFUSED and (number != 14 or content != 0):
            return _REFUSED[kind, number]
        if kind == "node" and isinstance(content, memoryview):
            if number == _OPERATOR and bytes(content) in _CONTROL_FLOW:
                return f"the operator {bytes(content).decode()}"
            if number == _DOMAIN and bytes(content) not in {b"", b"ai.onnx"}:
                return "an operator that is not of the ONNX standard"
        inner = _MESSAGES[kind].get(number)
        if inner and isinstance(content, memoryview) and (found := _find_forbidden(content, inner, depth + 1)):
            return found
    return ""


def protobuf_fields(message: memoryview) -> Iterator[tuple[int, memoryview | int, int]]:
    """The number and content of each field of a protobuf message, and where the field ends.

    Raises:
        ValueError: the bytes are no protobuf message.
    """
    at = 0
    while at < len(message):
        tag, at = read_varint(message, at)
        number, wire = tag >> 3, tag & 7
        if tag >= 1 << 32:
            raise ValueError(f"field {number}")
        if wire == 0:
            value, at = read_varint(message, at)
            yield number, value, at
            continue
        if wire == 2:
            size, at = read_varint(message, at)
        elif wire in {1, 5}:
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if size > len(message) - at:
            raise ValueError("cut off")
        at += size
        yield number, message[at - size : at], at


def read_varint(message: memoryview, at: int) -> tuple[int, int]:
    """The number at a place of a protobuf message, and where it ends. Raises `ValueError` if it is cut off."""
    value = 0
    for shift in range(0, 70, 7):
        if at == len(message):
            raise ValueError("cut off")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("an endless number")
