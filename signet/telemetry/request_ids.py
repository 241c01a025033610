"""The id of a call. It is in the metadata of the call, in both directions, and in each line of the servers' logs."""

import itertools
import re
import uuid
from collections.abc import Iterable
from contextvars import ContextVar

# The name of the metadata.
REQUEST_ID_KEY = "x-request-id"

# What a log and a header can carry as it is. A uuid has 36 characters, a W3C trace id 32.
_VALID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")

Metadata = Iterable[tuple[str, str | bytes]]

# A server makes ids of a random part and a number: a uuid takes ten times as long.
_PROCESS = uuid.uuid4().hex[:16]
_numbers = itertools.count(1)

_current: ContextVar[str] = ContextVar("signet_request_id", default="")


def new_request_id() -> str:
    """A new id, which no other call has."""
    return str(uuid.uuid4())


def is_request_id(text: object) -> bool:
    """Whether a client may give this id to a call."""
    return isinstance(text, str) and _VALID.fullmatch(text) is not None


def read_request_id(metadata: Metadata | None) -> str:
    """The id in the metadata of a call; "" if there is none that can be used."""
    for key, value in metadata or ():
        if key == REQUEST_ID_KEY and isinstance(value, str) and is_request_id(value):
            return value
    return ""


def begin_request(metadata: Metadata | None) -> str:
    """Give the present call of a server its id: the one that its client chose, or a new one.

    The id holds for the task of the call, and for the threads that `asyncio.to_thread` starts for it.
    """
    request_id = read_request_id(metadata) or f"{_PROCESS}-{next(_numbers)}"
    _current.set(request_id)
    return request_id


def current_request_id() -> str:
    """The id of the call that this task works on; "" if it works on none."""
    return _current.get()


def request_id_metadata() -> tuple[tuple[str, str], ...]:
    """The metadata with the id of the call that this task works on: for its answer, and for calls of other services."""
    request_id = _current.get()
    return ((REQUEST_ID_KEY, request_id),) if request_id else ()
