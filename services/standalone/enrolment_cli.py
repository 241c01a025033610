"""The commands `signet enroll` and `signet forget`: new signs from a few examples, and enrolled signs away again."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from signet.client.inputs import is_landmark_file, read_clip
from signet.errors import InvalidInput
from signet.rpc.client import signet_errors
from signet.rpc.limits import CHANNEL_OPTIONS
from signet.rpc.probe import check_address
from signet.security.credentials import ChannelSecurity, read_client_settings
from signet.security.options import CaOption, CertificateOption, KeyOption, TokenFileOption
from signet.statistics.intervals import wilson
from signet.store import keys
from signet.store.options import StoreOption, open_store_option
from signet.terminal.output import Console, open_console, print_line, say
from signet.v1 import enrolment_pb2 as pb
from signet.v1 import enrolment_pb2_grpc

if TYPE_CHECKING:
    from services.evaluator.enrolment.enrolment import EnrolmentResult
    from services.evaluator.enrolment.examples import ExampleClip

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

_DEFAULT_NAME = "signet"
_FORGET_SECONDS = 60.0
_MEASURED_ON = {
    "val": "val clips of the training's signs",
    "embeddings": "kept vectors of training clips, which is optimistic",
}

GlossArgument = Annotated[str, typer.Argument(help="The name of the sign", show_default=False)]
ModelNameOption = Annotated[str, typer.Option(help="The model", show_default=_DEFAULT_NAME)]
VersionOption = Annotated[str, typer.Option(help="The version or the alias to start from", show_default="latest")]
ServerOption = Annotated[
    str,
    typer.Option(
        help="host:port of a running evaluator, which then does the work. Needs a token with the permission write",
        show_default=False,
    ),
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON")]


@app.command()
def enroll(
    gloss: GlossArgument,
    clips: Annotated[
        list[str],
        typer.Argument(
            help="1 to 20 examples: videos or landmark tensors (.safetensors) of one sign each. With --corpus, ids of "
            "clips in the store",
            show_default=False,
        ),
    ],
    *,
    store: StoreOption = "",
    server: ServerOption = "",
    corpus: Annotated[
        str, typer.Option(help="Take the examples from this corpus of the store", show_default=False)
    ] = "",
    model_name: ModelNameOption = "",
    model_version: VersionOption = "",
    allow_similar: Annotated[
        bool, typer.Option(help="Enrol the sign also if its examples look like a sign that the model knows")
    ] = False,
    as_json: JsonFlag = False,
    ca: CaOption = None,
    client_certificate: CertificateOption = None,
    client_key: KeyOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Add a sign to a published model from a few examples, in seconds.

    signet enroll "my sign" a.mp4 b.mp4 c.mp4 d.mp4 e.mp4

    The result is a new version. The alias `latest` moves to it; `production` does not. It is shown how well the signs
    of the training are still recognised. Five examples by different people are good; with one or two, the sign is
    recognised much worse. `signet forget` takes the sign away again.
    """
    console = open_console()
    if server:
        if corpus or store:
            raise InvalidInput("--server does the work with its own store: leave out --store and --corpus.")
        security = _server_security(server, ca, client_certificate, client_key, token_file)
        answer = _enroll_remotely(server, security, gloss, clips, model_name, model_version, allow_similar)
    else:
        from services.evaluator.enrolment.enrolment import enrol

        opened = open_store_option(store, must_exist=True, writable=True)
        if corpus:
            examples = [_stored_clip(opened, corpus, clip_id) for clip_id in clips]
        else:
            examples = _read_files([Path(clip) for clip in clips])
        name, version = model_name or _DEFAULT_NAME, model_version or "latest"
        answer = _to_message(enrol(opened, name, gloss, examples, version=version, allow_similar=allow_similar))
    _show(console, f"{gloss} enrolled", answer, as_json=as_json)


