"""The command `signet serving`: which versions a running evaluator serves."""

import json
from typing import Annotated, Any

import typer
from google.protobuf.json_format import MessageToDict

from signet.rpc.client import signet_errors
from signet.rpc.limits import CHANNEL_OPTIONS
from signet.rpc.probe import check_address
from signet.security.credentials import ChannelSecurity, read_client_settings
from signet.security.options import CaOption, CertificateOption, KeyOption, TokenFileOption
from signet.terminal.output import Console, TableColumn, open_console, print_line, print_table, say
from signet.v1 import evaluator_pb2, evaluator_pb2_grpc

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

# The answer needs no model and no store.
_SECONDS = 10.0
_MIB = 1 << 20


@app.callback()
def _group() -> None:
    """Keep the name of the command: a Typer application with one command has none otherwise."""


@app.command()
def serving(
    *,
    server: Annotated[
        str, typer.Option(help="host:port of a running evaluator", envvar="SIGNET_EVALUATOR", show_default=False)
    ],
    model_name: Annotated[str, typer.Option(help="Show only this model", show_default=False)] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
    ca: CaOption = None,
    client_certificate: CertificateOption = None,
    client_key: KeyOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Show which versions a running evaluator serves, and why others are refused.

    The exit status is 1 if a version is refused, or if an alias cannot be followed.
    """
    check_address(server, "--server")
    security = ChannelSecurity(read_client_settings(ca, client_certificate, client_key, token_file))
    security.check_address(server)
    with security.open_channel(server, CHANNEL_OPTIONS) as channel, signet_errors(server):
        answer = evaluator_pb2_grpc.RecognizerStub(channel).GetServingStatus(
            evaluator_pb2.GetServingStatusRequest(model_name=model_name),
            timeout=_SECONDS,
            metadata=security.metadata(),
        )
    console = open_console()
    if as_json:
        print_line(console, json.dumps(MessageToDict(answer, preserving_proto_field_name=True)))
    else:
        show_serving(console, answer)
    raise typer.Exit(any(status.reason for status in answer.models))


def show_serving(console: Console, answer: Any) -> None:
    """Print what is served for each alias, and why versions are refused."""
    columns = [
        TableColumn("model", style="bold", whole=True),
        TableColumn("alias", whole=True),
        TableColumn("version", whole=True),
        TableColumn("calls", "right", optional=True),
        TableColumn("MiB", "right", optional=True),
        TableColumn("loaded", optional=True),
    ]
    rows = [
        [
            status.model_name,
            f"{status.alias} (default)" if status.is_default else status.alias,
            status.model_version or "none",
            str(status.running_calls),
            f"{status.memory_bytes / _MIB:.0f}",
            status.loaded_at,
        ]
        for status in answer.models
    ]
    print_table(console, columns, rows)
    print_line(console, f"memory: {answer.memory_bytes / _MIB:.0f} of {answer.memory_limit_bytes / _MIB:.0f} MiB")
    for status in answer.models:
        if status.reason:
            say(console, f"{status.model_name}/{status.alias}: {status.reason}", "yellow")
