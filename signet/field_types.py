"""Types of fields in stored objects. Their limits refuse values that no part of Signet writes."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field

# The largest count in a stored object. Counts in messages have 32 bits.
MAX_COUNT = 10**9


def _check_instant(text: str) -> str:
    datetime.fromisoformat(text)  # raises ValueError
    return text


def _check_time(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("the time has no time zone")
    return text


Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Share = Annotated[float, Field(ge=0, le=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
# A name of a model, a version, a run or a split. Names in keys have at most 128 characters.
ShortText = Annotated[str, Field(max_length=1000)]
# A time in ISO 8601; the second kind with its time zone.
IsoTime = Annotated[str, Field(max_length=64), AfterValidator(_check_instant)]
ZonedTime = Annotated[str, Field(max_length=64), AfterValidator(_check_time)]
