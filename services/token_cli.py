"""The command `signet token`: bearer tokens for the services."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from signet.errors import InvalidInput
from signet.security.permissions import Permission
from signet.security.tokens import TokenEntry, TokenLimits, create_token, read_tokens, revoke_token
from signet.terminal.output import TableColumn, open_console, print_line, print_table, say_error

app = typer.Typer(
    help="Make, list and revoke the tokens that services ask for.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

FileOption = Annotated[
    Path,
    typer.Option("--file", envvar="SIGNET_TOKENS_FILE", help="The file of tokens", dir_okay=False, show_default=False),
]
NameOption = Annotated[str, typer.Option("--name", help="A name: whose token it is, or what for", show_default=False)]


@app.command()
def create(
    *,
    name: NameOption,
    permission: Annotated[
        Literal["read", "write", "admin"],
        typer.Option(
            help="read: recognise, list, get. write: also train, extract, evaluate, promote, delete. admin: everything"
        ),
    ],
    file: FileOption,
    save: Annotated[
        Path | None,
        typer.Option(
            help="Write the token to this new file, which only you can read, and not to the terminal", dir_okay=False
        ),
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="At most this many calls a second; without it, no limit")
    ] = None,
    burst: Annotated[
        int | None, typer.Option(min=1, help="So many calls may come at once after a pause; default: those of a second")
    ] = None,
    days: Annotated[float | None, typer.Option(min=0.001, help="The token expires after so many days")] = None,
) -> None:
    """Make a token, add its hash to the file, and show the token once."""
    output = None if save is None else _reserve(save)
    try:
        token = create_token(file, name, TokenLimits(Permission.parse(permission), rate, burst, days))
        if output is not None:
            os.write(output, f"{token}\n".encode())
    except BaseException:
        if save is not None:
            save.unlink(missing_ok=True)
        raise
    finally:
        if output is not None:
            os.close(output)
    say_error(f"added the token {name!r} ({permission}) to {file}. Servers accept it within about a second.")
    if save is None:
        say_error("This is the token. It is stored nowhere else; give it to its user over a safe way:")
        print_line(open_console(), token)
    else:
        say_error(f"saved the token to {save}")


@app.command("list")
def list_tokens(*, file: FileOption) -> None:
    """List the tokens of the file: names, permissions and limits."""
    tokens = read_tokens(file).tokens
    if not tokens:
        print_line(open_console(), f"{file}: no tokens. `signet token create` makes one.")
        return
    columns = [
        TableColumn("name", whole=True),
        TableColumn("permission"),
        TableColumn("calls/s", align="right"),
        TableColumn("created"),
        TableColumn("expires"),
    ]
    print_table(open_console(), columns, [_row(entry) for entry in tokens])


@app.command()
def revoke(*, name: NameOption, file: FileOption) -> None:
    """Remove a token from the file. Servers refuse it within about a second."""
    revoke_token(file, name)
    say_error(f"revoked the token {name!r} in {file}")


def _row(entry: TokenEntry) -> list[str]:
    rate = "" if entry.requests_per_second is None else f"{entry.requests_per_second:g}"
    times = (f"{time:%Y-%m-%d %H:%M}" if time else "" for time in (entry.created, entry.expires))
    return [entry.name, entry.permission, rate, *times]


def _reserve(path: Path) -> int:
    """Make a new file that only its owner can read, and return its descriptor."""
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be made ({error.strerror}). Name a new file.") from error
