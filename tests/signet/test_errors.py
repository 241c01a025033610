"""Errors keep their meaning across the wire and across processes."""

import pickle

import grpc
import pytest

from signet import errors
from signet.errors import ClipError, SignetError, from_code


def _tree(kind: type[SignetError]) -> list[type[SignetError]]:
    return [kind] + [below for child in kind.__subclasses__() for below in _tree(child)]


@pytest.mark.parametrize("kind", [kind for kind in _tree(SignetError) if kind.__module__ == "signet.errors"])
def test_every_error_has_a_real_status_and_a_place_in_the_drawing(kind: type[SignetError]) -> None:
    assert kind.code in grpc.StatusCode.__members__
    assert kind.__name__ in (errors.__doc__ or "")
    assert kind.code in (errors.__doc__ or "")
    assert kind.__name__ in errors.__all__


@pytest.mark.parametrize("kind", [errors.NotFound, errors.Conflict, errors.Busy, errors.DataLoss, errors.InvalidInput])
def test_a_status_becomes_the_error_that_it_was(kind: type[SignetError]) -> None:
    error = from_code(kind.code, "why")
    assert type(error) is kind
    assert str(error) == "why"


def test_a_status_that_we_do_not_use_is_a_plain_error() -> None:
    assert type(from_code("UNIMPLEMENTED", "no such method")) is SignetError


def test_a_clip_error_comes_back_whole_from_a_worker_process() -> None:
    error = pickle.loads(pickle.dumps(ClipError("truncated", "the file ends early")))  # noqa: S301
    assert (error.reason, str(error)) == ("truncated", "the file ends early")
