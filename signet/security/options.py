"""The options of commands that call a service: TLS, and the file of the token. A token itself is never an option."""

from pathlib import Path
from typing import Annotated

import typer

CaOption = Annotated[
    Path | None,
    typer.Option(
        "--ca", envvar="SIGNET_CLIENT_CA", help="Use TLS, and trust the authorities of this PEM file", dir_okay=False
    ),
]
CertificateOption = Annotated[
    Path | None,
    typer.Option(
        "--client-certificate",
        envvar="SIGNET_CLIENT_CERTIFICATE",
        help="PEM file with the certificate of this client, for servers that ask for one",
        dir_okay=False,
    ),
]
KeyOption = Annotated[
    Path | None,
    typer.Option(
        "--client-key", envvar="SIGNET_CLIENT_KEY", help="PEM file with the key of --client-certificate", dir_okay=False
    ),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        envvar="SIGNET_CLIENT_TOKEN_FILE",
        help="File that holds the token of this client",
        dir_okay=False,
    ),
]
