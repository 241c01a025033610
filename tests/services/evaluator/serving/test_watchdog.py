"""The watchdog: runs that take too long are ended, others are not."""

import time

from services.evaluator.serving.watchdog import Watchdog

SECONDS = 10.0


def test_only_a_run_beyond_its_limit_is_ended() -> None:
    watchdog = Watchdog()
    for _ in range(2):  # the watchdog rests between the two
        with watchdog.limit(0.01) as late, watchdog.limit(60) as early:
            end = time.monotonic() + SECONDS
            while not late.terminate and time.monotonic() < end:
                time.sleep(0.01)
            assert late.terminate
            assert not early.terminate
        time.sleep(0.6)
