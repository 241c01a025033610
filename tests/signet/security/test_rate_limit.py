"""A name may make so many calls at once, and then as many as the rate allows."""

import pytest

from signet.security.rate_limit import RateLimiter


def test_a_burst_is_allowed_and_then_the_rate() -> None:
    now = [100.0]
    limiter = RateLimiter(lambda: now[0])
    assert [limiter.take("a", 2, 3) for _ in range(3)] == [0, 0, 0]
    assert limiter.take("a", 2, 3) == pytest.approx(0.5)
    assert limiter.take("b", 2, 3) == 0, "names are independent"
    now[0] += 0.5
    assert limiter.take("a", 2, 3) == 0
    assert limiter.take("a", 2, 3) == pytest.approx(0.5)
    now[0] += 1000
    assert [limiter.take("a", 2, 3) > 0 for _ in range(4)] == [False, False, False, True], "a pause saves one burst"


def test_a_refused_call_is_not_counted() -> None:
    now = [0.0]
    limiter = RateLimiter(lambda: now[0])
    assert limiter.take("a", 1, 1) == 0
    for _ in range(100):
        assert limiter.take("a", 1, 1) > 0
    now[0] += 1.0
    assert limiter.take("a", 1, 1) == 0


def test_names_that_do_not_exist_any_more_are_forgotten() -> None:
    limiter = RateLimiter(lambda: 0.0)
    limiter.take("a", 1, 1)
    limiter.forget_all_but({"b"})
    assert limiter.take("a", 1, 1) == 0