@app.command()
def forget(
    gloss: GlossArgument,
    *,
    store: StoreOption = "",
    server: ServerOption = "",
    model_name: ModelNameOption = "",
    model_version: VersionOption = "",
    as_json: JsonFlag = False,
    ca: CaOption = None,
    client_certificate: CertificateOption = None,
    client_key: KeyOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Take an enrolled sign away from a published model. The result is a new version, as of `signet enroll`.

    Signs of the training are not forgotten: the model would take their signing for other signs.
    """
    console = open_console()
    if server:
        if store:
            raise InvalidInput("--server does the work with its own store: leave out --store.")
        security = _server_security(server, ca, client_certificate, client_key, token_file)
        request = pb.ForgetRequest(gloss=gloss, model_name=model_name, model_version=model_version)
        with security.open_channel(server, CHANNEL_OPTIONS) as channel, signet_errors(server):
            stub = enrolment_pb2_grpc.EnrolmentStub(channel)
            answer = stub.Forget(request, timeout=_FORGET_SECONDS, metadata=security.metadata()).result
    else:
        from services.evaluator.enrolment.enrolment import forget as forget_sign

        opened = open_store_option(store, must_exist=True, writable=True)
        answer = _to_message(forget_sign(opened, model_name or _DEFAULT_NAME, gloss, version=model_version or "latest"))
    _show(console, f"{gloss} forgotten", answer, as_json=as_json)


def _server_security(
    server: str, ca: Path | None, certificate: Path | None, key: Path | None, token_file: Path | None
) -> ChannelSecurity:
    check_address(server, "--server")
    security = ChannelSecurity(read_client_settings(ca, certificate, key, token_file))
    security.check_address(server)
    return security


def _enroll_remotely(
    server: str,
    security: ChannelSecurity,
    gloss: str,
    clips: Sequence[str],
    model_name: str,
    model_version: str,
    allow_similar: bool,
) -> pb.EnrolmentResult:
    given = [read_clip(clip) for clip in clips]

    def requests() -> Iterator[pb.EnrollRequest]:
        yield pb.EnrollRequest(
            gloss=gloss, model_name=model_name, model_version=model_version, allow_similar=allow_similar
        )
        for clip in given:
            request = pb.EnrollRequest(example_name=_printable(Path(clip.path).name))
            setattr(request, clip.kind, clip.data)
            yield request

    timeout = sum(clip.default_timeout for clip in given)
    with security.open_channel(server, CHANNEL_OPTIONS) as channel, signet_errors(server):
        stub = enrolment_pb2_grpc.EnrolmentStub(channel)
        response: pb.EnrollResponse = stub.Enroll(requests(), timeout=timeout, metadata=security.metadata())
    return response.result


def _read_files(paths: Sequence[Path]) -> "list[ExampleClip]":
    """The landmarks of files. A worker process reads the videos among them."""
    from services.evaluator.enrolment.examples import ExampleClip
    from services.extractor.jobs import worker
    from services.extractor.jobs.worker import Labels
    from services.extractor.jobs.workers import WorkerPool
    from services.extractor.tracking.trackers import TrackingQuality

    videos = [path for path in paths if not is_landmark_file(path)]
    landmarks: dict[Path, bytes] = {path: read_clip(path).data for path in paths if path not in videos}
    if videos:
        with WorkerPool(1) as workers:
            for path in videos:
                labels = Labels(_printable(path.name))
                job = workers.one(worker.extract_upload, (labels, path, TrackingQuality.FAST), None)
                landmarks[path] = asyncio.run(job).data
    return [ExampleClip(str(path), landmarks[path]) for path in paths]


def _stored_clip(store: Any, corpus: str, clip_id: str) -> "ExampleClip":
    from services.evaluator.enrolment.examples import ExampleClip

    return ExampleClip(f"clip {clip_id}", store.get(keys.clip(corpus, clip_id)))


def _printable(name: str) -> str:
    shown = "".join(character if character.isprintable() else "?" for character in name)
    return shown.encode(errors="replace").decode()[:200] or "example"


def _to_message(result: "EnrolmentResult") -> pb.EnrolmentResult:
    from services.evaluator.enrolment.service import result_message

    return result_message(result)


def _show(console: Console, done: str, result: pb.EnrolmentResult, *, as_json: bool) -> None:
    if as_json:
        fields = {field.name: getattr(result, field.name) for field in pb.EnrolmentResult.DESCRIPTOR.fields}
        for line in json.dumps(fields | {"warnings": list(result.warnings)}, indent=1).splitlines():
            print_line(console, line)
        return
    print_line(
        console, f"{done}: {result.model_name} {result.model_version}, alias latest; {result.vocabulary_size} signs"
    )
    low, high = wilson(result.correct, result.clips)
    print_line(
        console,
        f"trained signs: {_share(result.correct, result.clips)} recognised ({100 * low:.0f} to {100 * high:.0f} %, n = "
        f"{result.clips}), before {_share(result.parent_correct, result.clips)}; measured on "
        f"{_MEASURED_ON.get(result.measured_on, result.measured_on)}",
    )
    for warning in result.warnings:
        say(console, f"warning: {warning}", "yellow")
    say(console, f"made from {result.parent_version} in {result.seconds:.1f} s", "dim")


def _share(correct: int, clips: int) -> str:
    return f"{100 * correct / clips:.0f} %" if clips else "none"
