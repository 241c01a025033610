"""The time since a frame arrived, also after a clock was set."""

from services.evaluator.streaming.arrivals import FrameArrivals


def test_the_latency_is_counted_from_the_first_frame_at_a_time_or_later() -> None:
    arrivals = FrameArrivals()
    assert arrivals.latency(1.0, 0.0) is None
    for number in range(10):
        arrivals.add(1.0 + number / 10, 50.0 + number)
    arrivals.add(1.05, 70.0)  # late
    assert arrivals.latency(1.0, 60.0) == 10
    assert arrivals.latency(1.25, 60.0) == 7
    assert arrivals.latency(1.95, 60.0) is None


def test_a_wrong_time_does_not_end_the_measurement() -> None:
    arrivals = FrameArrivals()
    for seconds, arrived in ((1.0, 50.0), (1e300, 51.0), (1.1, 52.0), (1.2, 53.0)):
        arrivals.add(seconds, arrived)
    assert arrivals.latency(1.15, 60.0) == 7
    assert arrivals.latency(1.0, 60.0) is None
