"""Measurements in a process of their own."""

import multiprocessing

from bench.record import run_in_own_process


def _of_two_processes() -> tuple[str, int]:
    """The name of this process, and a value from a process that it starts."""
    context = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue[int] = context.Queue()
    process = context.Process(target=queue.put, args=(7,))
    process.start()
    answer = queue.get(timeout=60)
    process.join()
    return multiprocessing.current_process().name, answer


def test_a_measurement_has_a_process_of_its_own_that_can_start_others() -> None:
    name, answer = run_in_own_process(_of_two_processes)
    assert name != multiprocessing.current_process().name
    assert answer == 7
