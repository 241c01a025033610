"""The flags of `signet train`: one for each field of the configuration, in the panels of --help."""

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, TypeVar

import typer
from pydantic import ValidationError

from services.trainer.config.train_config import TrainConfig
from signet.errors import InvalidSetting

# In the order of --help. A field in no panel comes last, in `OTHER`.
PANELS: Final[Mapping[str, tuple[str, ...]]] = {
    "Recipe": ("preset", "pretrain", "start_from"),
    "Data": ("corpus", "max_glosses", "samples_per_gloss", "folds"),
    "Model": ("branches", "hidden_dim", "hand_dim", "num_layers", "head", "sign_dim", "without", "dropout"),
    "Training": (
        "num_epochs", "batch_size", "lr", "optimizer", "weight_decay", "gradient_norm", "accumulate", "precision",
        "signing", "recombination", "seed", "seeds",
    ),
    "Weights that are published": ("ema_decay", "patience", "target_accuracy", "train_past_target", "publish"),
    "Blanks and decoding": ("flat_start", "blank_penalty", "insertion_penalty", "repetition_penalty"),
    "Run": ("model_name", "device", "jobs", "max_gpu_temperature"),
}  # fmt: skip
OTHER: Final = "Other"

Command = TypeVar("Command", bound=Callable[..., Any])


def panel(name: str) -> str:
    """The panel of --help in which a field is shown."""
    return next((title for title, names in PANELS.items() if name in names), OTHER)


def flag(name: str) -> str:
    """A field's flag."""
    return f"--{name.replace('_', '-')}"


def with_config_flags(command: Command) -> Command:
    """Give a command one option for each field of the configuration, in place of its `**flags`.

    An option has the description, type and default of its field. The command must take a `typer.Context`, from which
    `given_flags` reads the options that were given.
    """
    signature = inspect.signature(command)
    own = [
        parameter.replace(kind=parameter.KEYWORD_ONLY)
        for parameter in signature.parameters.values()
        if parameter.kind is not parameter.VAR_KEYWORD
    ]
    in_panels = [name for names in PANELS.values() for name in names]
    others = [name for name in TrainConfig.model_fields if name not in in_panels]
    options = [_option(name) for name in (*in_panels, *others)]
    command.__signature__ = signature.replace(parameters=[*options, *own])  # type: ignore[attr-defined]
    return command


def _option(name: str) -> inspect.Parameter:
    field = TrainConfig.model_fields[name]
    option = typer.Option(
        help=" ".join(str(field.description).split()),
        rich_help_panel=panel(name),
        show_default=field.default not in {None, ""},
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=field.default,
        annotation=Annotated[field.annotation, option],
    )


def given_flags(context: typer.Context) -> dict[str, Any]:
    """The fields of the configuration that the command line names, and their values."""
    given = {}
    for name, value in context.params.items():
        source = context.get_parameter_source(name)
        if name in TrainConfig.model_fields and source is not None and source.name != "DEFAULT":
            given[name] = value
    return given


def config_from_flags(values: Mapping[str, Any]) -> TrainConfig:
    """The configuration with these values.

    Raises:
        InvalidSetting: a value cannot be used, alone or together with another; the message names the flag.
    """
    try:
        return TrainConfig.model_validate(dict(values))
    except ValidationError as error:
        fault = error.errors()[0]
        if not fault["loc"]:
            raise InvalidSetting(f"{fault['msg']}. `signet train --help` explains each flag.") from error
        value = f"{flag(str(fault['loc'][0]))} {fault['input']}"
        raise InvalidSetting(f"{value}: {fault['msg']}. `signet train --help` explains it.") from error
