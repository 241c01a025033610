"""Errors keep their meaning over gRPC and between processes."""

import pickle

import grpc
import pytest

from signet import errors
from signet.errors import ClipError, SignetError, from_code, quote


def _tree(kind: type[SignetError]) -> list[type[SignetError]]:
    return [kind] + [below for child in kind.__subclasses__() for below in _tree(child)]


@pytest.mark.parametrize("kind", [kind for kind in _tree(SignetError) if kind.__module__ == "signet.errors"])
def test_each_error_has_a_grpc_status_and_is_in_the_drawn_tree(kind: type[SignetError]) -> None:
    assert kind.code in grpc.StatusCode.__members__
    assert kind.__name__ in (errors.__doc__ or "")
    assert kind.code in (errors.__doc__ or "")
    assert kind.__name__ in errors.__all__


@pytest.mark.parametrize("kind", [errors.NotFound, errors.Conflict, errors.Busy, errors.DataLoss, errors.InvalidInput])
def test_a_status_becomes_the_error_that_it_was_made_from(kind: type[SignetError]) -> None:
    error = from_code(kind.code, "why")
    assert type(error) is kind
    assert str(error) == "why"


def test_a_status_that_we_do_not_use_is_a_plain_error() -> None:
    assert type(from_code("UNIMPLEMENTED", "no such method")) is SignetError


def test_a_clip_error_keeps_its_fields_in_another_process() -> None:
    error = pickle.loads(pickle.dumps(ClipError("truncated", "the file ends early")))  # noqa: S301
    assert (error.reason, str(error)) == ("truncated", "the file ends early")


def test_a_quotation_is_short_and_in_one_line_whatever_it_quotes() -> None:
    assert quote("it's") == repr("it's")
    assert quote("a\n\x1b[2J\u202e\udcff") == r"'a\n\x1b[2J\u202e\udcff'"
    for value in (
        "x" * 20_000_000,
        "\U0010ffff" * 1000,
        b"\n" * 10_000,
        ["y" * 1000] * 1000,
        {"z" * 10_000: 1},
        10**5000,
    ):
        assert len(quote(value)) < 2000, value
    assert len(quote("x" * 20_000_000)) == 200
