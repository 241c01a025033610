"""Types of fields in stored objects. Their limits refuse values that no part of Signet writes."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError

from signet.labels import describe_gloss_fault, describe_label_fault

# The largest count in a stored object. Counts in messages have 32 bits.
MAX_COUNT = 10**9


def describe_first_fault(error: ValidationError) -> str:
    """The first fault of values that a model refused: the field and the reason."""
    fault = error.errors(include_input=False)[0]
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg'].removeprefix('Value error, ')}"


def _check_instant(text: str) -> str:
    datetime.fromisoformat(text)  # raises ValueError
    return text


def _check_time(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("the time has no time zone")
    return text


def _check_label(text: str) -> str:
    if fault := describe_label_fault(text):
        raise ValueError(fault)
    return text


def _check_gloss(text: str) -> str:
    if fault := describe_gloss_fault(text):
        raise ValueError(fault)
    return text


Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Share = Annotated[float, Field(ge=0, le=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
# A name of a model, a version, a run or a split. Names in keys have at most 128 characters.
ShortText = Annotated[str, Field(max_length=1000)]
# A text without control characters; and a gloss.
Label = Annotated[str, AfterValidator(_check_label)]
Gloss = Annotated[str, AfterValidator(_check_gloss)]
# A time in ISO 8601; the second kind with its time zone.
IsoTime = Annotated[str, Field(max_length=64), AfterValidator(_check_instant)]
ZonedTime = Annotated[str, Field(max_length=64), AfterValidator(_check_time)]
