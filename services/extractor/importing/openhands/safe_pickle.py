"""Reads a pickle of containers, numbers, texts and numpy arrays, without executing anything.

A pickle is a program for a stack machine, and Python's machine calls any function that the program names. This machine
calls none. It knows the few instructions and names that numpy arrays need, and refuses every other name. Arrays are
made from their bytes here. The memory is bounded by the size of the file.
"""

import io
import math
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# Instructions of a file. Ten seconds of a clip whose numbers are a list of Python floats have 60,000.
_MOST_INSTRUCTIONS = 2 * 10**6
_MOST_DIMENSIONS = 8
# The numbers that an array may have, as numpy writes them.
_NUMBERS = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1", "?"}

_NUMPY_CORES = ("numpy.core", "numpy._core")
# The names that a pickle may use, and what this module calls them.
_NAMES: Mapping[tuple[str, str], str] = {
    **{(f"{core}.multiarray", "_reconstruct"): "array" for core in _NUMPY_CORES},
    **{(f"{core}.multiarray", "scalar"): "scalar" for core in _NUMPY_CORES},
    **{(f"{core}.numeric", "_frombuffer"): "array of bytes" for core in _NUMPY_CORES},
    ("numpy", "ndarray"): "array type",
    ("numpy", "dtype"): "number type",
    ("_codecs", "encode"): "text as bytes",
    ("collections", "OrderedDict"): "dictionary",
    ("builtins", "bytearray"): "bytes",
}
# Instructions that push their argument.
_LITERALS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "UNICODE", "SHORT_BINUNICODE",
    "BINUNICODE", "BINUNICODE8",
}  # fmt: skip


class UnsafePickle(Exception):
    """The pickle holds something else than containers, numbers, texts and arrays. The message names it."""


class MalformedPickle(Exception):
    """The bytes are not a whole pickle."""


@dataclass
class PickledArray:
    """An array of a pickle; None if its values are missing."""

    values: np.ndarray[Any, Any] | None = None


@dataclass(frozen=True)
class _Name:
    role: str


@dataclass
class _NumberType:
    """The type of an array's numbers, such as "f8", and its byte order."""

    code: str
    order: str = "<"

    def as_dtype(self) -> np.dtype[Any]:
        return np.dtype(self.code if self.code == "?" else self.order + self.code)


class _Mark:
    """The start of a container's items on the stack."""


@dataclass
class _Machine:
    """The stack, and the values that the pickle uses again."""

    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def pop(self, count: int) -> tuple[Any, ...]:
        if len(self.stack) < count:
            raise MalformedPickle("an instruction lacks its values")
        values = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        return values

    def pop_to_mark(self) -> list[Any]:
        for index in range(len(self.stack) - 1, -1, -1):
            if isinstance(self.stack[index], _Mark):
                items = self.stack[index + 1 :]
                del self.stack[index:]
                return items
        raise MalformedPickle("an instruction lacks its mark")

    def push(self, value: object) -> None:
        self.stack.append(value)

    def remember(self) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def new_dict(self, items: list[Any]) -> None:
        self.stack.append({})
        self.update_dict(items)

    def extend_list(self, items: list[Any]) -> None:
        if not self.stack or not isinstance(self.stack[-1], list):
            raise MalformedPickle("items are added to something that is no list")
        self.stack[-1].extend(items)

    def update_dict(self, items: list[Any]) -> None:
        if not self.stack or not isinstance(self.stack[-1], dict):
            raise MalformedPickle("items are added to something that is no dictionary")
        # Tuples that hold one tuple twice, many levels deep, would be hashed and printed for hours.
        if any(isinstance(key, tuple) for key in items[::2]):
            raise UnsafePickle("a dictionary whose keys are tuples")
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))


def read_pickle(data: bytes) -> object:
    """Read a pickle of any protocol.

    Returns:
        None, a bool, int, float, str, bytes, list, tuple, dict or `PickledArray`, nested. Containers may be shared, and
        may contain themselves. So visit them to a bounded depth only.

    Raises:
        UnsafePickle: the pickle holds something else. Nothing of it has been executed.
        MalformedPickle: the bytes are not a whole pickle.
    """
    machine = _Machine()
    try:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(io.BytesIO(data))):
            if number >= _MOST_INSTRUCTIONS:
                raise UnsafePickle(f"more than {_MOST_INSTRUCTIONS} values")
            if opcode.name == "STOP":
                return machine.pop(1)[0]
            _execute(machine, opcode.name, argument)
    except (ValueError, TypeError, IndexError, OverflowError, RecursionError, DeprecationWarning) as error:
        # Python warns of unknown escapes in texts. Where warnings are errors, such a text is an error, too.
        raise MalformedPickle(str(error)[:200]) from error
    raise MalformedPickle("the end is missing")


