"""The options that `predict`, `transcribe` and `live` share."""

from typing import Annotated

import typer

StoreOption = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="SIGNET_STORE",
        help="A store with a model of your own. Without one, the model that comes with Signet is used: 100 signs of "
        "American Sign Language",
        show_default=False,
    ),
]
ModelNameOption = Annotated[
    str, typer.Option(help="The model. Default: `signet`, or that of the server", show_default=False)
]
ModelVersionOption = Annotated[
    str, typer.Option(help="A version or an alias. Default: latest, or that of the server", show_default=False)
]
ServerOption = Annotated[
    str,
    typer.Option(
        envvar="SIGNET_EVALUATOR",
        help="host:port of a running evaluator, which then does the work. Without one, this process does it",
        show_default=False,
    ),
]
ThresholdOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Leave out signs of which the model is less sure, 0 to 1. A lower one finds more signs, and more wrong "
        "ones",
        show_default="that of the model",
    ),
]
