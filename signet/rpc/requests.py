"""Checks the fields of each request before a servicer gets it: lengths, counts, characters and numbers.

The checks know nothing about a field but its type, so that they hold for each method. What a field means is checked
where it is used.
"""

import math
from collections.abc import Collection
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from signet.errors import InvalidInput
from signet.labels import describe_label_fault

# The largest request without a clip. The longest real one lists the 2,000 glosses of WLASL in 40 KB.
MAX_PLAIN_REQUEST_BYTES = 1 << 20
# The largest message of a stream of frames: a picture of 4 MiB, and its other fields.
MAX_FRAME_REQUEST_BYTES = (4 << 20) + (64 << 10)
# The longest text. Names of objects have at most 128 characters, and glosses 1,000.
MAX_TEXT_CHARACTERS = 1000
# The most values of a repeated field: as many as a model has glosses at most.
MAX_VALUES = 20_000

_NUMBERS = (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT)


def largest_request(method: str) -> int | None:
    """The largest request of a method ("signet.v1.Trainer/StartRun") in bytes; None if its requests carry a clip."""
    service, _, name = method.rpartition("/")
    try:
        request = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name].input_type
    except KeyError:
        return MAX_PLAIN_REQUEST_BYTES
    if any(_is_clip(field) for field in request.fields):
        return None
    parts = [field.message_type for field in request.fields if field.message_type is not None]
    frames = any(_is_clip(field) for part in parts for field in part.fields)
    return MAX_FRAME_REQUEST_BYTES if frames else MAX_PLAIN_REQUEST_BYTES


def check_request(request: Message) -> None:
    """Check all fields of a request.

    Raises:
        InvalidInput: a text is too long or has control characters, a field has too many values, a number is not finite,
            or an enumeration has an unknown value. The message names the field.
    """
    _check_fields(request, "")


def _is_clip(field: FieldDescriptor) -> bool:
    return field.type == FieldDescriptor.TYPE_BYTES


def _check_fields(message: Message, prefix: str) -> None:
    for field, value in message.ListFields():
        name = f"{prefix}{field.name}"
        if isinstance(value, str | bytes | Message) or not isinstance(value, Collection):
            _check_value(field, value, name)
            continue
        if len(value) > MAX_VALUES:
            raise InvalidInput(f"{name} has {len(value)} values; at most {MAX_VALUES} are allowed.")
        for item in value:
            _check_value(field, item, name)


def _check_value(field: FieldDescriptor, value: Any, name: str) -> None:
    if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
        _check_fields(value, f"{name}.")
    elif field.type == FieldDescriptor.TYPE_STRING:
        if len(value) > MAX_TEXT_CHARACTERS:
            raise InvalidInput(f"{name} has {len(value)} characters; at most {MAX_TEXT_CHARACTERS} are allowed.")
        if fault := describe_label_fault(value):
            raise InvalidInput(f"{name} cannot be used: {fault}.")
    elif field.cpp_type in _NUMBERS and not math.isfinite(value):
        raise InvalidInput(f"{name} is {value}. Give a finite number.")
    elif field.enum_type is not None and value not in field.enum_type.values_by_number:
        raise InvalidInput(f"{name} is {value}, which is no value of {field.enum_type.name}.")
