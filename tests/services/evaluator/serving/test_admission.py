"""Places for calls: calls beyond a bound are refused at once, and a call that has ended frees its place."""

from contextlib import ExitStack

import pytest

from services.evaluator.serving.admission import Admission
from signet.errors import Busy


def admission() -> Admission:
    return Admission("clips", max_calls=3, max_bytes=100, max_seconds=60.0, retry_seconds=2)


@pytest.mark.parametrize(
    ("calls", "refused"),
    [
        ([(1, 1.0)] * 3, (1, 1.0)),
        ([(50, 1.0), (50, 1.0)], (1, 1.0)),
        ([(1, 30.0), (1, 30.0)], (1, 0.5)),
        ([(1_000, 1.0)], (1, 1.0)),
        ([(1, 600.0)], (1, 1.0)),
    ],
)
def test_a_call_beyond_a_bound_is_refused_and_is_told_when_to_retry(
    calls: list[tuple[int, float]], refused: tuple[int, float]
) -> None:
    places = admission()
    with ExitStack() as under_way:
        for size, seconds in calls:
            under_way.enter_context(places.admit(size, seconds))
        with (
            pytest.raises(Busy, match=rf"works on {len(calls)} clips, and takes no more. Retry in 2 s\.") as error,
            places.admit(*refused),
        ):
            pass
        assert error.value.retry_seconds == 2
    with places.admit(*refused):
        pass


def test_a_call_that_fails_frees_its_place() -> None:
    places = admission()
    for _ in range(10):
        with pytest.raises(ValueError, match="broken"), places.admit(60, 40.0):
            raise ValueError("broken")
    with places.admit(100, 60.0), pytest.raises(Busy), places.admit(0, 0.1):
        pass


def test_a_refused_call_takes_no_place() -> None:
    places = admission()
    with places.admit(90, 0.0):
        for _ in range(5):
            with pytest.raises(Busy), places.admit(20, 0.0):
                pass
        with places.admit(10, 0.0):
            pass
