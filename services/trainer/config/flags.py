"""The flags of `signet train`: one for each field of the configuration, in panels that say what it is about."""

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, TypeVar

import typer
from pydantic import ValidationError

from services.trainer.config.train_config import TrainConfig
from signet.errors import InvalidSetting

# In the order of --help. A field that is in none comes last, under `OTHER`.
PANELS: Final[Mapping[str, tuple[str, ...]]] = {
    "Recipe": ("preset", "pretrain", "start_from"),
    "Data: what is learnt from": (
        "corpus", "max_glosses", "samples_per_gloss", "folds",
    ),
    "Model: what learns": (
        "branches", "hidden_dim", "hand_dim", "num_layers", "head", "sign_dim", "without", "dropout",
    ),
    "Training: how it learns": (
        "num_epochs", "batch_size", "lr", "optimizer", "weight_decay", "gradient_norm", "accumulate",
        "precision", "seed", "seeds",
    ),
    "Weights: which are taken in the end": (
        "ema_decay", "patience", "target_accuracy", "train_past_target", "publish",
    ),
    "Blanks: when a sign happens, and what keeps the blank in its place": (
        "flat_start", "blank_penalty", "insertion_penalty", "repetition_penalty",
    ),
    "Run: its name, and where it is trained": ("model_name", "device", "jobs", "max_gpu_temperature"),
}  # fmt: skip
OTHER: Final = "Other"

Command = TypeVar("Command", bound=Callable[..., Any])


def panel(name: str) -> str:
    """The panel of --help that a field stands in."""
    return next((title for title, names in PANELS.items() if name in names), OTHER)


def configured(command: Command) -> Command:
    """Give a command one option for each field of the configuration, in place of its `**flags`.

    The description, the type and the default of the field are those of the option: nothing is written twice. The
    command must take a `typer.Context`, from which `given` tells what was really given.
    """
    signature = inspect.signature(command)
    own = [
        one.replace(kind=one.KEYWORD_ONLY) for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD
    ]
    order = [name for names in PANELS.values() for name in names]
    listed = sorted(TrainConfig.model_fields, key=lambda name: order.index(name) if name in order else len(order))
    command.__signature__ = signature.replace(parameters=[*map(_option, listed), *own])  # type: ignore[attr-defined]
    return command


def _option(name: str) -> inspect.Parameter:
    field = TrainConfig.model_fields[name]
    shown = typer.Option(
        help=field.description, rich_help_panel=panel(name), show_default=field.default not in {None, ""}
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=field.default,
        annotation=Annotated[field.annotation, shown],
    )


def given(context: typer.Context) -> dict[str, Any]:
    """The fields of the configuration that the command line really names."""
    return {
        name: value
        for name, value in context.params.items()
        if name in TrainConfig.model_fields and _was_given(context, name)
    }


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def config_of(values: Mapping[str, Any]) -> TrainConfig:
    """The configuration that these flags make.

    Raises:
        InvalidSetting: a value cannot be used, or does not go with another; the message names the flag.
    """
    try:
        return TrainConfig.model_validate(dict(values))
    except ValidationError as error:
        fault = error.errors()[0]
        if not fault["loc"]:
            raise InvalidSetting(f"{fault['msg']}. `signet train --help` explains each flag.") from error
        named = f"{flag(str(fault['loc'][0]))} {fault['input']}"
        raise InvalidSetting(f"{named}: {fault['msg']}. `signet train --help` explains it.") from error


def flag(name: str) -> str:
    """A field's flag."""
    return f"--{name.replace('_', '-')}"
