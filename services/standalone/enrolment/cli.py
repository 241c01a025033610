"""The commands `signet enroll` and `signet forget`: new signs from a few examples, and enrolled signs away again."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.standalone.enrolment.console import show_reading, show_result
from services.standalone.options import ServerOption, StoreOption
from signet.client.inputs import read_clip
from signet.errors import InvalidInput
from signet.rpc.client import signet_errors
from signet.rpc.limits import CHANNEL_OPTIONS
from signet.rpc.probe import check_address
from signet.security.credentials import ChannelSecurity, read_client_settings
from signet.security.options import CaOption, CertificateOption, KeyOption, TokenFileOption
from signet.store import keys
from signet.terminal.output import open_console, say_error
from signet.v1 import enrolment_pb2 as pb
from signet.v1 import enrolment_pb2_grpc

if TYPE_CHECKING:
    from services.evaluator.enrolment.enrolment import EnrolmentResult
    from services.evaluator.enrolment.examples import ExampleClip
    from services.standalone.models import ModelChoice
    from signet.store import ObjectStore

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

_FORGET_SECONDS = 60.0

GlossArgument = Annotated[str, typer.Argument(help="The name of the sign", show_default=False)]
ModelNameOption = Annotated[
    str,
    typer.Option(
        help="The model. Default: the one that comes with Signet; with --store, `signet`; with --server, its default",
        show_default=False,
    ),
]
VersionOption = Annotated[
    str, typer.Option(help="The version or the alias to start from. Default: latest", show_default=False)
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON")]


@app.command()
def enroll(
    context: typer.Context,
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
    """Add a sign to a model from a few examples, in seconds and without training.

    signet enroll "my sign" a.mp4 b.mp4 c.mp4 d.mp4 e.mp4

    needs nothing else: the sign is added to the model that comes with Signet, for this user. `signet predict`, `live`
    and `transcribe` know it from then on. Five examples by different people are good; with one or two, the sign is
    recognised much worse. `signet forget` takes the sign away again.

    --store names a store with a model of your own. The result is a new version there, and the alias `latest` moves to
    it; `production` does not. With --server, a running evaluator does the work, which needs a token with the permission
    write.
    """
    console = open_console()
    if _server_does_the_work(context, server, store, corpus):
        security = _server_security(server, ca, client_certificate, client_key, token_file)
        answer = _enroll_remotely(server, security, gloss, clips, model_name, model_version, allow_similar)
        hint = ""
    else:
        choice = _choose_model(store, model_name, model_version, corpus)
        answer = _enroll_here(choice, gloss, clips, corpus, allow_similar=allow_similar)
        hint = f"signet predict CLIP now knows it; signet forget {shlex.quote(gloss)} takes it away again"
    show_result(console, f"{gloss} enrolled", answer, hint, as_json=as_json)


@app.command()
def forget(
    context: typer.Context,
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
    """Take an enrolled sign away from a model. The result is a new version, as of `signet enroll`.

    Signs of the training are not forgotten: the model would take their signing for other signs.
    """
    console = open_console()
    if _server_does_the_work(context, server, store):
        security = _server_security(server, ca, client_certificate, client_key, token_file)
        request = pb.ForgetRequest(gloss=gloss, model_name=model_name, model_version=model_version)
        with security.open_channel(server, CHANNEL_OPTIONS) as channel, signet_errors(server):
            stub = enrolment_pb2_grpc.EnrolmentStub(channel)
            answer = stub.Forget(request, timeout=_FORGET_SECONDS, metadata=security.metadata()).result
    else:
        from services.evaluator.enrolment.enrolment import forget as forget_sign
        from services.standalone.models import delete_old_versions, find_enrolment_store

        choice = _choose_model(store, model_name, model_version)
        opened, name = find_enrolment_store(choice)
        answer = _to_message(forget_sign(opened, name, gloss, version=model_version or "latest"))
        delete_old_versions(choice, opened)
    show_result(console, f"{gloss} forgotten", answer, "", as_json=as_json)


def _server_does_the_work(context: typer.Context, server: str, store: str, corpus: str = "") -> bool:
    """Whether a server does the work, and not this process. What the command line names comes before variables."""
    given = {name for name in ("server", "store", "corpus") if _is_given(context, name)}
    if "server" in given and len(given) > 1:
        raise InvalidInput("--server does the work with its own store: leave out --store and --corpus.")
    return bool(server) and ("server" in given or not (store or corpus))


def _is_given(context: typer.Context, name: str) -> bool:
    """Whether an option was given on the command line, and not by a variable."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _choose_model(store: str, model_name: str, model_version: str, corpus: str = "") -> "ModelChoice":
    """The model that the command line names."""
    from services.standalone.models import ModelChoice
    from signet.store.settings import read_store_settings

    # Clips of a corpus are in a store, whose model is then meant.
    named = store or (read_store_settings().store if corpus else "")
    return ModelChoice(named, model_name, model_version)


def _enroll_here(
    choice: "ModelChoice", gloss: str, clips: "Sequence[str]", corpus: str, *, allow_similar: bool
) -> pb.EnrolmentResult:
    """Enrol a sign in this process."""
    from services.evaluator.enrolment.enrolment import enrol
    from services.evaluator.enrolment.parent import check_new_gloss, read_parent_card
    from services.standalone.enrolment.example_files import explain_unusable_examples
    from services.standalone.models import compare_with_package, delete_old_versions, find_enrolment_store

    store, name = find_enrolment_store(choice)
    version = choice.version or "latest"
    # Before the examples are read, which takes seconds.
    card = read_parent_card(store, name, version)
    check_new_gloss(card, gloss.strip())
    if choice.is_bundled and (note := compare_with_package(card)):
        say_error(f"note: {note}")
    with explain_unusable_examples():
        examples = _read_examples(store, corpus, clips)
        result = enrol(store, name, gloss, examples, version=version, allow_similar=allow_similar)
    delete_old_versions(choice, store)
    return _to_message(result)


def _read_examples(store: "ObjectStore", corpus: str, clips: "Sequence[str]") -> "list[ExampleClip]":
    """The examples: clips of a corpus, or files."""
    from services.evaluator.enrolment.examples import ExampleClip, check_count

    check_count(len(clips))
    if corpus:
        return [ExampleClip(f"clip {clip_id}", store.get(keys.clip(corpus, clip_id))) for clip_id in clips]
    from services.standalone.enrolment.example_files import read_examples

    with show_reading(len(clips)) as show:
        return read_examples([Path(clip) for clip in clips], show)


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


def _printable(name: str) -> str:
    shown = "".join(character if character.isprintable() else "?" for character in name)
    return shown.encode(errors="replace").decode()[:200] or "example"


def _to_message(result: "EnrolmentResult") -> pb.EnrolmentResult:
    from services.evaluator.enrolment.service import result_message

    return result_message(result)