def _execute(machine: _Machine, name: str, argument: Any) -> None:
    """Execute one instruction."""
    if name in _LITERALS:
        machine.stack.append(argument)
    elif name in _CONSTANTS:
        machine.stack.append(_CONSTANTS[name]())
    elif name in _ACTIONS:
        _ACTIONS[name](machine)
    elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
        machine.memo[argument] = machine.stack[-1]
    elif name in ("GET", "BINGET", "LONG_BINGET"):
        if argument not in machine.memo:
            raise MalformedPickle("a value is used before it is there")
        machine.stack.append(machine.memo[argument])
    elif name == "GLOBAL":
        machine.stack.append(_find_name(*argument.partition(" ")[::2]))
    elif name not in ("PROTO", "FRAME"):
        raise UnsafePickle(f"the instruction {name}")


def _find_name(module: object, attribute: object) -> _Name:
    if not isinstance(module, str) or not isinstance(attribute, str):
        raise MalformedPickle("a name is no text")
    if (module, attribute) not in _NAMES:
        raise UnsafePickle(f"{module[:80]}.{attribute[:80]}")
    return _Name(_NAMES[module, attribute])


def _call(called: object, arguments: object) -> object:  # noqa: PLR0911
    """What the named function would return, made without calling it."""
    if not isinstance(called, _Name) or not isinstance(arguments, tuple):
        raise UnsafePickle("a call of something that has no name")
    match called.role, arguments:
        case "array", (_, _, _):
            return PickledArray()
        case "number type", (str(code), *_):
            number = code.lstrip("<>|=")
            if number not in _NUMBERS:
                raise UnsafePickle(f"an array of {code[:40]!r}, which are no numbers")
            return _NumberType(number, ">" if code.startswith(">") else "<")
        case "scalar", (kind, values):
            return _new_array(values, kind, ()).item()
        case "array of bytes", (values, kind, shape, str(order)):
            return PickledArray(_new_array(values, kind, shape, order))
        case "text as bytes", (str(text), "latin1" | "latin-1"):
            return text.encode("latin-1")
        case "bytes", (bytes(values),):
            return values
        case "dictionary", ():
            return {}
        case _:
            raise UnsafePickle(f"an unusual {called.role}")


def _build(target: object, state: object) -> object:
    """Give an array its values, or a number type its byte order."""
    match target, state:
        case _NumberType(), (_, str(order), *_):
            target.order = ">" if order == ">" else "<"
        case PickledArray(), (_, shape, kind, by_columns, values):
            target.values = _new_array(values, kind, shape, "F" if by_columns else "C")
        case _:
            raise UnsafePickle("an object with a state of its own")
    return target


def _new_array(values: object, kind: object, shape: object, order: str = "C") -> np.ndarray[Any, Any]:
    if not isinstance(kind, _NumberType):
        raise UnsafePickle("an array of something else than numbers")
    if isinstance(values, list):
        raise UnsafePickle("an array of objects")
    if not isinstance(values, bytes | bytearray) or not isinstance(shape, tuple) or len(shape) > _MOST_DIMENSIONS:
        raise MalformedPickle("an array without values or shape")
    if not all(isinstance(length, int) and length >= 0 for length in shape):
        raise MalformedPickle("an array with an impossible shape")
    dtype = kind.as_dtype()
    if math.prod(shape) * dtype.itemsize != len(values):
        raise MalformedPickle("an array whose values do not fit its shape")
    return np.frombuffer(values, dtype).reshape(shape, order="F" if order == "F" else "C")


# Instructions that push a new value.
_CONSTANTS: Mapping[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
    "MARK": _Mark,
}
# Instructions that change the stack.
_ACTIONS: Mapping[str, Callable[[_Machine], object]] = {
    "LIST": lambda machine: machine.push(machine.pop_to_mark()),
    "DICT": lambda machine: machine.new_dict(machine.pop_to_mark()),
    "TUPLE": lambda machine: machine.push(tuple(machine.pop_to_mark())),
    "TUPLE1": lambda machine: machine.push(machine.pop(1)),
    "TUPLE2": lambda machine: machine.push(machine.pop(2)),
    "TUPLE3": lambda machine: machine.push(machine.pop(3)),
    "APPEND": lambda machine: machine.extend_list(list(machine.pop(1))),
    "APPENDS": lambda machine: machine.extend_list(machine.pop_to_mark()),
    "SETITEM": lambda machine: machine.update_dict(list(machine.pop(2))),
    "SETITEMS": lambda machine: machine.update_dict(machine.pop_to_mark()),
    "POP": lambda machine: machine.pop(1),
    "POP_MARK": lambda machine: machine.pop_to_mark(),
    "MEMOIZE": lambda machine: machine.remember(),
    "STACK_GLOBAL": lambda machine: machine.push(_find_name(*machine.pop(2))),
    "REDUCE": lambda machine: machine.push(_call(*machine.pop(2))),
    "BUILD": lambda machine: machine.push(_build(*machine.pop(2))),
}
