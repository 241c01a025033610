"""Writes docs/api.md from proto/signet/v1 and from the limits in the code: `python -m docs.make_api`."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

from services.evaluator.serving import clip_limits
from services.evaluator.streaming import frames, session
from services.extractor import uploads
from signet import errors
from signet.errors import SignetError
from signet.rpc import limits, receiving, requests
from signet.rpc.retry import RETRY_KEY
from signet.security.permissions import needed_permission
from signet.telemetry.request_ids import REQUEST_ID_KEY

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/api.md"

# Where the parts of a file have their comments (descriptor.proto, SourceCodeInfo.Location.path).
_MESSAGE, _ENUM, _SERVICE, _MEMBER = 4, 5, 6, 2

_INTRODUCTION = """# The gRPC API

This page is written by `make proto` from [proto/signet/v1](../proto/signet/v1) and from limits in the code.
[clients.md](clients.md) has examples in several languages. Servers answer reflection, unless it is turned off, so
that grpcurl and `buf curl` need no files.

The contract only grows: fields and methods are added, and numbers are never used again. `make lint` compares it with
the contract of the last release, which is in [proto](../proto).
"""

_METADATA = (
    (
        REQUEST_ID_KEY,
        "both",
        "the id of the call: 1 to 128 letters, digits and signs of `._:/+=-`. A server makes one if the client sends "
        "none, or one that cannot be used. It comes back in the trailing metadata, and is in each line of the log that "
        "belongs to the call",
    ),
    (
        "authorization",
        "request",
        "`Bearer` and a token with the permission of the method, where a server asks for tokens ([security.md]"
        "(security.md)). The permission write includes read",
    ),
    ("traceparent", "request", "the trace of the caller (W3C Trace Context), where traces are on"),
    (
        RETRY_KEY,
        "answer",
        "in the trailing metadata of RESOURCE_EXHAUSTED: after how many milliseconds to send the call again",
    ),
)

# The statuses after which a call should be sent again.
_SEND_AGAIN = {
    errors.Busy.code: "yes, after the time that the metadata say",
    errors.Unavailable.code: "yes, after a pause",
}


class Page:
    """The files of the contract as Markdown."""

    def __init__(self, files: Sequence[FileDescriptorProto]) -> None:
        self._files = files
        self._comments: dict[tuple[str, tuple[int, ...]], str] = {
            (file.name, tuple(location.path)): location.leading_comments.strip()
            for file in files
            for location in file.source_code_info.location
        }

    def text(self) -> str:
        """The whole page."""
        parts = [_INTRODUCTION, _metadata(), _status_codes(), _limits()]
        for file in self._files:
            for index, service in enumerate(file.service):
                parts += self._service(file, index, service)
        parts.append("## Messages\n")
        for file in self._files:
            for index, message in enumerate(file.message_type):
                parts += self._message(file, index, message)
        parts.append("## Enumerations\n")
        for file in self._files:
            for index, enum in enumerate(file.enum_type):
                parts += self._enum(file, index, enum)
        return "\n".join(parts)

    def _comment(self, file: FileDescriptorProto, *path: int) -> str:
        return self._comments.get((file.name, path), "")

    def _service(self, file: FileDescriptorProto, index: int, service: ServiceDescriptorProto) -> Iterator[str]:
        yield f"## {file.package}.{service.name}\n"
        yield _paragraph(self._comment(file, _SERVICE, index))
        for number, method in enumerate(service.method):
            yield f"### {service.name}.{method.name}\n"
            takes = ("a stream of " if method.client_streaming else "") + _link(method.input_type)
            gives = ("a stream of " if method.server_streaming else "") + _link(method.output_type)
            permission = needed_permission(f"{file.package}.{service.name}/{method.name}")
            yield f"Takes {takes}, returns {gives}. Permission: {permission}.\n"
            yield _paragraph(self._comment(file, _SERVICE, index, _MEMBER, number))

    def _message(self, file: FileDescriptorProto, index: int, message: DescriptorProto) -> Iterator[str]:
        yield f"### {message.name}\n"
        yield _paragraph(self._comment(file, _MESSAGE, index))
        if not message.field:
            yield "No fields.\n"
            return
        yield "| field | number | type | meaning |\n|---|---|---|---|"
        for number, field in enumerate(message.field):
            meaning = self._comment(file, _MESSAGE, index, _MEMBER, number)
            yield f"| `{field.name}` | {field.number} | {_type(message, field)} | {_cell(meaning)} |"
        yield ""

    def _enum(self, file: FileDescriptorProto, index: int, enum: EnumDescriptorProto) -> Iterator[str]:
        yield f"### {enum.name}\n"
        yield _paragraph(self._comment(file, _ENUM, index))
        yield "| value | number | meaning |\n|---|---|---|"
        for number, value in enumerate(enum.value):
            meaning = self._comment(file, _ENUM, index, _MEMBER, number)
            yield f"| `{value.name}` | {value.number} | {_cell(meaning)} |"
        yield ""


def _type(message: DescriptorProto, field: FieldDescriptorProto) -> str:
    name = (
        _link(field.type_name)
        if field.type_name
        else FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    )
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"list of {name}"
    if field.proto3_optional:
        return f"{name}, optional"
    if field.HasField("oneof_index"):
        return f"{name}, one of `{message.oneof_decl[field.oneof_index].name}`"
    return name


def _link(full_name: str) -> str:
    name = full_name.rpartition(".")[2]
    return f"[{name}](#{name.lower()})"


def _paragraph(comment: str) -> str:
    return f"{_cell(comment)}\n" if comment else ""


def _cell(comment: str) -> str:
    """A comment in one line. Angle brackets and bars would be taken for HTML and for cells."""
    words = " ".join(comment.split())
    return words.replace("<", "&lt;").replace(">", "&gt;").replace("|", "\\|")


def _metadata() -> str:
    rows = (f"| `{key}` | {direction} | {meaning} |" for key, direction, meaning in _METADATA)
    return "\n".join(["## Metadata\n", "| key | direction | meaning |", "|---|---|---|", *rows, ""])


def _status_codes() -> str:
    lines = ["## Status codes\n", "| code | meaning | send it again? |", "|---|---|---|"]
    own = [kind for kind in SignetError.__subclasses__() if kind.__module__ == errors.__name__]
    kinds: list[type[SignetError]] = [SignetError, *own]
    for kind in kinds:
        meaning = (kind.__doc__ or "").partition("\n")[0].rstrip(".")
        if kind is SignetError:
            meaning = "A fault of the server; its log has the reason"
        lines.append(f"| {kind.code} | {meaning} | {_SEND_AGAIN.get(kind.code, 'no')} |")
    lines += ["| UNIMPLEMENTED | The server has no such method | no |"]
    lines.append("\nThe message says what was wrong, with which input, and what to do. It has at most 2,000 bytes.\n")
    return "\n".join(lines)


def _limits() -> str:
    calls, other = limits.max_calls("signet.", streaming=False)[1], limits.max_calls("", streaming=False)[1]
    rows = [
        ("a message", _mebibytes(limits.MAX_MESSAGE_BYTES)),
        ("a message to the trainer", _mebibytes(limits.MAX_PLAIN_MESSAGE_BYTES)),
        ("a request without a clip", _mebibytes(requests.MAX_PLAIN_REQUEST_BYTES)),
        ("a text in a request", f"{requests.MAX_TEXT_CHARACTERS:,} characters, none of which is a control character"),
        ("a list in a request", f"{requests.MAX_VALUES:,} values"),
        ("the time until a request has arrived", f"{receiving.RECEIVE_SECONDS:g} s"),
        ("a call with one answer", f"{limits.max_call_seconds(''):,.0f} s"),
        ("calls with one answer at a time", f"{calls}"),
        ("streams at a time", f"{limits.max_calls('signet.', streaming=True)[1]}"),
        ("calls of each of gRPC's own services at a time", f"{other}"),
        ("connections", f"{limits.MAX_CONNECTIONS:,}"),
        (
            "a clip for Recognize",
            f"{clip_limits.MAX_SECONDS:g} s, {clip_limits.MAX_FRAMES:,} frames, landmarks of "
            f"{_mebibytes(clip_limits.MAX_BYTES)}",
        ),
        ("a message of RecognizeStream and ExtractStream", _mebibytes(requests.MAX_FRAME_REQUEST_BYTES)),
        ("frames in a message of RecognizeStream", f"{frames.MAX_FRAMES}"),
        ("the time without a message in RecognizeStream and ExtractStream", f"{session.IDLE_SECONDS:g} s"),
        ("a video for ExtractClipStream", _mebibytes(uploads.MAX_UPLOAD_BYTES)),
        ("a chunk of it", _mebibytes(uploads.MAX_CHUNK_BYTES)),
        ("videos in chunks at a time", f"{uploads.MAX_UPLOADS}"),
    ]
    lines = ["## Limits\n", "| what | at most |", "|---|---|", *(f"| {what} | {most} |" for what, most in rows)]
    return "\n".join([*lines, "\nWhat is larger gets INVALID_ARGUMENT, what is more gets RESOURCE_EXHAUSTED.\n"])


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:.4g} MiB"


def read_contract() -> list[FileDescriptorProto]:
    """The files of the contract, with their comments."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "contract"
        files = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "proto").rglob("*.proto"))
        command = [sys.executable, "-m", "grpc_tools.protoc", "-Iproto", "--include_source_info"]
        subprocess.run([*command, f"--descriptor_set_out={out}", *files], cwd=ROOT, check=True)
        return list(FileDescriptorSet.FromString(out.read_bytes()).file)


def main() -> None:
    """Write the page."""
    PAGE.write_text(Page(read_contract()).text())


if __name__ == "__main__":
    main()
